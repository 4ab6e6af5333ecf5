//! `epochs.csv`: losses, AUROCs and times of each epoch.

use super::checksums;
use super::folder::EPOCHS;
use super::outcome::Epoch;
use crate::config::RunConfig;
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// The last columns; they differ each time a run is repeated.
const TIMES: [&str; 3] = ["train_s", "images_per_s", "score_s"];

/// The file's bytes.
pub fn to_csv(config: &RunConfig, epochs: &[Epoch]) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let judged: Vec<String> = config.judged().iter().map(|&of| config.judged_name(of)).collect();
    let mut header = vec!["epoch".to_string()];
    let losses = epochs.first().map(|e| e.losses.as_slice()).unwrap_or_default();
    header.extend(losses.iter().map(|(name, _)| name.to_string()));
    let validated = epochs.iter().any(|e| e.validation_con.is_some());
    header.extend(validated.then(|| "validation_con".to_string()));
    header.extend(judged.iter().map(|name| format!("auroc_{name}")));
    header.extend(judged.iter().map(|name| format!("auroc_{name}_best_on_test")));
    header.extend(TIMES.map(String::from));
    csv.write_record(&header)?;
    let mut best = vec![f64::NEG_INFINITY; judged.len()];
    for e in epochs {
        for (best, &auroc) in best.iter_mut().zip(&e.auroc) {
            *best = best.max(auroc);
        }
        let mut row = vec![e.epoch.to_string()];
        row.extend(e.losses.iter().map(|(_, v)| v.to_string()));
        row.extend(e.validation_con.map(|v| v.to_string()));
        row.extend(e.auroc.iter().chain(&best).map(|a| a.to_string()));
        row.extend([
            format!("{:.3}", e.train_s),
            format!("{:.1}", e.images_per_s),
            format!("{:.3}", e.score_s),
        ]);
        csv.write_record(&row)?;
    }
    Ok(csv.into_inner()?)
}

/// The file's content: a list of numbers for each column, one per epoch.
#[derive(Clone, Debug, Default)]
pub struct Epochs(Vec<(String, Vec<f64>)>);

impl Epochs {
    /// Reads the file of a finished run.
    pub fn read(folder: &Path) -> Result<Self> {
        let bytes = checksums::read(folder, EPOCHS)?;
        Self::parse(&bytes).with_context(|| format!("{}", folder.join(EPOCHS).display()))
    }

    /// Reads the file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = csv::Reader::from_reader(bytes);
        let mut columns: Vec<(String, Vec<f64>)> =
            reader.headers()?.iter().map(|name| (name.to_string(), Vec::new())).collect();
        for (row, cells) in reader.records().enumerate() {
            for ((name, values), cell) in columns.iter_mut().zip(&cells?) {
                let value = cell.parse().ok();
                values.push(value.with_context(|| {
                    format!("row {}, {name}: expected a number, found {cell:?}", row + 1)
                })?);
            }
        }
        Ok(Self(columns))
    }

    /// A column's numbers; none if there is no such column.
    pub fn column(&self, name: &str) -> Option<&[f64]> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, values)| values.as_slice())
    }

    /// The columns' names, in the file's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The losses, in the detector's order.
    pub fn losses(&self) -> impl Iterator<Item = (&str, &[f64])> {
        let ends = |name: &str| name == "validation_con" || name.starts_with("auroc_");
        let losses = self.0.iter().skip(1).take_while(move |(name, _)| !ends(name));
        losses.map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// The AUROC of each of [`RunConfig::judged`] by epoch. Fails if a column is missing, an epoch
    /// is, or the best epoch on the test set is not the best.
    pub fn aurocs(&self, config: &RunConfig) -> Result<Vec<Vec<f64>>> {
        let column = |name: &str| {
            let column = self.column(name);
            column.with_context(|| format!("expected a column {name}, found none"))
        };
        let epochs = column("epoch")?;
        ensure!(
            epochs.iter().copied().eq((1..=config.epochs).map(|epoch| epoch as f64)),
            "expected the epochs 1 to {}, found {} rows",
            config.epochs,
            epochs.len()
        );
        let mut all = Vec::new();
        for judged in config.judged() {
            let name = format!("auroc_{}", config.judged_name(judged));
            let auroc = column(&name)?;
            let best = column(&format!("{name}_best_on_test"))?;
            let mut highest = f64::NEG_INFINITY;
            for (row, (&auroc, &best)) in auroc.iter().zip(best).enumerate() {
                highest = highest.max(auroc);
                ensure!(
                    highest == best,
                    "row {}, {name}_best_on_test: expected {highest}, found {best}",
                    row + 1
                );
            }
            all.push(auroc.to_vec());
        }
        Ok(all)
    }
}

/// The file without its times, for comparing runs: the other columns' cells.
pub fn without_times(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut reader = csv::Reader::from_reader(bytes);
    let header = reader.headers()?.clone();
    let kept = |at: &usize| header.get(*at).is_some_and(|name| !TIMES.contains(&name));
    let kept: Vec<usize> = (0..header.len()).filter(kept).collect();
    let mut csv = csv::Writer::from_writer(Vec::new());
    for row in [Ok(header.clone())].into_iter().chain(reader.records()) {
        let row = row?;
        csv.write_record(kept.iter().map(|&at| row.get(at).unwrap_or_default()))?;
    }
    Ok(csv.into_inner()?)
}
