//! A forest plot of gaps with their intervals: rows are protocols, panels are scores.

use super::canvas::{At, GREY, INK, LIGHT, svg};
use super::curves::PALETTE;
use anyhow::{Result, ensure};
use plotters::style::BLACK;

/// A row of every panel.
#[derive(Clone, Debug)]
pub struct ForestRow {
    /// The row's label.
    pub name: String,
    /// Whether a line separates it from the row above.
    pub new_group: bool,
    /// One cell per panel.
    pub cells: Vec<ForestCell>,
}

/// A row's marks in one panel.
#[derive(Clone, Debug)]
pub struct ForestCell {
    /// The average's gap and its interval over test images; nothing is drawn if none.
    pub average: Option<(f64, [f64; 2])>,
    /// Each class's gap, in the order of the classes.
    pub classes: Vec<Option<f64>>,
}

/// Draws dots for classes, and the average with its interval as a bar.
pub fn forest(
    title: &str,
    note: &str,
    panels: &[String],
    classes: &[String],
    rows: &[ForestRow],
) -> Result<String> {
    ensure!(!rows.is_empty() && !panels.is_empty(), "a plot cannot be drawn: no gaps");
    let (names, gap, row_height, top) = (232.0, 18.0, 24.0, 86.0);
    let width = 1000.0 + 260.0 * panels.len().saturating_sub(3) as f64;
    let panel = (width - names - gap * panels.len() as f64 - 4.0) / panels.len() as f64;
    let bottom = top + row_height * rows.len() as f64;
    let height = bottom + 92.0;
    svg((width as u32, height as u32), |canvas| {
        canvas.text((width / 2.0, 20.0), title, 18.0, INK, At::Centre)?;
        canvas.text((width / 2.0, 42.0), note, 12.0, GREY, At::Centre)?;
        for (p, name) in panels.iter().enumerate() {
            let left = names + p as f64 * (panel + gap);
            let Axis { low, high, step } = Axis::of(rows.iter().filter_map(|r| r.cells.get(p)));
            let x = |v: f64| left + (v - low) / (high - low) * panel;
            canvas.text((left + panel / 2.0, top - 16.0), name, 14.0, INK, At::Centre)?;
            for tick in (low / step).ceil() as i64..=(high / step).floor() as i64 {
                let at = tick as f64 * step;
                let colour = if tick == 0 { GREY } else { LIGHT };
                canvas.line(&[(x(at), top), (x(at), bottom)], colour, 1)?;
                let digits = if step < 0.01 {
                    3
                } else if step < 0.1 {
                    2
                } else {
                    1
                };
                let text = format!("{}{at:.digits$}", if tick > 0 { "+" } else { "" });
                canvas.text((x(at), bottom + 14.0), &text, 11.0, INK, At::Centre)?;
            }
            for (r, row) in rows.iter().enumerate() {
                let y = top + (r as f64 + 0.5) * row_height;
                if row.new_group {
                    let edge = y - row_height / 2.0;
                    canvas.line(&[(left, edge), (left + panel, edge)], LIGHT, 1)?;
                }
                let Some(cell) = row.cells.get(p) else { continue };
                for (class, value) in cell.classes.iter().enumerate() {
                    let Some(value) = value else { continue };
                    canvas.disc((x(*value), y - 6.0), 3, PALETTE[class % PALETTE.len()])?;
                }
                if let Some((mean, [from, to])) = cell.average {
                    canvas.line(&[(x(from), y + 4.0), (x(to), y + 4.0)], BLACK, 2)?;
                    canvas.disc((x(mean), y + 4.0), 3, BLACK)?;
                }
            }
            canvas.frame((left, top), (left + panel, bottom), GREY)?;
        }
        for (r, row) in rows.iter().enumerate() {
            let y = top + (r as f64 + 0.5) * row_height;
            canvas.text((names - 10.0, y), &row.name, 12.0, INK, At::Right)?;
        }
        let middle = names + (width - names) / 2.0;
        canvas.text(
            (middle, bottom + 36.0),
            "gap in AUROC to the honest default",
            13.0,
            INK,
            At::Centre,
        )?;
        let y = bottom + 66.0;
        canvas.line(&[(20.0, y), (44.0, y)], BLACK, 2)?;
        canvas.disc((32.0, y), 3, BLACK)?;
        canvas.text((50.0, y), "average, over images", 12.0, INK, At::Left)?;
        for (class, name) in classes.iter().enumerate() {
            let x = 210.0 + class as f64 * (760.0 / classes.len() as f64).min(90.0);
            canvas.disc((x, y), 3, PALETTE[class % PALETTE.len()])?;
            canvas.text((x + 9.0, y), name, 12.0, INK, At::Left)?;
        }
        Ok(())
    })
}

/// A panel's range of gaps, including zero, and the step of its grid.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    fn of<'a>(cells: impl Iterator<Item = &'a ForestCell>) -> Self {
        let (mut low, mut high): (f64, f64) = (0.0, 0.0);
        for cell in cells {
            let average = cell.average.map(|(mean, [from, to])| [mean, from, to]);
            for v in cell.classes.iter().flatten().copied().chain(average.into_iter().flatten()) {
                (low, high) = (low.min(v), high.max(v));
            }
        }
        let pad = 0.06 * (high - low).max(0.01);
        let (low, high) = (low - pad, high + pad);
        let steps = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2];
        let step = steps.into_iter().find(|step| (high - low) / step <= 5.5).unwrap_or(0.5);
        Self { low, high, step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forest_has_its_rows_panels_and_classes() {
        let cell =
            ForestCell { average: Some((0.03, [0.01, 0.05])), classes: vec![Some(0.02), None] };
        let row = |name: &str| ForestRow {
            name: name.into(),
            new_group: true,
            cells: vec![cell.clone()],
        };
        let classes = ["2".to_string(), "5".to_string()];
        let rows = [row("batch-sequential, last"), row("single, last")];
        let svg = forest("t", "n", &["l2".into()], &classes, &rows).unwrap();
        for word in
            ["batch-sequential, last", "single, last", "l2", "+0.02", "average, over images"]
        {
            assert!(svg.contains(word), "{word} is not in {svg}");
        }
        assert!(forest("t", "n", &[], &classes, &rows).is_err());
    }
}
