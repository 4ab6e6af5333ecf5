//! Figures: panels with axes and marks. The report shows them small, one for each class; the files
//! in `plots` show the same ones large, with title and legend.

pub use super::axis::{Axis, Ticks};
pub use super::canvas::{Anchor, Ink, Shape};
use super::canvas::{Canvas, svg};
use anyhow::Result;
use std::fmt::Write;

/// Width and height in pixels, without title and legend.
pub type Size = (f64, f64);

/// The size of a figure in a file.
pub const FILE: Size = (720.0, 430.0);

/// Shapes or a text, in the units of the axes.
#[derive(Clone, Debug)]
pub struct Mark {
    shape: Shape,
    points: Vec<(f64, f64)>,
    ink: Ink,
    size: f64,
    opacity: f64,
    /// A text instead of a shape, and its distance from the point in pixels.
    text: Option<(String, Anchor, (f64, f64))>,
}

impl Mark {
    /// A shape of a width or a radius in pixels.
    pub fn new(shape: Shape, points: Vec<(f64, f64)>, ink: Ink, size: f64) -> Self {
        Self { shape, points, ink, size, opacity: 1.0, text: None }
    }

    /// A solid line.
    pub fn line(points: Vec<(f64, f64)>, ink: Ink) -> Self {
        Self::new(Shape::Line, points, ink, 1.75)
    }

    /// A thin dashed line, for what things are compared with.
    pub fn dashed(points: Vec<(f64, f64)>) -> Self {
        Self::new(Shape::Dashed, points, Ink::Muted, 1.0)
    }

    /// A dot, ring or diamond.
    pub fn at(shape: Shape, at: (f64, f64), ink: Ink, radius: f64) -> Self {
        Self::new(shape, vec![at], ink, radius)
    }

    /// A text beside a point, at a distance in pixels.
    pub fn text(text: &str, at: (f64, f64), beside: (f64, f64), ink: Ink, anchor: Anchor) -> Self {
        let text = Some((text.to_string(), anchor, beside));
        Self { text, ..Self::new(Shape::Dot, vec![at], ink, 0.0) }
    }

    /// Makes it translucent.
    pub fn opacity(self, opacity: f64) -> Self {
        Self { opacity, ..self }
    }
}

/// An entry of a legend.
pub type Entry = (Ink, Shape, String);

/// A panel of a figure.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Its heading.
    pub heading: String,
    /// Its horizontal axis.
    pub x: Axis,
    /// Its marks, later ones on top.
    pub marks: Vec<Mark>,
}

/// A figure: one or more panels side by side with a common vertical axis.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its size without title and legend.
    pub size: Size,
    /// The vertical axis.
    pub y: Axis,
    /// The panels, of equal width.
    pub panels: Vec<Panel>,
    /// What the inks and shapes mean.
    pub legend: Vec<Entry>,
    /// What the colours of [`Ink::Value`] mean.
    pub scale: Option<Scale>,
}

/// The colours of a range of values.
#[derive(Clone, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// Over the range of the values; there must be at least one.
    pub fn over(values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        if high > low { Self { low, high } } else { Self { low: low - 0.01, high: high + 0.01 } }
    }

    /// Where a value is on it, in [0, 1].
    pub fn part(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// The colour of a value.
    pub fn ink(&self, value: f64) -> Ink {
        Ink::Value(self.part(value))
    }
}

/// Letters in a file and in the page, in pixels.
const LETTERS: (f64, f64) = (12.0, 11.0);
const GAP: f64 = 18.0;
const ROW: f64 = 20.0;

/// A text's width, estimated.
fn width(text: &str, letters: f64) -> f64 {
    0.53 * letters * text.chars().count() as f64
}

impl Figure {
    /// A figure of one panel.
    pub fn new(size: Size, x: Axis, y: Axis, marks: Vec<Mark>) -> Self {
        let panels = vec![Panel { heading: String::new(), x, marks }];
        Self { size, y, panels, legend: Vec::new(), scale: None }
    }

    /// Named rows, the first at the top, each of a height in pixels. Row n has y = n.
    pub fn rows(width: f64, row: f64, names: &[impl ToString], x: Axis, marks: Vec<Mark>) -> Self {
        let mut y = Axis::names("", names);
        y.range = (y.range.1 + 0.15, y.range.0 - 0.15);
        Self::new((width, 55.0 + row * names.len() as f64), x, y, marks)
    }

    /// The legend of a figure.
    pub fn legend(self, legend: Vec<Entry>) -> Self {
        Self { legend, ..self }
    }

