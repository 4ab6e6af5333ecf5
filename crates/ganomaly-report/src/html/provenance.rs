//! How the numbers were obtained: every run with its metrics, configs, machines and times.

use super::page::{Cell, Column, table};
use crate::beside::auprc;
use crate::text::distinct;
use anyhow::Result;
use ganomaly_experiment::results::{Results, Run};
use maud::{Markup, html};
use std::time::{Duration, UNIX_EPOCH};

/// Every run in one row, with all its metrics.
pub fn runs(results: &Results) -> Result<Markup> {
    let modes = results.runs().flat_map(|run| &run.metrics.modes);
    let modes = distinct(modes.map(|mode| mode.scoring.as_str()));
    let mut columns = vec![Column::text("run"), Column::text("class"), Column::number("seed")];
    columns.extend(results.keys.iter().map(|key| Column::number(key)));
    columns.extend([
        Column::number("AUROC").note("the result"),
        Column::number("95 % interval"),
        Column::number("AUPRC"),
        Column::number("95 % interval"),
        Column::number("EER"),
        Column::number("FPR").note("at 95 % TPR"),
        Column::number("best F1").note("threshold chosen on test"),
    ]);
    for mode in &modes {
        columns.push(Column::number(mode).note("last epoch"));
        columns.push(Column::number(mode).note("best on test, hindsight"));
    }
    let mut rows = Vec::new();
    for setting in &results.settings {
        for run in &setting.runs {
            let m = &run.metrics;
            let last = &m.modes[0].last;
            let [low, high] = m.auroc_interval;
            let [auprc, auprc_low, auprc_high] = auprc(m)?;
            let mut row = vec![
                Cell::markup(html! { code { (run.name) } }),
                Cell::text(run.config.class()),
                Cell::number(Some(run.config.seed() as f64), 0),
            ];
            row.extend(setting.values.iter().map(|(_, value)| Cell::text(value)));
            row.extend([
                Cell::sorted_by(Some(m.auroc), html! { strong { (format!("{:.3}", m.auroc)) } }),
                Cell::sorted_by(Some(low), range(low, high)),
                Cell::number(Some(auprc), 3),
                Cell::sorted_by(Some(auprc_low), range(auprc_low, auprc_high)),
                Cell::number(Some(last.eer), 3),
                Cell::number(Some(last.fpr_at_95_tpr), 3),
                Cell::number(Some(last.best_f1), 3),
            ]);
            for name in &modes {
                let mode = m.modes.iter().find(|mode| mode.scoring == *name);
                row.push(Cell::number(mode.map(|mode| mode.last.auroc), 3));
                let best = mode.map(|mode| mode.best_on_test);
                row.push(Cell::sorted_by(
                    best.map(|best| best.auroc),
                    html! {
                        @match best {
                            Some(best) => { (format!("{:.3}", best.auroc)) " " span.note { "epoch " (best.epoch) } }
                            None => { "–" }
                        }
                    },
                ));
            }
            rows.push(row);
        }
    }
    Ok(html! {
        p { "Every run with its own measures. Whatever was chosen by looking at test data says so." }
        (table("Every run", &columns, &rows, &[]))
    })
}

/// An interval.
fn range(low: f64, high: f64) -> Markup {
    html! { (format!("{low:.3} – {high:.3}")) }
}

