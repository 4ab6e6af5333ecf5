//! The protocol audit, from `audit.json`.

use super::figures::{Axis, Figure, Ink, Mark, Ticks};
use super::page::{Cell, Column, class_name, legend, small_figure, table};
use anyhow::{Context, Result};
use maud::{Markup, html};
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// What a report shows of `audit.json`.
#[derive(Debug, Deserialize)]
pub struct Audit {
    class_heading: String,
    level: f64,
    resamples: usize,
    runs: Vec<Judged>,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Judged {
    test_normal: usize,
    test_anomalous: usize,
}

#[derive(Debug, Deserialize)]
struct Row {
    /// None for the average over classes.
    class: Option<String>,
    scoring: String,
    epoch: String,
    score: String,
    auroc: f64,
    std: Option<f64>,
    gap: f64,
    gap_interval: Interval,
    chosen_epochs: Vec<usize>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Interval {
    low: f64,
    high: f64,
}

impl Row {
    fn class(&self) -> &str {
        self.class.as_deref().unwrap_or("average")
    }

    fn protocol(&self) -> String {
        format!("{}, {}", self.scoring, self.epoch)
    }

    fn auroc(&self) -> String {
        match self.std {
            Some(std) => format!("{:.3} ± {std:.3}", self.auroc),
            None => format!("{:.3}", self.auroc),
        }
    }

