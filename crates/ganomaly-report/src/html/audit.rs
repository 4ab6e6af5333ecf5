//! The protocol audit, from `audit.json`.

use super::page::{
    Cell, Column, class_name, estimate_cells, estimate_columns, legend, small_figure, table,
};
use crate::audit::{Audit, AuditRow, EpochRule};
use crate::plot::figure::{Ink, Shape};
use crate::plot::forest::{Difference, differences};
use crate::text::{self, distinct, plain, signed};
use anyhow::{Context, Result};
use maud::{Markup, html};

fn class_of(row: &AuditRow) -> &str {
    row.class.as_deref().unwrap_or("average")
}

fn protocol(row: &AuditRow) -> String {
    format!("{}, {}", row.scoring, row.epoch)
}

/// The audit's section.
pub fn section(audit: &Audit) -> Result<Markup> {
    let mut classes = distinct(audit.rows.iter().map(class_of));
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
    let rules = [
        (EpochRule::Last, "last epoch"),
        (EpochRule::BestOnTest, "best on test: hindsight"),
        (EpochRule::BestByValidation, "best by validation"),
    ];
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
        (legend(&rules.map(|(rule, name)| (ink(rule), Shape::Dot, name.into()))))
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
    let all: Vec<Difference> = rows
        .iter()
        .map(|row| Difference {
            name: protocol(row),
            value: row.gap.value,
            interval: row.gap.over_images,
            ink: ink(row.epoch),
        })
        .collect();
    let figure = differences(400.0, 17.0, "gap in AUROC to the honest default", &all);
    let said: Vec<String> =
        all.iter().skip(1).map(|d| format!("{} {}", d.name, signed(d.value))).collect();
    figure.for_page(&format!("gaps to the honest default, {class}: {}", said.join("; ")))
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
