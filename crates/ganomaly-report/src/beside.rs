//! Tables of means over seeds: other protocols, measures and scores beside the result.

use crate::text;
use anyhow::{Context, Result};
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::record::auroc::LEVEL;
use ganomaly_experiment::record::{Metrics, ModeMetrics, PixelMetrics};
use ganomaly_metrics::{Interval, average_precision_interval, mean_std};

pub(crate) const PROTOCOLS: &str = "The same weights by other measures and protocols, mean over seeds. AUPRC is of the score that \
    counts; every other column is an AUROC. None of them is the result.";
pub(crate) const FURTHER: &str = "Further scores, by running statistics: AUROC of the last epoch, mean over seeds. None of them is the result.";
pub(crate) const PIXELS: &str = "Heat maps against masks, at the masks' resolution, mean over runs: AUROC and AUPRC of all pixels, and \
    MVTec AD's per-region overlap up to a false-positive rate of 0.3 (AUPRO).";
pub(crate) const AVERAGES: &str = "Averages over classes; a table for each setting follows. AUPRC is of the score that counts; every \
    other column is an AUROC.";

/// Names and values of a run, or of means over runs.
pub(crate) type Columns = Vec<(String, f64)>;

/// The AUROC that counts, its average precision, and the AUROCs by other protocols.
pub(crate) fn protocols(m: &Metrics) -> Result<Columns> {
    let mut columns = vec![("AUROC".to_string(), m.auroc), ("AUPRC".to_string(), auprc(m)?[0])];
    let others = m.modes.iter().skip(1);
    columns.extend(others.map(|mode| (mode.scoring.clone(), mode.last.auroc)));
    let best = |mode: &ModeMetrics| format!("{}, best epoch on test", mode.scoring);
    columns.extend(m.modes.iter().map(|mode| (best(mode), mode.best_on_test.auroc)));
    Ok(columns)
}

/// The AUROC that counts and that of each further score; empty if there are none.
pub(crate) fn further(m: &Metrics) -> Result<Columns> {
    let further = m.further.iter().map(|f| (f.score.clone(), f.last.auroc));
    let counts = (m.score.clone(), m.auroc);
    Ok(if m.further.is_empty() {
        Vec::new()
    } else {
        std::iter::once(counts).chain(further).collect()
    })
}

/// For `all` anomalous classes and then for each, the means of the pixel metrics over runs.
pub(crate) fn pixels(runs: &[(&RunConfig, &Metrics)]) -> Result<Vec<(String, Columns)>> {
    let mut classes: Vec<&str> = Vec::new();
    let all = || runs.iter().flat_map(|(_, m)| &m.pixels);
    all().for_each(|p| {
        if !classes.contains(&p.class.as_str()) {
            classes.push(&p.class)
        }
    });
    let row = |class: &str| {
        let columns = |p: &PixelMetrics| {
            let named = [("pixel AUROC", p.auroc), ("pixel AUPRC", p.auprc), ("AUPRO", p.aupro)];
            named.map(|(name, value)| (name.to_string(), value)).to_vec()
        };
        let of: Vec<Columns> = all().filter(|p| p.class == class).map(columns).collect();
        Ok((class.to_string(), means(&of)?))
    };
    classes.into_iter().map(row).collect()
}

/// For each class that has runs, the mean of each column over its runs, and then the mean over
/// these classes.
pub(crate) fn by_class(
    runs: &[(&RunConfig, &Metrics)],
    classes: &[String],
    columns: fn(&Metrics) -> Result<Columns>,
) -> Result<Vec<(String, Columns)>> {
    let mut rows: Vec<(String, Columns)> = Vec::new();
    for class in classes {
        let of = runs.iter().filter(|(config, _)| config.class() == class);
        let of = of.map(|(_, m)| columns(m)).collect::<Result<Vec<_>>>()?;
        if !of.is_empty() {
            rows.push((class.clone(), means(&of)?));
        }
    }
    let average = means(&rows.iter().map(|(_, columns)| columns.clone()).collect::<Vec<_>>())?;
    rows.push(("average".into(), average));
    Ok(rows)
}

/// The mean of each column.
fn means(rows: &[Columns]) -> Result<Columns> {
    let first = rows.first().context("no run to take a mean of")?.iter().enumerate();
    let mean = |(at, (name, _)): (usize, &(String, f64))| {
        let values: Vec<f64> = rows.iter().map(|row| row[at].1).collect();
        Ok((name.clone(), mean_std(&values)?.mean))
    };
    first.map(mean).collect()
}

/// A table by class, with what it shows above it; empty if there is nothing to show.
pub(crate) fn table(first: &str, rows: &[(String, Columns)], intro: &str) -> String {
    let mut names: Vec<&str> = vec![first];
    for (name, _) in rows.iter().flat_map(|(_, columns)| columns) {
        if !names[1..].contains(&name.as_str()) {
            names.push(name);
        }
    }
    if names.len() == 1 {
        return String::new();
    }
    let row = |(class, columns): &(String, Columns)| {
        let of = |name: &&str| columns.iter().find(|(n, _)| n == name).map(|(_, value)| *value);
        let cells = names[1..].iter().map(|name| of(name).map_or("–".into(), text::plain));
        std::iter::once(class.clone()).chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
    format!("\n{intro}\n\n{}", text::table(1, &names, &rows))
}

/// The average precision of the score that counts, and its interval.
pub(crate) fn auprc(m: &Metrics) -> Result<[f64; 3]> {
    let last = &m.modes.first().context("metrics without a scoring mode")?.last;
    let Interval { low, high } = average_precision_interval(last.auprc, m.test_anomalous, LEVEL)?;
    Ok([last.auprc, low, high])
}