/// Configs, machines and times.
pub fn provenance(results: &Results) -> Result<Markup> {
    // A generated set has no files.
    let empty =
        |value: &serde_json::Value| value.as_object().is_some_and(serde_json::Map::is_empty);
    let about = results.runs().flat_map(|run| &run.about);
    let about = about.filter(|(key, value)| *key != "dataset" && !empty(value));
    let mut keys = distinct(about.map(|(key, _)| key.as_str()));
    // Build and machine first, then times, each sorted by name.
    keys.sort_by_key(|key| (key.ends_with("_s"), *key != "version", *key == "score_s", *key));
    let mut columns = vec![Column::text("run")];
    columns.extend(keys.iter().map(|key| {
        let column = Column::number(&heading(key));
        if key.ends_with("_s") && *key != "finished_unix_s" {
            column.note("h:min:s")
        } else {
            column
        }
    }));
    columns.push(Column::number("images").note("training"));
    columns.push(Column::number("images").note("test: normal + anomalous"));
    let rows: Vec<Vec<Cell>> = results
        .runs()
        .map(|run| {
            let mut row = vec![Cell::markup(html! { code { (run.name) } })];
            row.extend(keys.iter().map(|key| recorded(key, run.about.get(*key))));
            let m = &run.metrics;
            row.push(Cell::number(Some(m.train_pictures as f64), 0));
            row.push(Cell::sorted_by(
                Some((m.test_normal + m.test_anomalous) as f64),
                html! { (m.test_normal) " + " (m.test_anomalous) },
            ));
            row
        })
        .collect();
    let total =
        |key: &str| -> f64 { results.runs().filter_map(|run| run.about.get(key)?.as_f64()).sum() };
    Ok(html! {
        p {
            "Training took " (clock(total("train_s"))) " and scoring " (clock(total("score_s")))
            " in all, summed over runs. A run is a pure function of its config; times aside, it comes out the same again."
        }
        (table("Where and when each run was made", &columns, &rows, &[]))
        @for setting in &results.settings {
            (config(setting.first(), &setting.name()))
        }
    })
}

/// The complete config of a setting's first run.
fn config(run: &Run, name: &str) -> Markup {
    html! {
        details.config {
            summary {
                "Config"
                @if !name.is_empty() { " of " (name) }
            }
            p {
                "The resolved config of the run " code { (run.name) } "; the others of this setting differ in class and seed alone. "
                "Saved as " code { "run.toml" } ", " code { "ganomaly train run.toml" } " repeats it."
            }
            pre tabindex="0" { code { (run.toml.trim_end()) } }
        }
    }
}

fn heading(key: &str) -> String {
    match key {
        "finished_unix_s" => "finished".into(),
        "train_s" => "training".into(),
        "score_s" => "scoring".into(),
        "target" => "machine".into(),
        "config_sha256" => "SHA-256 of the config".into(),
        "data_sha256" => "SHA-256 of the data files".into(),
        other => other.replace('_', " "),
    }
}

fn recorded(key: &str, value: Option<&serde_json::Value>) -> Cell {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Cell::number(None, 0) };
    match (key, value.as_f64()) {
        ("finished_unix_s", Some(seconds)) => {
            let time = UNIX_EPOCH + Duration::from_secs(seconds.max(0.0) as u64);
            let date = humantime::format_rfc3339_seconds(time).to_string();
            Cell::sorted_by(Some(seconds), html! { (date.replace('T', " ").replace('Z', " UTC")) })
        }
        (_, Some(seconds)) if key.ends_with("_s") => {
            Cell::sorted_by(Some(seconds), html! { (clock(seconds)) })
        }
        (_, Some(number)) => Cell::sorted_by(Some(number), html! { (number) }),
        _ => Cell::markup(html! {
            @match value.as_str() {
                Some(text) => { (short(text)) }
                None => @match value.as_object() {
                    Some(all) => @for (name, value) in all {
                        div { (name) " " (short(value.as_str().unwrap_or_default())) }
                    },
                    None => { code { (value.to_string()) } }
                }
            }
        }),
    }
}

/// The beginning of a long hash, with the whole hash on hover.
fn short(text: &str) -> Markup {
    let digits = text.bytes().take_while(u8::is_ascii_hexdigit).count();
    match text.get(..12).filter(|_| digits >= 40) {
        Some(start) => html! { code title=(text) { (start) "…" (text[digits..]) } },
        None => html! { (text) },
    }
}

/// Seconds as hours, minutes and seconds.
fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    format!("{hours}:{minutes:02}:{seconds:02}")
}
