//! Figures of a report: plotters' SVG without title, legend or background. Those belong to the
//! page, whose style sheet also maps the colours below to those of a light or a dark page, by the
//! attributes that contain them.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use std::fmt::Write;

/// Plotters places points on whole pixels: drawing at this scale makes the positions fine enough.
const SCALE: f64 = 4.0;
/// Letters of 11 pixels: plotters gives sizes in points, 1.24 per pixel.
const LETTERS: f64 = 11.0 * 1.24;
const FONT: &str = "sans-serif";

/// What a mark represents, which sets its colour. Blue and vermilion mean normal and anomalous, and
/// nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Normal images.
    Normal,
    /// Anomalous images.
    Anomalous,
    /// The only thing that a figure shows.
    Main,
    /// One of several things.
    Series(usize),
    /// What other things are compared with.
    Muted,
}

impl Ink {
    fn colour(self) -> RGBColor {
        // Okabe and Ito's palette, distinguishable with every kind of colour vision; `style.css`
        // uses the same numbers.
        const SERIES: [RGBColor; 5] = [
            RGBColor(0, 158, 115),
            RGBColor(204, 121, 167),
            RGBColor(230, 159, 0),
            RGBColor(86, 180, 233),
            RGBColor(120, 94, 240),
        ];
        match self {
            Self::Normal => RGBColor(0, 114, 178),
            Self::Anomalous => RGBColor(213, 94, 0),
            Self::Main => RGBColor(34, 34, 34),
            Self::Series(index) => SERIES[index % SERIES.len()],
            Self::Muted => RGBColor(130, 130, 130),
        }
    }

    /// The CSS class that gives an HTML element this colour.
    pub fn class(self) -> String {
        match self {
            Self::Normal => "ink-normal".into(),
            Self::Anomalous => "ink-anomalous".into(),
            Self::Main => "ink-main".into(),
            Self::Series(index) => format!("ink-{}", index % 5),
            Self::Muted => "ink-muted".into(),
        }
    }
}

/// One element of a figure, in the units of its axes.
#[derive(Clone, Debug)]
pub enum Mark {
    /// A line through points.
    Line { points: Vec<(f64, f64)>, ink: Ink, width: f64, opacity: f64, dashed: bool },
    /// A filled area.
    Area { outline: Vec<(f64, f64)>, ink: Ink, opacity: f64 },
    /// A dot of a radius in pixels.
    Dot { at: (f64, f64), ink: Ink, radius: f64, opacity: f64 },
    /// An open circle.
    Ring { at: (f64, f64), ink: Ink, radius: f64 },
    /// An open diamond.
    Diamond { at: (f64, f64), ink: Ink, radius: f64 },
}

impl Mark {
    /// A solid line.
    pub fn line(points: Vec<(f64, f64)>, ink: Ink) -> Self {
        Self::Line { points, ink, width: 1.75, opacity: 1.0, dashed: false }
    }
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis<'a> {
    /// What it shows.
    pub label: &'a str,
    /// Its ends.
    pub range: (f64, f64),
    /// How it is labelled.
    pub ticks: Ticks<'a>,
}

/// An axis's labels.
#[derive(Clone, Debug)]
pub enum Ticks<'a> {
    /// About this many round numbers.
    Numbers(usize),
    /// About this many whole numbers.
    Whole(usize),
    /// About this many; the axis shows powers of ten.
    Powers(usize),
    /// A name at each of 0, 1, 2, …
    Names(&'a [String]),
}

/// A figure.
#[derive(Clone, Debug)]
pub struct Figure<'a> {
    /// Width and height in pixels; letters are 11 pixels.
    pub size: (u32, u32),
    /// The horizontal axis.
    pub x: Axis<'a>,
    /// The vertical axis.
    pub y: Axis<'a>,
    /// Room for the labels of the y axis, in pixels.
    pub left: u32,
}

fn error(e: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a figure cannot be drawn: {e}")
}

