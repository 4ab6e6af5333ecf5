//! Differences with their intervals, one row each, and AUROCs of several kinds by class.

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

/// AUROCs of one kind, one for each class.
#[derive(Clone, Debug)]
pub struct Marks {
    /// For the legend.
    pub name: String,
    /// A ring instead of a dot: a number from elsewhere.
    pub hollow: bool,
    /// AUROC of each class in [0, 1] and its interval, in the order of the classes; nothing is
    /// drawn for none.
    pub values: Vec<Option<(f64, Option<[f64; 2]>)>>,
}

/// Several AUROCs for each class, side by side; the last class is set apart as their average.
pub fn marks(title: &str, note: &str, classes: &[String], series: &[Marks]) -> Result<String> {
    ensure!(
        !series.is_empty() && !classes.is_empty(),
        "a figure cannot be drawn: there are no marks"
    );
    let x = Axis::names("", classes);
    let mut all = vec![Mark::dashed(vec![(x.range.0, 0.5), (x.range.1, 0.5)])];
    all.extend((1..classes.len()).map(|at| {
        let (edge, last) = (at as f64 - 0.5, at + 1 == classes.len());
        Mark::line(vec![(edge, 0.0), (edge, 1.0)], if last { Ink::Muted } else { Ink::Grid })
    }));
    let mut legend = Vec::new();
    let step = (0.8 / series.len() as f64).min(0.2);
    for (at, Marks { name, hollow, values }) in series.iter().enumerate() {
        let beside = step * (at as f64 - (series.len() - 1) as f64 / 2.0);
        let (ink, shape) = match hollow {
            true => (Ink::Main, Shape::Ring),
            false => (Ink::Series(at), Shape::Dot),
        };
        for (class, value) in values.iter().enumerate() {
            let Some((auroc, interval)) = value else { continue };
            let x = class as f64 + beside;
            all.extend(interval.map(|ends| Mark::line(ends.map(|y| (x, y)).to_vec(), ink)));
            all.push(Mark::at(shape, (x, *auroc), ink, 4.5));
        }
        legend.push((ink, shape, name.clone()));
    }
    legend.push((Ink::Muted, Shape::Dashed, "chance".into()));
    // Even with few classes there is room for the legend.
    let width = 90.0 + classes.len() as f64 * (560.0 / classes.len() as f64).max(84.0);
    let y = Axis::new("AUROC", (0.0, 1.0), Ticks::Numbers(5));
    Figure::new((width, 380.0), x, y, all).legend(legend).to_file(title, note)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(svg: &str, words: &[&str]) {
        for word in words {
            assert!(svg.contains(word), "{word} is not in {svg}");
        }
    }

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

    #[test]
    fn every_class_and_kind_of_mark_is_named() {
        let classes = ["airplane", "average"].map(String::from);
        let values = vec![Some((0.94, Some([0.93, 0.95]))), None];
        let all = |name: &str, hollow| Marks { name: name.into(), hollow, values: values.clone() };
        let series = [all("published", true), all("honest", false)];
        let svg = marks("t", "n", &classes, &series).unwrap();
        check(&svg, &["airplane", "average", "published", "honest", "chance", "AUROC"]);
        assert_eq!(svg.matches("<circle").count(), 4, "each in the figure and in the legend");
        assert!(marks("t", "n", &classes, &[]).is_err());
    }
}
