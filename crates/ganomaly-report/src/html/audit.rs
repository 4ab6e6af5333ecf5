//! The protocol audit, from `audit.json`.

use super::page::{
    Cell, Column, class_name, estimate_cells, estimate_columns, legend, signed, small_figure, table,
};
use crate::audit::{Audit, AuditRow, EpochRule};
use crate::plot::figure::{Axis, Figure, Ink, Mark, Ticks};
use crate::text;
use crate::text::plain;
use anyhow::{Context, Result};
use ganomaly_experiment::files::read_text;
use maud::{Markup, html};
use std::path::Path;

fn class_of(row: &AuditRow) -> &str {
    row.class.as_deref().unwrap_or("average")
}

fn protocol(row: &AuditRow) -> String {
    format!("{}, {}", row.scoring, row.epoch)
}

/// Reads an experiment's audit; none if there is no such file.
pub fn read(folder: &Path) -> Result<Option<Audit>> {
    let path = folder.join("audit.json");
    if !path.is_file() {
        return Ok(None);
    }
    let what = || format!("{}: not an audit; `cargo xtask audit` writes it again", path.display());
    let text = read_text(&path)?;
    serde_json::from_str(&text).map(Some).with_context(what)
}

/// The audit's section.
pub fn section(audit: &Audit) -> Result<Markup> {
    let mut classes: Vec<&str> = Vec::new();
    for row in &audit.rows {
        if !classes.contains(&class_of(row)) {
            classes.push(class_of(row));
        }
    }
    // The average first: it is the main result.
    classes.sort_by_key(|class| *class != "average");
    let default = audit.rows.first().context("the audit has no rows")?;
    let score = &default.score;
    let figures = classes.iter().map(|class| {
        let rows: Vec<&AuditRow> =
            audit.rows.iter().filter(|r| class_of(r) == *class && r.score == *score).collect();
        let value = rows.first().map_or(String::new(), |row| plain(row.auroc.value));
        Ok(small_figure(&class_name(class), &format!("default {value}"), &gaps(class, &rows)?))
    });
    let figures = figures.collect::<Result<Vec<_>>>()?;
    let test = audit.runs.first().map_or(0, |run| run.test_normal + run.test_anomalous);
    let average = audit.rows.iter().find(|row| row.class.is_none()).unwrap_or(default);
    let trainings = text::trainings(&average.auroc);
    Ok(html! {
        p {
            "How much of an AUROC comes from the protocol rather than from the model: the same trained weights, judged in every way. "
            "A gap is the AUROC minus that of the honest default (" (default.scoring) " statistics, " (default.epoch) " epoch, score " (score) "). "
            "The best epoch on test is chosen by looking at the answers; the best by validation needs none."
        }
        p {
            (text::MEANING) " " (audit.resamples) " resamples of " (test) " test images a run, " (trainings) "."
        }
        p.note { "In the figures, bars are intervals over test images." }
        (legend(&[(Ink::Main, "dot", "last epoch"), (Ink::Series(2), "dot", "best on test: hindsight"), (Ink::Series(0), "dot", "best by validation")]))
        div.multiples.large { @for figure in figures { (figure) } }
        (matrix(audit, &classes, score))
        details {
            summary { "Every protocol, class and score" }
            (all(audit))
        }
    })
}

fn ink(epoch: EpochRule) -> Ink {
    match epoch {
        EpochRule::Last => Ink::Main,
        EpochRule::BestOnTest => Ink::Series(2),
        EpochRule::BestByValidation => Ink::Series(0),
    }
}

/// Gaps with their intervals, one row per protocol.
fn gaps(class: &str, rows: &[&AuditRow]) -> Result<String> {
    let names: Vec<String> = rows.iter().rev().map(|row| protocol(row)).collect();
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
        let (y, ink, gap) = (last - at as f64, ink(row.epoch), row.gap.value);
        let (from, to) = row.gap.over_images.map_or((gap, gap), |i| (i.low, i.high));
        marks.push(Mark::line(vec![(from, y), (to, y)], ink));
        marks.push(Mark::Dot { at: (gap, y), ink, radius: 3.5, opacity: 1.0 });
        (low, high) = (low.min(from), high.max(to));
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
    let said: Vec<String> = rows
        .iter()
        .skip(1)
        .map(|row| format!("{} {}", protocol(row), signed(row.gap.value)))
        .collect();
    figure.svg(&format!("gaps to the honest default, {class}: {}", said.join("; ")), &marks)
}

/// A table of protocols (rows) and classes (columns), by the score that counts.
fn matrix(audit: &Audit, classes: &[&str], score: &str) -> Markup {
    let mut columns = vec![Column::text("statistics"), Column::text("epoch")];
    columns.extend(classes.iter().map(|class| Column::number(class)));
    let of_score: Vec<&AuditRow> = audit.rows.iter().filter(|row| row.score == score).collect();
    let mut rows = Vec::new();
    for first in of_score.iter().filter(|row| class_of(row) == classes[0]) {
        let mut cells = vec![Cell::text(&first.scoring), Cell::text(&first.epoch.to_string())];
        for class in classes {
            let found =
                of_score.iter().find(|r| class_of(r) == *class && protocol(r) == protocol(first));
            cells.push(Cell::sorted_by(
                found.map(|row| row.auroc.value),
                html! {
                    @match found {
                        Some(row) => { strong { (plain(row.auroc.value)) } " " span.note { (signed(row.gap.value)) } }
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
    let mut columns = ["class", "statistics", "epoch", "score"].map(Column::text).to_vec();
    columns.extend(estimate_columns("AUROC"));
    columns.extend(estimate_columns("gap"));
    columns.push(Column::text("chosen epochs").note("one per run"));
    let row = |row: &AuditRow| {
        let chosen: Vec<String> = row.chosen_epochs.iter().map(ToString::to_string).collect();
        let mut cells = vec![
            Cell::text(class_of(row)),
            Cell::text(&row.scoring),
            Cell::text(&row.epoch.to_string()),
            Cell::text(&row.score),
        ];
        cells.extend(estimate_cells(&row.auroc, plain));
        cells.extend(estimate_cells(&row.gap, signed));
        cells.push(Cell::text(&chosen.join(", ")));
        cells
    };
    let rows: Vec<Vec<Cell>> = audit.rows.iter().map(row).collect();
    table("Every protocol, class and score", &columns, &rows, &[])
}
