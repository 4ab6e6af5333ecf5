//! A run's plots, in `plots/RUN` of its experiment: curves from its scores and, where its weights and
//! the data set are at hand, images with their reconstructions.

use super::curves;
use super::reconstructions::{Sample, grid};
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use ganomaly_experiment::config::{RunConfig, ScoringMode};
use ganomaly_experiment::files::{Contents, write_all};
use ganomaly_experiment::plan::Plan;
use ganomaly_experiment::record::epochs::Epochs;
use ganomaly_experiment::record::metrics::{Metrics, ScoredRun};
use ganomaly_experiment::record::scores::TestScores;
use ganomaly_experiment::record::{SCORES, WEIGHTS, read_metrics};
use ganomaly_experiment::run_data::DataStore;
use ganomaly_metrics::roc_curve;
use ganomaly_model::{BatchNormMode, weights};
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
    let draw = |run: &&ganomaly_experiment::plan::Run| -> Result<()> {
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
    let anomalous = &run.test.anomalous;
    let of = |mode: &ScoringMode| format!("{name}, {mode}");
    let mut curves = Vec::new();
    for ((mode, scores), m) in run.test.scores.iter().zip(&metrics.modes) {
        let curve = roc_curve(scores.of(config.counts()), anomalous)?;
        curves.push((format!("{mode}: AUROC {:.3}", m.last.auroc), curve));
    }
    let curves: Vec<curves::Curve<'_>> = curves
        .iter()
        .map(|(label, c)| curves::Curve { label: label.clone(), fpr: &c.fpr, tpr: &c.tpr })
        .collect();
    let (mode, scores) = run.test.scores.first().context("there are no scores")?;
    let (mut normal, mut abnormal) = (Vec::new(), Vec::new());
    for (&score, &is_anomaly) in scores.of(config.counts()).iter().zip(anomalous) {
        if is_anomaly { abnormal.push(score) } else { normal.push(score) }
    }
    let line = |name: String, values: &[f64], dashed| {
        let points = (1..).zip(values).map(|(e, &value)| (f64::from(e), value));
        curves::Series { name, points: points.collect(), dashed }
    };
    let judged = config.judged().into_iter().zip(&run.auroc).enumerate();
    let aurocs: Vec<curves::Series> =
        judged.map(|(i, (of, auroc))| line(config.judged_name(of), auroc, i > 0)).collect();
    let losses = run.losses.iter().enumerate();
    let losses: Vec<curves::Series> =
        losses.map(|(i, (name, values))| line(name.clone(), values, i >= 4)).collect();
    let best = metrics.modes[0].best_on_test;
    let best = Some((best.epoch as f64, best.auroc, "best on test"));
    let score_label = format!("anomaly score ({})", config.counts());
    let files = [
        ("roc.svg", curves::roc(name, &curves)?),
        ("scores.svg", curves::score_histogram(&of(mode), &score_label, &normal, &abnormal)?),
        ("auroc.svg", curves::epochs(name, "AUROC", &aurocs, best)?),
        ("losses.svg", curves::epochs_log(name, "mean loss", &losses)?),
    ];
    Ok(files.into_iter().map(|(name, svg)| (name.to_string(), svg.into_bytes())).collect())
}

/// The first eight normal and the first eight anomalous test images with their reconstructions.
fn images(weights: &Path, config: &RunConfig, store: &DataStore) -> Result<Vec<u8>> {
    let data = store.prepare(config)?;
    let mut detector = config.new_detector(store.registry())?;
    detector.load_state(&weights::read_safetensors(weights)?)?;
    let size = config.isize;
    let channels = data.images.shape()[0];
    let each = channels * size * size;
    let mut chosen = Vec::new();
    for kind in [false, true] {
        let all = data.split.test.iter().zip(&data.split.test_is_anomaly);
        chosen.extend(all.filter(|(_, a)| **a == kind).take(8).map(|(&i, &a)| (i as usize, a)));
    }
    let mut numbers = vec![0.0; chosen.len() * each];
    for (out, (index, _)) in numbers.chunks_exact_mut(each).zip(&chosen) {
        let image = data.images.image(*index).context("a test image is missing")?;
        data.transform.apply(image, data.images.shape(), out)?;
    }
    let x = Tensor::from_slice(&numbers, (chosen.len(), channels, size, size), &Device::Cpu)?;
    let fake = detector.reconstruct(&x, BatchNormMode::Running)?;
    let fake = fake.flatten_all()?.to_vec1::<f32>()?;
    let pairs = numbers.chunks_exact(each).zip(fake.chunks_exact(each)).zip(&chosen);
    let sample =
        |((input, reconstruction), &(_, anomalous))| Sample { input, reconstruction, anomalous };
    let samples: Vec<Sample<'_>> = pairs.map(sample).collect();
    let normalization = &data.transform.normalization;
    grid(&samples, channels, size, &normalization.mean, &normalization.std)
}