fn px(pixels: f64) -> u32 {
    (pixels * SCALE).round() as u32
}

impl Figure<'_> {
    /// Draws the marks, later ones on top. `label` describes the figure in words, for those who do
    /// not see it.
    pub fn svg(&self, label: &str, marks: &[Mark]) -> Result<String> {
        let mut svg = String::new();
        {
            let size = (px(self.size.0.into()), px(self.size.1.into()));
            let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            let mut chart = ChartBuilder::on(&area)
                .margin_top(px(8.0))
                .margin_right(px(12.0))
                .margin_bottom(px(2.0))
                .margin_left(px(2.0))
                .x_label_area_size(px(if self.x.label.is_empty() { 22.0 } else { 38.0 }))
                .y_label_area_size(px(self.left.into()))
                .build_cartesian_2d(self.x.range.0..self.x.range.1, self.y.range.0..self.y.range.1)
                .map_err(error)?;
            let (x_tick, y_tick) = (|v: &f64| tick(&self.x, *v), |v: &f64| tick(&self.y, *v));
            let mut mesh = chart.configure_mesh();
            mesh.x_desc(self.x.label)
                .y_desc(self.y.label)
                .label_style((FONT, px(LETTERS)))
                .axis_desc_style((FONT, px(LETTERS)))
                .axis_style(GRID.stroke_width(px(1.0)))
                .bold_line_style(GRID.stroke_width(px(0.75)))
                .max_light_lines(0)
                .set_all_tick_mark_size(px(3.0))
                .x_label_formatter(&x_tick)
                .y_label_formatter(&y_tick)
                .x_labels(count(&self.x.ticks))
                .y_labels(count(&self.y.ticks));
            mesh.draw().map_err(error)?;
            for mark in marks {
                draw(&mut chart, mark)?;
            }
            area.present().map_err(error)?;
        }
        Ok(self.for_the_page(&svg, label))
    }

    /// The document without a fixed size or invisible parts, and with its label.
    fn for_the_page(&self, svg: &str, label: &str) -> String {
        let (width, height) = (px(self.size.0.into()), px(self.size.1.into()));
        let mut page = String::new();
        let _ = writeln!(
            page,
            r#"<svg class="drawn" viewBox="0 0 {width} {height}" role="img" aria-label="{}">"#,
            escape(label)
        );
        for line in svg.lines().skip(1) {
            let _ = writeln!(page, "{}", line.replace(r#" opacity="1""#, ""));
        }
        page
    }
}

/// Escapes a text for an attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    // Writing into a string cannot fail.
    let _ = maud::Escaper::new(&mut escaped).write_str(text);
    escaped
}

const GRID: RGBColor = RGBColor(228, 228, 228);

fn count(ticks: &Ticks<'_>) -> usize {
    match ticks {
        Ticks::Numbers(n) | Ticks::Whole(n) | Ticks::Powers(n) => *n,
        Ticks::Names(names) => names.len() + 2,
    }
}

fn tick(axis: &Axis<'_>, value: f64) -> String {
    // Ticks are sums of steps: a tick at 0 may be slightly off.
    let value = if value.abs() < 1e-9 * (axis.range.1 - axis.range.0) { 0.0 } else { value };
    let whole = (value - value.round()).abs() < 1e-6;
    match axis.ticks {
        Ticks::Numbers(_) => short(value),
        Ticks::Whole(_) if whole => format!("{}", value.round()),
        Ticks::Powers(_) => short(10f64.powf(value)),
        Ticks::Names(names) if whole && value >= -1e-6 => {
            names.get(value.round() as usize).cloned().unwrap_or_default()
        }
        Ticks::Whole(_) | Ticks::Names(_) => String::new(),
    }
}

