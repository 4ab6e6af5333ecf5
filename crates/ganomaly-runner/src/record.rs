//! A finished run on disk, written whole or not at all.

use crate::checkpoint::Lowered;
use crate::config::{KeepScores, RunConfig, ScoringMode};
use crate::epoch_scores;
use crate::evaluate::column;
use crate::files::unique;
use crate::report::{picture, plot};
use crate::train::Outcome;
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use ganomaly_metrics::{AnomalyMetrics, BootstrapOptions, bootstrap_auroc, evaluate, roc_curve};
use ganomaly_model::{BatchNormMode, weights};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// `metrics.json`: what a run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// The protocol in a line.
    pub protocol: String,
    /// The scoring mode that counts.
    pub scoring: String,
    /// The score that counts.
    pub score: String,
    /// Pictures trained on.
    pub train_pictures: usize,
    /// Normal pictures tested on.
    pub test_normal: usize,
    /// Anomalous pictures tested on.
    pub test_anomalous: usize,
    /// The AUROC that counts: of the last epoch.
    pub auroc: f64,
    /// Its 95 % bootstrap interval over test pictures.
    pub auroc_interval: [f64; 2],
    /// Every scoring mode, the one that counts first.
    pub modes: Vec<ModeMetrics>,
    /// How often the learning rate was lowered because a loss was no number, with `on_nan = "lower-lr"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lr_lowered: Vec<Lowered>,
}

/// One scoring mode's part of [`Metrics`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModeMetrics {
    /// The mode's name.
    pub scoring: String,
    /// All measures of the last epoch's scores.
    pub last: AnomalyMetrics,
    /// The epoch with the best AUROC on the test set, chosen by looking at the answers: for comparison with publications that do so.
    pub best_on_test: BestOnTest,
}

/// The best epoch in hindsight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestOnTest {
    /// From 1.
    pub epoch: usize,
    /// Its AUROC.
    pub auroc: f64,
}

/// `run.json`: how a run came about.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Provenance {
    version: String,
    dataset: String,
    threads: usize,
    target: String,
    finished_unix_s: u64,
    train_s: f64,
    score_s: f64,
}

/// Reads `metrics.json` of a run's folder.
pub fn read_metrics(folder: &Path) -> Result<Metrics> {
    let path = folder.join("metrics.json");
    let text =
        fs::read_to_string(&path).with_context(|| format!("{}: cannot read", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{}: not a run's metrics", path.display()))
}

/// How long a run's epochs took, in seconds, training and scoring; none where its record does not tell.
pub(crate) fn read_seconds(folder: &Path) -> Option<f64> {
    let text = fs::read_to_string(folder.join("run.json")).ok()?;
    let provenance: Provenance = serde_json::from_str(&text).ok()?;
    Some(provenance.train_s + provenance.score_s)
}

/// A folder under a temporary name, which takes its own name when everything is in it and vanishes otherwise.
struct PartialFolder {
    path: PathBuf,
    done: bool,
}

impl PartialFolder {
    fn create(target: &Path) -> Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}.partial", unique()));
        fs::create_dir_all(&path)
            .with_context(|| format!("{}: cannot create the results folder", path.display()))?;
        Ok(Self { path, done: false })
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path.join(name);
        fs::write(&path, contents).with_context(|| format!("{}: cannot write", path.display()))
    }

    fn finish(mut self, target: &Path) -> Result<()> {
        fs::rename(&self.path, target)
            .with_context(|| format!("{}: cannot name the results folder", target.display()))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Writes a file under another name first, so that it is never there half-written.
pub fn write_whole(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    let temporary = path.with_added_extension("tmp");
    fs::write(&temporary, contents)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("{}: cannot write", path.display()))
}

/// Refuses a results folder that cannot be written, before hours are spent.
pub fn check_writable(folder: &Path) -> Result<()> {
    let probe = PartialFolder::create(&folder.join("probe"))?;
    probe.write("probe", "")
}

/// Writes everything about a run into `folder`, which must not exist yet.
pub fn write(folder: &Path, name: &str, config: &RunConfig, outcome: &Outcome) -> Result<Metrics> {
    let partial = PartialFolder::create(folder)?;
    let metrics = metrics(config, outcome)?;
    partial.write("config.toml", config.to_toml()?)?;
    partial.write("epochs.csv", epochs_csv(config, outcome)?)?;
    partial.write("scores.csv", scores_csv(config, outcome)?)?;
    if config.keep_scores.0 == KeepScores::EveryEpoch {
        partial.write(epoch_scores::FILE, epoch_scores::to_bytes(config, outcome)?)?;
    }
    partial.write("metrics.json", serde_json::to_string_pretty(&metrics)? + "\n")?;
    let metadata = HashMap::from([("config".to_string(), config.to_toml()?)]);
    let state = outcome.detector.state()?;
    partial.write("weights.safetensors", weights::to_safetensors(&state, Some(metadata))?)?;
    for (file, svg) in plots(name, config, outcome, &metrics)? {
        partial.write(file, svg)?;
    }
    partial.write("pictures.png", pictures(config, outcome)?)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let provenance = Provenance {
        version: env!("CARGO_PKG_VERSION").into(),
        dataset: config.dataset.clone(),
        threads: rayon::current_num_threads(),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        finished_unix_s: now.map_or(0, |d| d.as_secs()),
        train_s: outcome.epochs.iter().map(|e| e.train_s).sum(),
        score_s: outcome.epochs.iter().map(|e| e.score_s).sum(),
    };
    partial.write("run.json", serde_json::to_string_pretty(&provenance)? + "\n")?;
    partial.finish(folder)?;
    Ok(metrics)
}

fn metrics(config: &RunConfig, outcome: &Outcome) -> Result<Metrics> {
    let anomalous = &outcome.data.split.test_is_anomaly;
    let mut modes = Vec::new();
    for (index, (mode, scores)) in outcome.scores.iter().enumerate() {
        let last = evaluate(column(scores, config.score.0), anomalous)?;
        // The earliest of equals, as the published code keeps it.
        let mut best = BestOnTest { epoch: 0, auroc: f64::NEG_INFINITY };
        for epoch in &outcome.epochs {
            if epoch.auroc[index] > best.auroc {
                best = BestOnTest { epoch: epoch.epoch, auroc: epoch.auroc[index] };
            }
        }
        modes.push(ModeMetrics { scoring: mode.to_string(), last, best_on_test: best });
    }
    let primary = column(&outcome.scores[0].1, config.score.0);
    let options =
        BootstrapOptions { resamples: config.bootstrap, seed: config.seed(), ..Default::default() };
    let interval = bootstrap_auroc(primary, anomalous, options)?;
    let test_anomalous = anomalous.iter().filter(|&&a| a).count();
    Ok(Metrics {
        protocol: config.protocol(),
        scoring: config.scoring.0.to_string(),
        score: config.score.0.to_string(),
        train_pictures: outcome.data.split.train.len(),
        test_normal: anomalous.len() - test_anomalous,
        test_anomalous,
        auroc: modes[0].last.auroc,
        auroc_interval: [interval.low, interval.high],
        modes,
        lr_lowered: outcome.lowered.clone(),
    })
}

fn epochs_csv(config: &RunConfig, outcome: &Outcome) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let modes = config.modes();
    let mut header = vec!["epoch".to_string()];
    let losses = outcome.epochs.first().map(|e| e.losses.as_slice()).unwrap_or_default();
    header.extend(losses.iter().map(|(name, _)| name.to_string()));
    let validated = outcome.epochs.iter().any(|e| e.validation_con.is_some());
    header.extend(validated.then(|| "validation_con".to_string()));
    header.extend(modes.iter().map(|m| format!("auroc_{m}")));
    header.extend(modes.iter().map(|m| format!("auroc_{m}_best_on_test")));
    header.extend(["train_s", "images_per_s", "score_s"].map(String::from));
    csv.write_record(&header)?;
    let mut best = vec![f64::NEG_INFINITY; modes.len()];
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
        header.extend(["l2", "l1", "con"].map(|score| format!("{score}_{mode}")));
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
            row.extend([scores.l2[i], scores.l1[i], scores.con[i]].map(|s| s.to_string()));
        }
        csv.write_record(&row)?;
    }
    Ok(csv.into_inner()?)
}

