//! A run's plots, in `plots/RUN` of its experiment: curves from its scores and, where its weights
//! and the data set are at hand, images with their reconstructions.

use super::curves::{self, Line, ink};
use super::figure::{FILE, Figure, Ink};
use super::reconstructions::{Sample, grid};
use anyhow::{Context, Result};
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::files::{Contents, write_all};
use ganomaly_experiment::plan::{self, Plan};
use ganomaly_experiment::record::epochs::Epochs;
use ganomaly_experiment::record::metrics::{Metrics, ScoredRun};
use ganomaly_experiment::record::scores::TestScores;
use ganomaly_experiment::record::{SCORES, WEIGHTS, read_metrics};
use ganomaly_experiment::run_data::DataStore;
use ganomaly_metrics::roc_curve;
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// The images' file.
const IMAGES: &str = "pictures.png";

/// The folder of a run's plots, beside the run's own.
pub fn folder(run: &Path) -> PathBuf {
    let name = run.file_name().unwrap_or_default();
    run.parent().unwrap_or(Path::new("")).join("plots").join(name)
}

/// Draws the plots of an experiment's finished runs that have none yet. A run of which only the
/// small records are kept gets none; without the data set there are no images.
pub fn write(plan: &Plan, experiment: &Path, store: &DataStore) -> Result<()> {
    let done = plan.finished(experiment)?;
    let draw = |run: &&plan::Run| -> Result<()> {
        let path = experiment.join(&run.name);
        let plots = folder(&path);
        if !path.join(SCORES).is_file() || plots.join(IMAGES).is_file() {
            return Ok(());
        }
        let metrics = read_metrics(&path)?;
        let test = TestScores::read(&path, &run.config)?;
        let scored = ScoredRun::stored(&run.config, test, &Epochs::read(&path)?)?;
        let mut files = curves(&run.name, &run.config, &scored, &metrics)?;
        // Weights and data sets are large and may be elsewhere.
        if let Ok(png) = images(&path.join(WEIGHTS), &run.config, store) {
            files.push((IMAGES.to_string(), png));
        }
        write_all(&plots, files).with_context(|| format!("{}", plots.display()))
    };
    done.par_iter().try_for_each(draw)
}

/// The curves: ROC, scores, AUROC and losses by epoch.
pub fn curves(
    name: &str,
    config: &RunConfig,
    run: &ScoredRun,
    metrics: &Metrics,
) -> Result<Contents> {
    let (anomalous, counts) = (&run.test.anomalous, config.counts());
    let mut rates = Vec::new();
    for (at, ((mode, scores), m)) in run.test.scores.iter().zip(&metrics.modes).enumerate() {
        let curve = roc_curve(scores.of(counts), anomalous)?;
        let points = curve.fpr.into_iter().zip(curve.tpr).collect();
        rates.push(Line::new(&format!("{mode}: AUROC {:.3}", m.last.auroc), points, ink(at)));
    }
    let (mode, scores) = run.test.scores.first().context("there are no scores")?;
    let scores = scores.of(counts).iter().copied().zip(anomalous);
    let of = |kind: bool| -> Vec<f64> {
        scores
            .clone()
            .filter(|(_, anomalous)| **anomalous == kind)
            .map(|(score, _)| score)
            .collect()
    };
    let label = format!("anomaly score ({counts})");
    let (mut histogram, cut) = curves::scores(FILE, &label, &of(false), &of(true));
    if cut {
        histogram.panels[0].x.label += "; the highest 0.5 % are not shown";
    }
    let line = |name: &str, values: &[f64], ink| {
        let points = (1..).zip(values).map(|(epoch, &value)| (f64::from(epoch), value));
        Line::new(name, points.collect(), ink)
    };
    let judged = config.judged().into_iter().zip(&run.auroc).enumerate();
    let aurocs: Vec<Line> =
        judged.map(|(at, (of, values))| line(&config.judged_name(of), values, ink(at))).collect();
    let losses = run.losses.iter().enumerate();
    let losses = losses.map(|(at, (name, values))| line(name, values, Ink::Series(at)));
    let best = metrics.modes[0].best_on_test;
    let files = [
        ("roc.svg", curves::roc(FILE, rates), format!("ROC: {name}")),
        ("scores.svg", histogram, format!("Scores: {name}, {mode}")),
        (
            "auroc.svg",
            curves::auroc_by_epoch(FILE, &aurocs, &[best]),
            format!("AUROC by epoch: {name}"),
        ),
        (
            "losses.svg",
            curves::losses_by_epoch(FILE, losses.collect()),
            format!("Mean loss by epoch: {name}"),
        ),
    ];
    let file = |(file, figure, title): (&str, Figure, String)| {
        Ok((file.to_string(), figure.to_file(&title, "")?.into_bytes()))
    };
    files.into_iter().map(file).collect()
}

/// The first eight normal and the first eight anomalous test images with their reconstructions.
fn images(weights: &Path, config: &RunConfig, store: &DataStore) -> Result<Vec<u8>> {
    let data = store.prepare(config)?;
    let mut chosen: Vec<(u32, bool)> = Vec::new();
    for kind in [false, true] {
        let all = data.split.test.iter().copied().zip(data.split.test_is_anomaly.iter().copied());
        chosen.extend(all.filter(|(_, anomalous)| *anomalous == kind).take(8));
    }
    let (indices, anomalous): (Vec<u32>, Vec<bool>) = chosen.into_iter().unzip();
    grid(&Sample::of(weights, config, store, &data, &indices)?, &anomalous)
}