/// At most three decimals, without trailing zeros; very small numbers as powers of ten.
fn short(v: f64) -> String {
    if v != 0.0 && v.abs() < 0.001 {
        return format!("{v:.0e}");
    }
    let rounded = format!("{v:.3}");
    let rounded = rounded.trim_end_matches('0').trim_end_matches('.');
    if rounded == "-0" { "0".into() } else { rounded.into() }
}

type Chart<'a> = ChartContext<
    'a,
    SVGBackend<'a>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

fn draw(chart: &mut Chart<'_>, mark: &Mark) -> Result<()> {
    let finite = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
    match mark {
        Mark::Line { points, ink, width, opacity, dashed } => {
            let style = ink.colour().mix(*opacity).stroke_width(px(*width));
            let points = points.iter().filter(finite).copied();
            if *dashed {
                let line = DashedLineSeries::new(points, px(4.0), px(3.0), style);
                chart.draw_series(line).map_err(error)?;
            } else {
                chart.draw_series(LineSeries::new(points, style)).map_err(error)?;
            }
        }
        Mark::Area { outline, ink, opacity } => {
            let outline: Vec<_> = outline.iter().filter(finite).copied().collect();
            let style = ink.colour().mix(*opacity).filled();
            chart.draw_series([Polygon::new(outline, style)]).map_err(error)?;
        }
        Mark::Dot { at, ink, radius, opacity } => {
            let style = ink.colour().mix(*opacity).filled();
            chart.draw_series([Circle::new(*at, px(*radius), style)]).map_err(error)?;
        }
        Mark::Ring { at, ink, radius } => {
            let style = ink.colour().stroke_width(px(1.5));
            chart.draw_series([Circle::new(*at, px(*radius), style)]).map_err(error)?;
        }
        Mark::Diamond { at, ink, radius } => {
            let r = px(*radius) as i32;
            let corners = vec![(0, -r), (r, 0), (0, r), (-r, 0), (0, -r), (r, 0)];
            let style = ink.colour().stroke_width(px(1.5));
            let diamond = EmptyElement::at(*at) + PathElement::new(corners, style);
            chart.draw_series([diamond]).map_err(error)?;
        }
    }
    Ok(())
}

/// Thins a curve to points that are at least `step` apart in one direction; its ends are kept.
pub fn thinned(x: &[f64], y: &[f64], step: f64) -> Vec<(f64, f64)> {
    let points: Vec<(f64, f64)> = x.iter().copied().zip(y.iter().copied()).collect();
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for (at, &point) in points.iter().enumerate() {
        let last = at + 1 == points.len();
        let far = kept.last().is_none_or(|kept| {
            (kept.0 - point.0).abs() >= step || (kept.1 - point.1).abs() >= step
        });
        if far || last {
            kept.push(point);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_its_marks_and_label() {
        let axis = |label| Axis { label, range: (0.0, 1.0), ticks: Ticks::Numbers(3) };
        let figure = Figure { size: (200, 100), x: axis("x"), y: axis("y"), left: 30 };
        let marks = [
            Mark::line(vec![(0.0, 0.0), (1.0, f64::NAN), (1.0, 1.0)], Ink::Normal),
            Mark::Diamond { at: (0.5, 0.5), ink: Ink::Anomalous, radius: 4.0 },
        ];
        let svg = figure.svg("a <figure> of \"x\"", &marks).unwrap();
        assert!(svg.starts_with(
            r#"<svg class="drawn" viewBox="0 0 800 400" role="img" aria-label="a &lt;figure"#
        ));
        assert!(svg.contains("#0072B2") && svg.contains("#D55E00") && !svg.contains("NaN"));
    }

    #[test]
    fn a_thinned_curve_keeps_its_ends() {
        let x: Vec<f64> = (0..=1000).map(|i| f64::from(i) / 1000.0).collect();
        let thin = thinned(&x, &x, 0.01);
        assert!(thin.len() < 110);
        assert_eq!((thin[0], thin[thin.len() - 1]), ((0.0, 0.0), (1.0, 1.0)));
    }
}
