//! Differences with their intervals, one row each.

use super::figure::{Axis, Figure, Ink, Mark, Panel, Shape, Ticks};
use anyhow::{Result, ensure};

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

/// The axis of differences, with zero on it.
fn axis(label: &str, values: impl Iterator<Item = f64>) -> Axis {
    let (low, high) = values.fold((-0.01f64, 0.01f64), |(l, h), v| (l.min(v), h.max(v)));
    let pad = 0.05 * (high - low);
    Axis::new(label, (low - pad, high + pad), Ticks::Differences(5))
}

/// Gaps of classes as dots, and their average with its interval as a bar.
pub fn forest(
    title: &str,
    note: &str,
    panels: &[String],
    classes: &[String],
    rows: &[ForestRow],
) -> Result<String> {
    ensure!(!rows.is_empty() && !panels.is_empty(), "a figure cannot be drawn: there are no gaps");
    let names: Vec<&String> = rows.iter().map(|row| &row.name).collect();
    let class = |at| (Ink::Series(at), if at < Ink::SERIES { Shape::Dot } else { Shape::Diamond });
    let panel = |(at, heading): (usize, &String)| {
        let cells: Vec<(f64, &ForestCell)> = (0..)
            .zip(rows)
            .filter_map(|(y, row)| Some((f64::from(y), row.cells.get(at)?)))
            .collect();
        let values = cells.iter().flat_map(|(_, cell)| {
            let average = cell.average.iter().flat_map(|(_, interval)| *interval);
            cell.classes.iter().flatten().copied().chain(average)
        });
        let x = axis("gap in AUROC to the honest default", values);
        let across = |y| vec![(x.range.0, y), (x.range.1, y)];
        let edges = (0..).zip(rows).filter(|(_, row)| row.new_group);
        let edges = edges.map(|(y, _)| Mark::line(across(f64::from(y) - 0.5), Ink::Grid));
        let zero = Mark::dashed(vec![(0.0, -0.65), (0.0, rows.len() as f64 - 0.35)]);
        let mut marks: Vec<Mark> = edges.chain([zero]).collect();
        for (y, cell) in cells {
            for (at, value) in cell.classes.iter().enumerate() {
                let (ink, shape) = class(at);
                marks.extend(value.map(|value| Mark::at(shape, (value, y - 0.22), ink, 3.0)));
            }
            if let Some((mean, [from, to])) = cell.average {
                marks.push(Mark::line(vec![(from, y + 0.2), (to, y + 0.2)], Ink::Main));
                marks.push(Mark::at(Shape::Dot, (mean, y + 0.2), Ink::Main, 3.5));
            }
        }
        Panel { heading: heading.clone(), x, marks }
    };
    let width = 1000.0 + 260.0 * panels.len().saturating_sub(3) as f64;
    let mut figure = Figure::rows(width, 24.0, &names, Axis::hidden((0.0, 1.0)), Vec::new());
    figure.panels = panels.iter().enumerate().map(panel).collect();
    figure.legend.push((Ink::Main, Shape::Dot, "average, 95 % over test images".into()));
    figure.legend.extend(classes.iter().enumerate().map(|(at, name)| {
        let (ink, shape) = class(at);
        (ink, shape, name.clone())
    }));
    figure.to_file(title, note)
}

/// A difference with its interval.
#[derive(Clone, Debug)]
pub struct Difference {
    pub name: String,
    pub value: f64,
    pub interval: Option<ganomaly_metrics::Interval>,
    pub ink: Ink,
}

/// Differences, one in each row of a height in pixels.
pub fn differences(width: f64, row: f64, label: &str, all: &[Difference]) -> Figure {
    let ends = |d: &Difference| d.interval.map_or([d.value; 2], |i| [i.low, i.high]);
    let x = axis(label, all.iter().flat_map(|d| ends(d).into_iter().chain([d.value])));
    let names: Vec<&String> = all.iter().map(|d| &d.name).collect();
    let mut marks = vec![Mark::dashed(vec![(0.0, -0.65), (0.0, all.len() as f64 - 0.35)])];
    for (y, d) in (0..).map(f64::from).zip(all) {
        marks.push(Mark::line(ends(d).map(|x| (x, y)).to_vec(), d.ink));
        marks.push(Mark::at(Shape::Dot, (d.value, y), d.ink, 3.5));
    }
    Figure::rows(width, row, &names, x, marks)
}

#[cfg(test)]
mod tests {
    use super::super::figure::tests::check;
    use super::*;

    #[test]
    fn a_forest_has_its_rows_panels_and_classes() {
        let average = Some((0.03, [0.01, 0.05]));
        let cells = vec![ForestCell { average, classes: vec![Some(0.02), None] }];
        let row =
            |name: &str| ForestRow { name: name.into(), new_group: true, cells: cells.clone() };
        let classes = ["2".to_string(), "5".to_string()];
        let rows = [row("batch-sequential, last"), row("single, last")];
        let svg = forest("t", "n", &["l2".into()], &classes, &rows).unwrap();
        check(&svg, &["batch-sequential, last", "single, last", "l2", "+0.02", "average, 95 %"]);
        assert!(forest("t", "n", &[], &classes, &rows).is_err());
    }
}
