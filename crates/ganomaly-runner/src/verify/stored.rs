//! Reads `scores.csv` and `epochs.csv`, as strictly as they are written.

use crate::config::RunConfig;
use crate::measures::Measured;
use anyhow::{Context, Result, bail, ensure};
use ganomaly_model::Scores;

/// Reads both. `train_pictures` is in neither and stays 0.
pub(super) fn read(
    config: &RunConfig,
    scores: &[u8],
    epochs: &[u8],
) -> (Result<Measured>, Result<Epochs>) {
    (read_scores(config, scores), read_epochs(config, epochs))
}

/// The content of `epochs.csv`.
pub(super) struct Epochs {
    pub epochs: Vec<usize>,
    pub losses: Vec<(String, Vec<f64>)>,
    /// By score evaluated and epoch.
    pub auroc: Vec<Vec<f64>>,
}

struct Table {
    header: Vec<String>,
    rows: Vec<csv::StringRecord>,
}

impl Table {
    fn read(bytes: &[u8]) -> Result<Self> {
        let mut reader = csv::Reader::from_reader(bytes);
        let header = reader.headers()?.iter().map(String::from).collect();
        Ok(Self { header, rows: reader.records().collect::<Result<_, _>>()? })
    }

    fn column<T: std::str::FromStr>(&self, name: &str) -> Result<Vec<T>> {
        let at = self.header.iter().position(|h| h == name);
        let at = at.with_context(|| format!("expected a column {name}, found none"))?;
        let cell = |(row, cells): (usize, &csv::StringRecord)| {
            let cell = cells.get(at).unwrap_or_default();
            let value = cell.parse().ok();
            value.with_context(|| {
                format!("row {}, {name}: expected a number, found {cell:?}", row + 1)
            })
        };
        self.rows.iter().enumerate().map(cell).collect()
    }
}

fn read_scores(config: &RunConfig, bytes: &[u8]) -> Result<Measured> {
    let table = Table::read(bytes)?;
    let mut expected = ["picture", "class", "anomalous"].map(String::from).to_vec();
    for mode in config.modes() {
        expected.extend(config.kinds(mode).iter().map(|score| format!("{score}_{mode}")));
    }
    ensure!(
        table.header == expected,
        "header: expected {}, found {}",
        expected.join(","),
        table.header.join(",")
    );
    let mut anomalous = Vec::new();
    for (row, cells) in table.rows.iter().enumerate() {
        let class = cells.get(1).unwrap_or_default();
        let is_anomaly = match config.normal_class.as_deref() {
            Some(normal) => class != normal,
            None => class == config.class(),
        };
        let found = cells.get(2).unwrap_or_default();
        let expected = if is_anomaly { "1" } else { "0" };
        if found != expected {
            bail!(
                "row {}, anomalous: expected {expected} of class {class}, with {:?} as the {}; found {found:?}",
                row + 1,
                config.class(),
                config.class_heading()
            );
        }
        anomalous.push(is_anomaly);
    }
    let mut scores = Vec::new();
    for mode in config.modes() {
        let column = |kind: &str| -> Result<Vec<f64>> {
            let name = format!("{kind}_{mode}");
            let values = table.column(&name)?;
            if let Some(row) = values.iter().position(|v: &f64| !v.is_finite()) {
                bail!("row {}, {name}: expected a finite score, found {}", row + 1, values[row]);
            }
            Ok(values)
        };
        let kinds = config.kinds(mode).into_iter().map(|kind| kind.to_string());
        let columns = kinds.map(|kind| Ok((kind.clone(), column(&kind)?)));
        scores.push((mode, Scores::of_columns(columns.collect::<Result<Vec<_>>>()?)));
    }
    let pictures: Vec<u32> = table.column("picture")?;
    let mut sorted = pictures.clone();
    sorted.sort_unstable();
    ensure!(
        sorted.windows(2).all(|w| w[0] != w[1]),
        "picture: expected each once, found one twice"
    );
    Ok(Measured { pictures, anomalous, scores, ..Measured::default() })
}

pub(super) fn read_epochs(config: &RunConfig, bytes: &[u8]) -> Result<Epochs> {
    let table = Table::read(bytes)?;
    let epochs: Vec<usize> = table.column("epoch")?;
    let expected: Vec<usize> = (1..=config.epochs).collect();
    ensure!(
        epochs == expected,
        "expected the epochs 1 to {}, found {} rows",
        config.epochs,
        epochs.len()
    );
    let ends = |name: &&String| *name == "validation_con" || name.starts_with("auroc_");
    let names = table.header.iter().skip(1).take_while(|name| !ends(name));
    let losses =
        names.map(|name| Ok((name.clone(), table.column(name)?))).collect::<Result<_>>()?;
    let mut all = Vec::new();
    for judged in config.judged() {
        let name = format!("auroc_{}", config.judged_name(judged));
        let auroc: Vec<f64> = table.column(&name)?;
        let best: Vec<f64> = table.column(&format!("{name}_best_on_test"))?;
        let mut highest = f64::NEG_INFINITY;
        for (row, (&auroc, &best)) in auroc.iter().zip(&best).enumerate() {
            highest = highest.max(auroc);
            ensure!(
                highest == best,
                "row {}, {name}_best_on_test: expected {highest}, found {best}",
                row + 1
            );
        }
        all.push(auroc);
    }
    Ok(Epochs { epochs, losses, auroc: all })
}
