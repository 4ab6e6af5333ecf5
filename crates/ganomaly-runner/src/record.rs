//! A finished run on disk, written completely or not at all.

use crate::checksums::{self, Checksums};
use crate::config::{KeepScores, RunConfig};
use crate::epoch_scores::{self, EpochScores};
use crate::files::PartialFolder;
use crate::measures::Measured;
pub use crate::measures::{BestOnTest, FurtherMetrics, Metrics, ModeMetrics};
use crate::protocols::{self, RunProtocols};
use crate::provenance::{self, Provenance};
use crate::report::picture;
use crate::train::Outcome;
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use ganomaly_model::{BatchNormMode, weights};
use std::collections::HashMap;
use std::path::Path;

/// The metrics file in a run's folder.
pub const METRICS: &str = "metrics.json";

/// The file with a score for each test image.
pub const SCORES: &str = "scores.csv";

/// Reads `metrics.json` from a run's folder. Fails if it differs from what the run wrote.
pub fn read_metrics(folder: &Path) -> Result<Metrics> {
    let bytes = checksums::read(folder, METRICS)?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{}: not a run's metrics", folder.join(METRICS).display()))
}

/// Duration of a run's epochs, training and scoring, in seconds; none if its record does not
/// contain it.
pub(crate) fn read_seconds(folder: &Path) -> Option<f64> {
    let provenance = Provenance::read(folder).ok()?;
    Some(provenance.train_s? + provenance.score_s?)
}

/// Whether a folder has the small records of a finished run. Scores and weights may be missing.
pub fn is_run(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && IDENTIFYING.iter().all(|file| folder.join(file).is_file())
}

/// The files without which a folder is not a finished run.
const IDENTIFYING: [&str; 3] = ["config.toml", METRICS, provenance::FILE];

/// Fails if a results folder cannot be written, before hours are spent.
pub fn check_writable(folder: &Path) -> Result<()> {
    let probe = PartialFolder::create(&folder.join("probe"))?;
    probe.write("probe", "")
}

/// Writes all results of a run into `folder`, which must not exist yet.
pub fn write(folder: &Path, name: &str, config: &RunConfig, outcome: &Outcome) -> Result<Metrics> {
    let mut files = Files { partial: PartialFolder::create(folder)?, sums: Checksums::default() };
    let measured = Measured::from(outcome);
    let metrics = measured.metrics(config)?;
    let toml = config.to_toml()?;
    files.write("config.toml", &toml)?;
    files.write("epochs.csv", epochs_csv(config, outcome)?)?;
    files.write(SCORES, scores_csv(config, outcome)?)?;
    if config.keep_scores.0 == KeepScores::EveryEpoch {
        let scores = EpochScores::of_run(config, outcome);
        files.write(epoch_scores::FILE, scores.to_bytes(config)?)?;
        if protocols::are_recorded(config) {
            let protocols = RunProtocols::of(config, &scores)?;
            files.write(protocols::FILE, protocols.to_bytes(config)?)?;
        }
    }
    files.write(METRICS, serde_json::to_string_pretty(&metrics)? + "\n")?;
    let metadata = HashMap::from([("config".to_string(), toml)]);
    let state = outcome.detector.state()?;
    files.write("weights.safetensors", weights::to_safetensors(&state, Some(metadata))?)?;
    for (file, svg) in measured.plots(name, config, &metrics)? {
        files.write(file, svg)?;
    }
    files.write("pictures.png", pictures(config, outcome)?)?;
    let provenance = Provenance::new(config, outcome)?;
    files.write(provenance::FILE, serde_json::to_string_pretty(&provenance)? + "\n")?;
    files.partial.write(checksums::FILE, files.sums.to_text())?;
    files.partial.finish(folder)?;
    Ok(metrics)
}

/// A run's files, and the checksums of those written so far.
struct Files {
    partial: PartialFolder,
    sums: Checksums,
}

impl Files {
    fn write(&mut self, name: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        self.sums.add(name, contents.as_ref());
        self.partial.write(name, contents)
    }
}

fn epochs_csv(config: &RunConfig, outcome: &Outcome) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let judged: Vec<String> = config.judged().iter().map(|&of| config.judged_name(of)).collect();
    let mut header = vec!["epoch".to_string()];
    let losses = outcome.epochs.first().map(|e| e.losses.as_slice()).unwrap_or_default();
    header.extend(losses.iter().map(|(name, _)| name.to_string()));
    let validated = outcome.epochs.iter().any(|e| e.validation_con.is_some());
    header.extend(validated.then(|| "validation_con".to_string()));
    header.extend(judged.iter().map(|name| format!("auroc_{name}")));
    header.extend(judged.iter().map(|name| format!("auroc_{name}_best_on_test")));
    header.extend(["train_s", "images_per_s", "score_s"].map(String::from));
    csv.write_record(&header)?;
    let mut best = vec![f64::NEG_INFINITY; judged.len()];
    for e in &outcome.epochs {
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

fn scores_csv(config: &RunConfig, outcome: &Outcome) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut header = ["picture", "class", "anomalous"].map(String::from).to_vec();
    for mode in config.modes() {
        header.extend(config.kinds(mode).iter().map(|score| format!("{score}_{mode}")));
    }
    csv.write_record(&header)?;
    let images = &outcome.data.images;
    let split = &outcome.data.split;
    for (i, (&picture, anomalous)) in split.test.iter().zip(&split.test_is_anomaly).enumerate() {
        let class = images.labels()[picture as usize];
        let mut row = vec![
            picture.to_string(),
            images.class_names()[usize::from(class)].clone(),
            u8::from(*anomalous).to_string(),
        ];
        for (_, scores) in &outcome.scores {
            row.extend(scores.columns().iter().map(|(_, column)| column[i].to_string()));
        }
        csv.write_record(&row)?;
    }
    Ok(csv.into_inner()?)
}

/// The first eight normal and the first eight anomalous test images with their reconstructions.
fn pictures(config: &RunConfig, outcome: &Outcome) -> Result<Vec<u8>> {
    let (data, size) = (&outcome.data, config.isize);
    let channels = data.images.shape()[0];
    let each = channels * size * size;
    let mut chosen = Vec::new();
    for kind in [false, true] {
        let all = data.split.test.iter().zip(&data.split.test_is_anomaly);
        chosen.extend(all.filter(|(_, a)| **a == kind).take(8).map(|(&i, &a)| (i as usize, a)));
    }
    let mut numbers = vec![0.0; chosen.len() * each];
    for (out, (index, _)) in numbers.chunks_exact_mut(each).zip(&chosen) {
        let picture = data.images.image(*index).context("a test picture is missing")?;
        data.transform.apply(picture, data.images.shape(), out)?;
    }
    let x = Tensor::from_slice(&numbers, (chosen.len(), channels, size, size), &Device::Cpu)?;
    let fake = outcome.detector.reconstruct(&x, BatchNormMode::Running)?;
    let fake = fake.flatten_all()?.to_vec1::<f32>()?;
    let samples: Vec<picture::Sample<'_>> = numbers
        .chunks_exact(each)
        .zip(fake.chunks_exact(each))
        .zip(&chosen)
        .map(|((input, reconstruction), &(_, anomalous))| picture::Sample {
            input,
            reconstruction,
            anomalous,
        })
        .collect();
    let normalization = &data.transform.normalization;
    picture::grid(&samples, channels, size, &normalization.mean, &normalization.std)
}
