//! A run's metrics and plots from its scores, for a run just finished or from its stored results.

use crate::aurocs;
use crate::checkpoint::Lowered;
use crate::config::{RunConfig, ScoreKind, ScoringMode};
use crate::evaluate::{column, judged};
use crate::report::plot;
use crate::train::{ModeScores, Outcome};
use anyhow::{Context, Result};
use ganomaly_metrics::{
    AnomalyMetrics, evaluate, percentile_interval, resampled_aurocs, roc_curve,
};
use serde::{Deserialize, Serialize};

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

/// The inputs of metrics and plots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// Number of training images.
    pub train_pictures: usize,
    /// The test images' indices in the data set.
    pub pictures: Vec<u32>,
    /// Which of them are anomalous.
    pub anomalous: Vec<bool>,
    /// The last epoch's scores of each mode, the one that counts first.
    pub scores: ModeScores,
    /// Epochs, from 1.
    pub epochs: Vec<usize>,
    /// Each loss by epoch.
    pub losses: Vec<(String, Vec<f64>)>,
    /// The AUROC of each of [`RunConfig::judged`] by epoch.
    pub auroc: Vec<Vec<f64>>,
    /// Each reduction of the learning rate.
    pub lowered: Vec<Lowered>,
}

impl From<&Outcome> for Measured {
    fn from(outcome: &Outcome) -> Self {
        let epochs = &outcome.epochs;
        let names = epochs.first().map(|e| e.losses.as_slice()).unwrap_or_default();
        let loss = |(i, (name, _)): (usize, &(&'static str, f64))| {
            (name.to_string(), epochs.iter().map(|e| e.losses[i].1).collect())
        };
        let judged = 0..epochs.first().map_or(0, |e| e.auroc.len());
        Self {
            train_pictures: outcome.data.split.train.len(),
            pictures: outcome.data.split.test.clone(),
            anomalous: outcome.data.split.test_is_anomaly.clone(),
            scores: outcome.scores.clone(),
            epochs: epochs.iter().map(|e| e.epoch).collect(),
            losses: names.iter().enumerate().map(loss).collect(),
            auroc: judged.map(|i| epochs.iter().map(|e| e.auroc[i]).collect()).collect(),
            lowered: outcome.lowered.clone(),
        }
    }
}

impl Measured {
    /// The last epoch's scores of one of [`RunConfig::judged`].
    pub(crate) fn column(&self, of: (ScoringMode, ScoreKind)) -> &[f64] {
        judged(&self.scores, of)
    }

    /// All metrics.
    pub(crate) fn metrics(&self, config: &RunConfig) -> Result<Metrics> {
        let (mut modes, mut further) = (Vec::new(), Vec::new());
        for ((mode, kind), aurocs) in config.judged().into_iter().zip(&self.auroc) {
            let last = evaluate(self.column((mode, kind)), &self.anomalous)?;
            // The earliest of equals, as in the published code.
            let mut best = BestOnTest { epoch: 0, auroc: f64::NEG_INFINITY };
            for (&epoch, &auroc) in self.epochs.iter().zip(aurocs) {
                if auroc > best.auroc {
                    best = BestOnTest { epoch, auroc };
                }
            }
            if kind == config.score.0 {
                modes.push(ModeMetrics { scoring: mode.to_string(), last, best_on_test: best });
            } else {
                further.push(FurtherMetrics { score: kind.to_string(), last, best_on_test: best });
            }
        }
        let (_, primary) = self.scores.first().context("there are no scores")?;
        let primary = column(primary, config.score.0);
        let options = aurocs::resampling(config);
        let all = resampled_aurocs(&[primary], &self.anomalous, &self.pictures, options)?;
        let interval = percentile_interval(&all.resampled[0], options.level)?;
        let test_anomalous = self.anomalous.iter().filter(|&&a| a).count();
        Ok(Metrics {
            protocol: config.protocol(),
            scoring: config.scoring.0.to_string(),
            score: config.score.0.to_string(),
            train_pictures: self.train_pictures,
            test_normal: self.anomalous.len() - test_anomalous,
            test_anomalous,
            auroc: modes.first().context("there are no epochs")?.last.auroc,
            auroc_interval: [interval.low, interval.high],
            modes,
            further,
            lr_lowered: self.lowered.clone(),
        })
    }

    /// The run's plots: each file's name and contents.
    pub(crate) fn plots(
        &self,
        name: &str,
        config: &RunConfig,
        metrics: &Metrics,
    ) -> Result<Vec<(&'static str, String)>> {
        let anomalous = &self.anomalous;
        let of = |mode: &ScoringMode| format!("{name}, {mode}");
        let mut curves = Vec::new();
        for ((mode, scores), m) in self.scores.iter().zip(&metrics.modes) {
            let curve = roc_curve(column(scores, config.score.0), anomalous)?;
            curves.push((format!("{mode}: AUROC {:.3}", m.last.auroc), curve));
        }
        let curves: Vec<plot::Curve<'_>> = curves
            .iter()
            .map(|(label, c)| plot::Curve { label: label.clone(), fpr: &c.fpr, tpr: &c.tpr })
            .collect();
        let (mode, scores) = self.scores.first().context("there are no scores")?;
        let (mut normal, mut abnormal) = (Vec::new(), Vec::new());
        for (&score, &is_anomaly) in column(scores, config.score.0).iter().zip(anomalous) {
            if is_anomaly { abnormal.push(score) } else { normal.push(score) }
        }
        let line = |name: String, values: &[f64], dashed| {
            let points = self.epochs.iter().zip(values).map(|(&e, &value)| (e as f64, value));
            plot::Series { name, points: points.collect(), dashed }
        };
        let judged = config.judged().into_iter().zip(&self.auroc).enumerate();
        let aurocs: Vec<plot::Series> =
            judged.map(|(i, (of, auroc))| line(config.judged_name(of), auroc, i > 0)).collect();
        let losses = self.losses.iter().enumerate();
        let losses: Vec<plot::Series> =
            losses.map(|(i, (name, values))| line(name.clone(), values, i >= 4)).collect();
        let best = metrics.modes[0].best_on_test;
        let best = Some((best.epoch as f64, best.auroc, "best on test"));
        let score_label = format!("anomaly score ({})", config.score.0);
        Ok(vec![
            ("roc.svg", plot::roc(name, &curves)?),
            ("scores.svg", plot::score_histogram(&of(mode), &score_label, &normal, &abnormal)?),
            ("auroc.svg", plot::epochs(name, "AUROC", &aurocs, best)?),
            ("losses.svg", plot::epochs_log(name, "mean loss", &losses)?),
        ])
    }
}