    fn interval(&self) -> String {
        format!("{} to {}", signed(self.gap_interval.low), signed(self.gap_interval.high))
    }
}

/// With its sign, and a minus that is as wide as a plus.
pub fn signed(value: f64) -> String {
    format!("{value:+.3}").replace('-', "−")
}

/// Reads an experiment's audit; none where there is no such file.
pub fn read(folder: &Path) -> Result<Option<Audit>> {
    let path = folder.join("audit.json");
    if !path.is_file() {
        return Ok(None);
    }
    let what = || format!("{}: not an audit; `cargo xtask audit` writes it anew", path.display());
    let text = fs::read_to_string(&path).with_context(what)?;
    serde_json::from_str(&text).map(Some).with_context(what)
}

/// The audit's section.
pub fn section(audit: &Audit) -> Result<Markup> {
    let mut classes: Vec<&str> = Vec::new();
    for row in &audit.rows {
        if !classes.contains(&row.class()) {
            classes.push(row.class());
        }
    }
    // The average first: it is what the question is about.
    classes.sort_by_key(|class| *class != "average");
    let default = audit.rows.first().context("the audit has no rows")?;
    let score = &default.score;
    let figures = classes.iter().map(|class| {
        let rows: Vec<&Row> =
            audit.rows.iter().filter(|r| r.class() == *class && r.score == *score).collect();
        let value = rows.first().map_or(String::new(), |row| row.auroc());
        Ok(small_figure(&class_name(class), &format!("default {value}"), &gaps(class, &rows)?))
    });
    let figures = figures.collect::<Result<Vec<_>>>()?;
    let test = audit.runs.first().map_or(0, |run| run.test_normal + run.test_anomalous);
    Ok(html! {
        p {
            "How much of an AUROC comes from the protocol rather than from the model: the same trained weights, judged in every way. "
            "A gap is the AUROC minus that of the honest default (" (default.scoring) " statistics, " (default.epoch) " epoch, score " (score) "). "
            "The best epoch on test is chosen by looking at the answers; the best by validation needs none."
        }
        p {
            "Intervals hold " (format!("{:.0} %", audit.level * 100.0)) " of " (audit.resamples) " paired resamples of the test pictures ("
            (test) " a run, " (audit.runs.len()) " runs). They do not cover the training's randomness."
        }
        (legend(&[(Ink::Main, "dot", "last epoch"), (Ink::Series(2), "dot", "best on test: hindsight"), (Ink::Series(0), "dot", "best by validation")]))
        div.multiples.large { @for figure in figures { (figure) } }
        (matrix(audit, &classes, score))
        details {
            summary { "Every protocol, class and score" }
            (all(audit))
        }
    })
}

fn ink(epoch: &str) -> Ink {
    match epoch {
        "last" => Ink::Main,
        "best-on-test" => Ink::Series(2),
        _ => Ink::Series(0),
    }
}

/// Gaps with their intervals, a row each protocol.
fn gaps(class: &str, rows: &[&Row]) -> Result<String> {
    let names: Vec<String> = rows.iter().rev().map(|row| row.protocol()).collect();
    let last = rows.len() as f64 - 1.0;
    let mut marks = vec![Mark::Line {
        points: vec![(0.0, -0.6), (0.0, last + 0.6)],
        ink: Ink::Muted,
        width: 1.0,
        opacity: 1.0,
        dashed: true,
    }];
    let (mut low, mut high) = (-0.02f64, 0.02f64);
    for (at, row) in rows.iter().enumerate() {
        let (y, ink, interval) = (last - at as f64, ink(&row.epoch), row.gap_interval);
        marks.push(Mark::line(vec![(interval.low, y), (interval.high, y)], ink));
        marks.push(Mark::Dot { at: (row.gap, y), ink, radius: 3.5, opacity: 1.0 });
        (low, high) = (low.min(interval.low), high.max(interval.high));
    }
    let pad = (high - low) * 0.05;
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or_default() as u32;
    let figure = Figure {
        size: (400, 56 + 17 * rows.len() as u32),
        x: Axis {
            label: "gap in AUROC to the honest default",
            range: (low - pad, high + pad),
            ticks: Ticks::Numbers(4),
        },
        y: Axis { label: "", range: (-0.6, last + 0.6), ticks: Ticks::Names(&names) },
        left: 12 + longest * 57 / 10,
    };
    let said: Vec<String> =
        rows.iter().skip(1).map(|row| format!("{} {}", row.protocol(), signed(row.gap))).collect();
    figure.svg(&format!("gaps to the honest default, {class}: {}", said.join("; ")), &marks)
}

/// Protocols down, classes across, by the score that counts.
fn matrix(audit: &Audit, classes: &[&str], score: &str) -> Markup {
    let mut columns = vec![Column::text("statistics"), Column::text("epoch")];
    columns.extend(classes.iter().map(|class| Column::number(class)));
    let of_score: Vec<&Row> = audit.rows.iter().filter(|row| row.score == score).collect();
    let mut rows = Vec::new();
    for first in of_score.iter().filter(|row| row.class() == classes[0]) {
        let mut cells = vec![Cell::text(&first.scoring), Cell::text(&first.epoch)];
        for class in classes {
            let found =
                of_score.iter().find(|r| r.class() == *class && r.protocol() == first.protocol());
            cells.push(Cell::sorted_by(
                found.map(|row| row.auroc),
                html! {
                    @match found {
                        Some(row) => { strong { (format!("{:.3}", row.auroc)) } " " span.note { (signed(row.gap)) } }
                        None => { "–" }
                    }
                },
            ));
        }
        rows.push(cells);
    }
    let caption = format!(
        "AUROC by score {score} under every protocol, with the gap to the honest default; by {}",
        audit.class_heading
    );
    table(&caption, &columns, &rows, &[])
}

fn all(audit: &Audit) -> Markup {
    let columns = [
        Column::text("class"),
        Column::text("statistics"),
        Column::text("epoch"),
        Column::text("score"),
        Column::number("AUROC").note("mean ± std over seeds"),
        Column::number("gap"),
        Column::number("interval").note("of the gap"),
        Column::text("chosen epochs").note("a run each"),
    ];
    let row = |row: &Row| {
        let chosen: Vec<String> = row.chosen_epochs.iter().map(ToString::to_string).collect();
        vec![
            Cell::text(row.class()),
            Cell::text(&row.scoring),
            Cell::text(&row.epoch),
            Cell::text(&row.score),
            Cell::sorted_by(Some(row.auroc), html! { (row.auroc()) }),
            Cell::sorted_by(Some(row.gap), html! { (signed(row.gap)) }),
            Cell::sorted_by(Some(row.gap_interval.low), html! { (row.interval()) }),
            Cell::text(&chosen.join(", ")),
        ]
    };
    let rows: Vec<Vec<Cell>> = audit.rows.iter().map(row).collect();
    table("Every protocol, class and score", &columns, &rows, &[])
}
