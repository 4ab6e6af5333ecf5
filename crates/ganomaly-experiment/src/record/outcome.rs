//! What a run computes, before it is written.

use super::machine::{Machine, Part};
use crate::config::ScoringMode;
use crate::run_data::RunData;
use ganomaly_model::{Detector, Scores};
use serde::{Deserialize, Serialize};

/// One epoch, a row of `epochs.csv`.
#[derive(Clone, Debug)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Mean of each loss over the epoch's steps.
    pub losses: Vec<(&'static str, f64)>,
    /// Training time without scoring, in seconds.
    pub train_s: f64,
    /// Training images per second.
    pub images_per_s: f64,
    /// Time of scoring in all modes, in seconds.
    pub score_s: f64,
    /// AUROCs in the order of [`crate::config::RunConfig::judged`].
    pub auroc: Vec<f64>,
    /// Mean contextual error on the validation images under running statistics; none if none are
    /// held out.
    pub validation_con: Option<f64>,
}

/// A test set's scores in each mode, in the order of the split's test images.
pub type ModeScores = Vec<(ScoringMode, Scores)>;

/// A loss that was NaN or infinite, after which the run went back to the epoch's start with a lower
/// learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lowered {
    /// The epoch, from 1.
    pub epoch: usize,
    /// The step in it, from 1.
    pub step: usize,
    /// What was wrong.
    pub what: String,
    /// The learning rate from then on.
    pub lr: f64,
}

/// How well heat maps find the defects of test images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PixelMetrics {
    /// The anomalous class, or `all`.
    pub class: String,
    /// AUROC of the pixels.
    pub auroc: f64,
    /// Average precision of the pixels.
    pub auprc: f64,
    /// MVTec AD's per-region overlap, up to a false-positive rate of 0.3.
    pub aupro: f64,
}

/// A finished run.
pub struct Outcome {
    /// The data it ran on.
    pub data: RunData,
    /// The trained detector.
    pub detector: Box<dyn Detector>,
    /// Every epoch.
    pub epochs: Vec<Epoch>,
    /// The last epoch's scores.
    pub scores: ModeScores,
    /// Every epoch's scores if the config keeps them; else empty.
    pub epoch_scores: Vec<ModeScores>,
    /// How well its heat maps find the defects; empty without masks.
    pub pixels: Vec<PixelMetrics>,
    /// How often the learning rate was lowered, with `on_nan = "lower-lr"`.
    pub lowered: Vec<Lowered>,
    /// What computed it.
    pub parts: Vec<Part>,
    /// What it ended on.
    pub machine: Machine,
}
