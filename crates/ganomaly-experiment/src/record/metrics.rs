//! `metrics.json`, from the scores of a run just finished or from its stored results.

use super::epochs::Epochs;
use super::folder::METRICS;
use super::outcome::{Lowered, Outcome, PixelMetrics};
use super::scores::TestScores;
use super::{auroc, checksums};
use crate::config::RunConfig;
use anyhow::{Context, Result};
use ganomaly_metrics::{AnomalyMetrics, evaluate, percentile_interval, resampled_aurocs};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Reads `metrics.json` from a run's folder. Fails if it differs from what the run wrote.
pub fn read_metrics(folder: &Path) -> Result<Metrics> {
    let bytes = checksums::read(folder, METRICS)?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{}: not a run's metrics", folder.join(METRICS).display()))
}

/// `metrics.json`: the results of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// The protocol in one line.
    pub protocol: String,
    /// The scoring mode that counts.
    pub scoring: String,
    /// The score that counts.
    pub score: String,
    /// Number of training images.
    pub train_pictures: usize,
    /// Normal test images.
    pub test_normal: usize,
    /// Anomalous test images.
    pub test_anomalous: usize,
    /// The AUROC that counts: that of the last epoch.
    pub auroc: f64,
    /// Its 95 % confidence interval over test images: `bootstrap` resamples, in which an image has
    /// the same weight in every run.
    pub auroc_interval: [f64; 2],
    /// Every scoring mode, the one that counts first.
    pub modes: Vec<ModeMetrics>,
    /// The further scores, in mode `running`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<FurtherMetrics>,
    /// How well its heat maps find the defects: of all anomalous classes, then of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pixels: Vec<PixelMetrics>,
    /// Each reduction of the learning rate after a loss that was NaN or infinite, with `on_nan =
    /// "lower-lr"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lr_lowered: Vec<Lowered>,
}

/// One scoring mode's part of [`Metrics`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModeMetrics {
    /// The mode's name.
    pub scoring: String,
    /// All metrics of the last epoch's scores.
    pub last: AnomalyMetrics,
    /// The epoch with the best AUROC on the test set, chosen with the test labels: for comparison
    /// with publications that do so.
    pub best_on_test: BestOnTest,
}

/// One further score's part of [`Metrics`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FurtherMetrics {
    /// Its name.
    pub score: String,
    /// Like [`ModeMetrics::last`].
    pub last: AnomalyMetrics,
    /// Like [`ModeMetrics::best_on_test`].
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

/// What a run's metrics and plots are computed from.
#[derive(Clone, Debug, Default)]
pub struct ScoredRun {
    /// Number of training images.
    pub train_images: usize,
    /// The last epoch's scores.
    pub test: TestScores,
    /// Each loss by epoch.
    pub losses: Vec<(String, Vec<f64>)>,
    /// The AUROC of each of [`RunConfig::judged`] by epoch.
    pub auroc: Vec<Vec<f64>>,
    /// How well its heat maps find the defects.
    pub pixels: Vec<PixelMetrics>,
    /// Each reduction of the learning rate.
    pub lowered: Vec<Lowered>,
}

impl From<&Outcome> for ScoredRun {
    fn from(outcome: &Outcome) -> Self {
        let (epochs, split) = (&outcome.epochs, &outcome.data.split);
        let names = epochs.first().map(|e| e.losses.as_slice()).unwrap_or_default();
        let loss = |(i, (name, _)): (usize, &(&'static str, f64))| {
            (name.to_string(), epochs.iter().map(|e| e.losses[i].1).collect())
        };
        let judged = 0..epochs.first().map_or(0, |e| e.auroc.len());
        Self {
            train_images: split.train.len(),
            test: TestScores {
                images: split.test.clone(),
                anomalous: split.test_is_anomaly.clone(),
                scores: outcome.scores.clone(),
            },
            losses: names.iter().enumerate().map(loss).collect(),
            auroc: judged.map(|i| epochs.iter().map(|e| e.auroc[i]).collect()).collect(),
            pixels: outcome.pixels.clone(),
            lowered: outcome.lowered.clone(),
        }
    }
}

impl ScoredRun {
    /// A stored run. Its number of training images, its heat maps and its learning rates are in
    /// neither.
    pub fn stored(config: &RunConfig, test: TestScores, epochs: &Epochs) -> Result<Self> {
        let losses = epochs.losses().map(|(name, values)| (name.to_string(), values.to_vec()));
        let (losses, auroc) = (losses.collect(), epochs.aurocs(config)?);
        Ok(Self { test, losses, auroc, ..Self::default() })
    }

    /// All metrics.
    pub fn metrics(&self, config: &RunConfig) -> Result<Metrics> {
        let (mut modes, mut further) = (Vec::new(), Vec::new());
        for ((mode, kind), aurocs) in config.judged().into_iter().zip(&self.auroc) {
            let last = evaluate(self.test.of((mode, kind)), &self.test.anomalous)?;
            // The earliest of equals, as in the published code.
            let mut best = BestOnTest { epoch: 0, auroc: f64::NEG_INFINITY };
            for (epoch, &auroc) in (1..).zip(aurocs) {
                if auroc > best.auroc {
                    best = BestOnTest { epoch, auroc };
                }
            }
            if kind == config.score {
                modes.push(ModeMetrics { scoring: mode.to_string(), last, best_on_test: best });
            } else {
                further.push(FurtherMetrics { score: kind.to_string(), last, best_on_test: best });
            }
        }
        let TestScores { images, anomalous, .. } = &self.test;
        let counts = self.test.of((config.scoring.0, config.counts()));
        let options = auroc::resampling(config);
        let all = resampled_aurocs(&[counts], anomalous, images, options)?;
        let interval = percentile_interval(&all.resampled[0], options.level)?;
        let test_anomalous = anomalous.iter().filter(|&&a| a).count();
        Ok(Metrics {
            protocol: config.protocol(),
            scoring: config.scoring.0.to_string(),
            score: config.counts().to_string(),
            train_pictures: self.train_images,
            test_normal: anomalous.len() - test_anomalous,
            test_anomalous,
            auroc: modes.first().context("there are no epochs")?.last.auroc,
            auroc_interval: [interval.low, interval.high],
            modes,
            further,
            pixels: self.pixels.clone(),
            lr_lowered: self.lowered.clone(),
        })
    }
}
