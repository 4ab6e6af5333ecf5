//! `ganomaly metrics FILE`.

use anyhow::{Context, Result, bail};
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
    labels: Vec<u8>,
}

#[derive(Deserialize)]
struct Row {
    score: f64,
    label: u8,
}

/// Prints the measures of a CSV file as an object, those of a JSON file as a list of objects with their names.
pub fn print(file: &Path) -> Result<ExitCode> {
    let context = || ganomaly_data::shown(file);
    let limits = ganomaly_data::Limits::from_env()?;
    let text = ganomaly_data::read_text(file, limits.file_bytes)?;
    let json = if file.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
        let cases: Cases = serde_json::from_str(&text).with_context(context)?;
        let all = cases.cases.iter().map(|case| {
            let mut object = measures(&case.scores, &case.labels)
                .with_context(|| format!("{}: case {:?}", file.display(), case.name))?;
            if let Some(map) = object.as_object_mut() {
                map.insert("name".into(), case.name.clone().into());
            }
            Ok(object)
        });
        serde_json::json!({ "cases": all.collect::<Result<Vec<_>>>()? })
    } else {
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let rows = reader.deserialize().collect::<Result<Vec<Row>, _>>().with_context(context)?;
        let scores: Vec<f64> = rows.iter().map(|r| r.score).collect();
        let labels: Vec<u8> = rows.iter().map(|r| r.label).collect();
        measures(&scores, &labels).with_context(context)?
    };
    super::out(&(serde_json::to_string_pretty(&json)? + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn measures(scores: &[f64], labels: &[u8]) -> Result<serde_json::Value> {
    if let Some(at) = labels.iter().position(|&l| l > 1) {
        bail!("label {at} is {}: use 1 for an anomaly and 0 for a normal picture", labels[at]);
    }
    let anomalous: Vec<bool> = labels.iter().map(|&l| l == 1).collect();
    Ok(serde_json::to_value(evaluate(scores, &anomalous)?)?)
}
