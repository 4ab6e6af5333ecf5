//! `ganomaly metrics FILE`.

use anyhow::{Context, Result, anyhow};
use ganomaly_metrics::evaluate;
use serde::Deserialize;
use std::path::Path;
use std::process::ExitCode;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    scores: Vec<f64>,
    labels: Vec<Label>,
}

#[derive(Deserialize)]
struct Row {
    score: f64,
    label: Label,
}

/// Whether an image is anomalous: 1, 1.0 or true; 0, 0.0 or false.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "Written")]
struct Label(bool);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a label: 1 for an anomaly, 0 for a normal image")]
enum Written {
    Bool(bool),
    Number(f64),
    Text(String),
}

impl TryFrom<Written> for Label {
    type Error = String;

    fn try_from(label: Written) -> Result<Self, String> {
        let wrong =
            |label: String| format!("label {label}: use 1 for an anomaly, 0 for a normal image");
        match label {
            Written::Bool(label) => Ok(Self(label)),
            Written::Number(0.0) => Ok(Self(false)),
            Written::Number(1.0) => Ok(Self(true)),
            Written::Number(other) => Err(wrong(other.to_string())),
            Written::Text(text) => {
                let lower = text.to_ascii_lowercase();
                lower.parse().map(Self).map_err(|_| wrong(format!("{text:?}")))
            }
        }
    }
}

/// Prints the metrics of a CSV file as an object, and those of a JSON file as a list of objects
/// with their names.
pub fn print(file: &Path) -> Result<ExitCode> {
    let context = || ganomaly_data::shown(file);
    let limits = ganomaly_data::Limits::from_env()?;
    let text = ganomaly_data::read_text(file, limits.file_bytes)?;
    let json = if file.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
        let cases: Cases = serde_json::from_str(&text).with_context(context)?;
        let all = cases.cases.iter().map(|case| {
            let mut object = measures(&case.scores, &case.labels)
                .with_context(|| format!("{}: case {:?}", context(), case.name))?;
            if let Some(map) = object.as_object_mut() {
                map.insert("name".into(), case.name.clone().into());
            }
            Ok(object)
        });
        serde_json::json!({ "cases": all.collect::<Result<Vec<_>>>()? })
    } else {
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let headings = reader.headers().with_context(context)?.clone();
        let rows = reader.deserialize().collect::<Result<Vec<Row>, _>>();
        let rows = rows.map_err(|e| in_line(e, &headings)).with_context(context)?;
        let scores: Vec<f64> = rows.iter().map(|r| r.score).collect();
        let labels: Vec<Label> = rows.iter().map(|r| r.label).collect();
        measures(&scores, &labels).with_context(context)?
    };
    ganomaly_runner::terminal::data(&(serde_json::to_string_pretty(&json)? + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with a table row, by its line and column.
fn in_line(error: csv::Error, headings: &csv::StringRecord) -> anyhow::Error {
    match error.kind() {
        csv::ErrorKind::Deserialize { pos, err } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            let column = err.field().and_then(|field| headings.get(field as usize));
            // A label's error already begins with the column name.
            let column = column.filter(|name| *name != "label").map(|name| format!("{name}: "));
            let problem = err.kind().to_string().replace("invalid float literal", "not a number");
            anyhow!("line {line}: {}{problem}", column.unwrap_or_default())
        }
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            anyhow!("line {line}: {len} columns, and the heading has {expected_len}")
        }
        _ => error.into(),
    }
}

fn measures(scores: &[f64], labels: &[Label]) -> Result<serde_json::Value> {
    let anomalous: Vec<bool> = labels.iter().map(|label| label.0).collect();
    Ok(serde_json::to_value(evaluate(scores, &anomalous)?)?)
}