    /// A figure for the page: without title, legend and background, which belong to the page.
    /// `label` describes it in words, for those who do not see it.
    pub fn for_page(&self, label: &str) -> Result<String> {
        let mut escaped = String::new();
        // Writing into a string cannot fail.
        let _ = maud::Escaper::new(&mut escaped).write_str(label);
        let attributes = format!(r#"class="drawn" role="img" aria-label="{escaped}""#);
        svg(self.size, &attributes, |canvas| self.draw(canvas, (0.0, 0.0), LETTERS.1))
    }

    /// A figure as a file of its own.
    pub fn to_file(&self, title: &str, note: &str) -> Result<String> {
        let top = if note.is_empty() { 32.0 } else { 52.0 };
        let keys = self.keys();
        let rows = keys.last().map_or(0.0, |(row, _)| row + 1.0);
        let size = (self.size.0, (top + self.size.1 + rows * ROW + 16.0).round());
        let attributes =
            format!(r#"xmlns="http://www.w3.org/2000/svg" width="{}" height="{}""#, size.0, size.1);
        svg(size, &attributes, |canvas| {
            let corners = [(0.0, 0.0), (size.0, 0.0), size, (0.0, size.1)];
            canvas.shape(Shape::Area, corners.into_iter(), Ink::White, 0.0, 1.0)?;
            let middle = size.0 / 2.0;
            canvas.text((middle, 22.0), title, 16.0, Ink::Main, Anchor::Centre)?;
            canvas.text((middle, 43.0), note, 11.5, Ink::Muted, Anchor::Centre)?;
            self.draw(canvas, (6.0, top), LETTERS.0)?;
            for ((row, x), (ink, shape, name)) in keys.iter().zip(&self.legend) {
                let y = top + self.size.1 + 15.0 + row * ROW;
                draw_key(canvas, (*x, y), *ink, *shape)?;
                canvas.text((x + 26.0, y), name, LETTERS.0, Ink::Main, Anchor::Left)?;
            }
            Ok(())
        })
    }

    /// Each legend entry's row and left end.
    fn keys(&self) -> Vec<(f64, f64)> {
        let widths = self.legend.iter().map(|(.., name)| 44.0 + width(name, LETTERS.0));
        let widest = widths.fold(0.0, f64::max);
        let columns = ((self.size.0 - 20.0) / widest).floor().max(1.0);
        let place = |at: usize| {
            let row = (at as f64 / columns).floor();
            (row, 20.0 + widest * (at as f64 - row * columns))
        };
        (0..self.legend.len()).map(place).collect()
    }

    /// Draws the panels below and to the right of a corner.
    fn draw(&self, canvas: &Canvas<'_>, (edge, top): (f64, f64), letters: f64) -> Result<()> {
        let line = letters + 6.0;
        let y_ticks = self.y.ticks();
        let label = if self.y.label.is_empty() { 4.0 } else { line + 4.0 };
        let longest = y_ticks.iter().map(|(_, tick)| width(tick, letters)).fold(0.0, f64::max);
        let left = edge + label + longest + 6.0;
        let right = self.size.0 - if self.scale.is_some() { 104.0 } else { 12.0 };
        let named = self.panels.iter().any(|panel| !panel.heading.is_empty());
        let labelled = self.panels.iter().any(|panel| !panel.x.label.is_empty());
        let (start, end) = (
            top + if named { 8.0 + line } else { 8.0 },
            top + self.size.1 - if labelled { 2.0 * line + 3.0 } else { line + 4.0 },
        );
        let count = self.panels.len() as f64;
        let each = (right - left - GAP * (count - 1.0)) / count;
        let height =
            |v: f64| end - (v - self.y.range.0) / (self.y.range.1 - self.y.range.0) * (end - start);
        let text = |at, text: &str, anchor| canvas.text(at, text, letters, Ink::Main, anchor);
        text(
            (edge + label / 2.0 + 1.0, f64::midpoint(start, end)),
            &self.y.label,
            Anchor::Upwards,
        )?;
        for (y, name) in &y_ticks {
            text((left - 6.0, height(*y)), name, Anchor::Right)?;
        }
        for (at, panel) in self.panels.iter().enumerate() {
            let left = left + at as f64 * (each + GAP);
            let (low, high) = panel.x.range;
            let place = |(x, y): (f64, f64)| (left + (x - low) / (high - low) * each, height(y));
            let grid = |a: (f64, f64), b: (f64, f64), width| {
                canvas.shape(Shape::Line, [a, b].into_iter(), Ink::Grid, width, 1.0)
            };
            for (y, _) in &y_ticks {
                grid((left, height(*y)), (left + each, height(*y)), 0.75)?;
            }
            let x_ticks = panel.x.ticks();
            for (x, name) in &x_ticks {
                let (x, _) = place((*x, 0.0));
                grid((x, start), (x, end), 0.75)?;
                text((x, end + letters), name, Anchor::Centre)?;
            }
            if !x_ticks.is_empty() || !y_ticks.is_empty() {
                grid((left, end), (left + each, end), 1.25)?;
                grid((left, start), (left, end), 1.25)?;
            }
            let middle = left + each / 2.0;
            text((middle, end + letters + line + 1.0), &panel.x.label, Anchor::Centre)?;
            text((middle, start - line / 2.0), &panel.heading, Anchor::Centre)?;
            for mark in &panel.marks {
                let points = mark.points.iter().copied().map(place);
                match &mark.text {
                    Some((text, anchor, (dx, dy))) => points
                        .map(|(x, y)| (x + dx, y + dy))
                        .try_for_each(|at| canvas.text(at, text, letters, mark.ink, *anchor))?,
                    None => canvas.shape(mark.shape, points, mark.ink, mark.size, mark.opacity)?,
                }
            }
        }
        self.scale
            .iter()
            .try_for_each(|scale| draw_scale(canvas, scale, (right + 30.0, start + 28.0)))
    }
}

/// The key of a legend's entry.
fn draw_key(canvas: &Canvas<'_>, (x, y): (f64, f64), ink: Ink, shape: Shape) -> Result<()> {
    let draw = |points: &[(f64, f64)], size, opacity| {
        canvas.shape(shape, points.iter().copied(), ink, size, opacity)
    };
    let corners = [(x, y - 5.0), (x + 20.0, y - 5.0), (x + 20.0, y + 5.0), (x, y + 5.0)];
    match shape {
        Shape::Line | Shape::Dashed => draw(&[(x, y), (x + 20.0, y)], 2.0, 1.0),
        Shape::Area => draw(&corners, 0.0, 0.5),
        Shape::Frame => draw(&corners, 2.0, 1.0),
        Shape::Dot | Shape::Disc | Shape::Ring | Shape::Diamond => draw(&[(x + 12.0, y)], 4.5, 1.0),
    }
}

/// A bar of all colours, with its numbers.
fn draw_scale(canvas: &Canvas<'_>, scale: &Scale, (x, top): (f64, f64)) -> Result<()> {
    const STEPS: i32 = 64;
    const BAR: (f64, f64) = (16.0, 256.0);
    canvas.text((x, top - 16.0), "AUROC", LETTERS.0, Ink::Main, Anchor::Left)?;
    let at = |part: f64| top + BAR.1 * (1.0 - part);
    for step in 0..STEPS {
        let [a, b, middle] = [0.0, 1.0, 0.5].map(|d| (f64::from(step) + d) / f64::from(STEPS));
        let corners = [(x, at(a)), (x + BAR.0, at(a)), (x + BAR.0, at(b)), (x, at(b))];
        canvas.shape(Shape::Area, corners.into_iter(), Ink::Value(middle), 0.0, 1.0)?;
    }
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let value = scale.low + (scale.high - scale.low) * part;
        let text = format!("{value:.3}");
        canvas.text((x + BAR.0 + 6.0, at(part)), &text, LETTERS.0, Ink::Main, Anchor::Left)?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A whole document of finite numbers with these words.
    pub fn check(svg: &str, words: &[&str]) {
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "a mark is not finite");
        for word in words {
            assert!(svg.contains(word), "{word} is not in the figure");
        }
    }

    #[test]
    fn a_figure_has_its_marks_and_words() {
        let axis = |label| Axis::new(label, (0.0, 1.0), Ticks::Numbers(5));
        let marks = vec![
            Mark::line(vec![(0.0, 0.0), (1.0, f64::NAN), (1.0, 1.0)], Ink::Normal),
            Mark::at(Shape::Diamond, (0.5, 0.5), Ink::Anomalous, 4.0),
        ];
        let figure = Figure::new((200.0, 100.0), axis("across"), axis("up"), marks).legend(vec![(
            Ink::Normal,
            Shape::Line,
            "a line".into(),
        )]);
        let page = figure.for_page("a <figure> of \"x\"").unwrap();
        let root = r#"<svg class="drawn" role="img" aria-label="a &lt;figure&gt; of &quot;x&quot;" viewBox="0 0 800 400">"#;
        assert!(page.starts_with(root), "{page}");
        assert!(page.contains("#0072B2") && page.contains("#D55E00") && !page.contains("NaN"));
        let file = figure.to_file("title", "note").unwrap();
        for word in ["title", "note", "across", "up", "0.2", "a line", "width=\"200\""] {
            assert!(file.contains(word), "{word} is not in {file}");
        }
    }
}