fn plots(
    name: &str,
    config: &RunConfig,
    outcome: &Outcome,
    metrics: &Metrics,
) -> Result<Vec<(&'static str, String)>> {
    let anomalous = &outcome.data.split.test_is_anomaly;
    let of = |mode: &ScoringMode| format!("{name}, {mode}");
    let mut curves = Vec::new();
    for ((mode, scores), m) in outcome.scores.iter().zip(&metrics.modes) {
        let curve = roc_curve(column(scores, config.score.0), anomalous)?;
        curves.push((format!("{mode}: AUROC {:.3}", m.last.auroc), curve));
    }
    let curves: Vec<plot::Curve<'_>> = curves
        .iter()
        .map(|(label, c)| plot::Curve { label: label.clone(), fpr: &c.fpr, tpr: &c.tpr })
        .collect();
    let (mode, scores) = &outcome.scores[0];
    let (mut normal, mut abnormal) = (Vec::new(), Vec::new());
    for (&score, &is_anomaly) in column(scores, config.score.0).iter().zip(anomalous) {
        if is_anomaly { abnormal.push(score) } else { normal.push(score) }
    }
    let by_epoch = |value: &dyn Fn(&crate::train::Epoch) -> f64| -> Vec<(f64, f64)> {
        outcome.epochs.iter().map(|e| (e.epoch as f64, value(e))).collect()
    };
    let aurocs: Vec<plot::Series> = config
        .modes()
        .iter()
        .enumerate()
        .map(|(i, mode)| plot::Series {
            name: mode.to_string(),
            points: by_epoch(&|e| e.auroc[i]),
            dashed: i > 0,
        })
        .collect();
    let best = metrics.modes[0].best_on_test;
    let mut losses = Vec::new();
    if let Some(first) = outcome.epochs.first() {
        for (i, (loss, _)) in first.losses.iter().enumerate() {
            let points = by_epoch(&|e| e.losses[i].1);
            losses.push(plot::Series { name: loss.to_string(), points, dashed: i >= 4 });
        }
    }
    let score_label = format!("anomaly score ({})", config.score.0);
    Ok(vec![
        ("roc.svg", plot::roc(name, &curves)?),
        ("scores.svg", plot::score_histogram(&of(mode), &score_label, &normal, &abnormal)?),
        (
            "auroc.svg",
            plot::epochs(
                name,
                "AUROC",
                &aurocs,
                Some((best.epoch as f64, best.auroc, "best on test")),
            )?,
        ),
        ("losses.svg", plot::epochs_log(name, "mean loss", &losses)?),
    ])
}

/// The first eight normal and the first eight anomalous test pictures with their reconstructions.
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
