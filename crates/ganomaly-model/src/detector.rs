//! The interface of every detector. The runner uses detectors only through this trait.

use crate::graph::{Graph, Scoring, Value};
use crate::{Error, Result};
use candle_core::Tensor;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Which statistics batch normalisation uses while scoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchNormMode {
    /// The running estimates from training: an image's score does not depend on the rest of the
    /// batch.
    Running,
    /// The statistics of the scored batch, as in the published code: an image's score depends on
    /// the batch it is in.
    Batch,
}

/// Anomaly scores of images: one column per kind of score, one number per image; higher is more
/// anomalous.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores(Vec<(String, Vec<f64>)>);

impl Scores {
    /// Columns by name, all of the same length.
    pub fn new<N: Into<String>>(columns: impl IntoIterator<Item = (N, Vec<f64>)>) -> Self {
        Self(columns.into_iter().map(|(name, column)| (name.into(), column)).collect())
    }

    /// Every column with its name.
    pub fn columns(&self) -> &[(String, Vec<f64>)] {
        &self.0
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.0.first().map_or(0, |(_, column)| column.len())
    }

    /// A column; empty if there is none of that name.
    pub fn of(&self, name: &str) -> &[f64] {
        let column = self.0.iter().find(|(there, _)| there == name);
        column.map(|(_, scores)| scores.as_slice()).unwrap_or_default()
    }

    /// Adds a column.
    pub fn push(&mut self, name: &str, column: Vec<f64>) {
        self.0.push((name.to_string(), column));
    }

    /// Appends the scores of further images, column by column.
    pub fn append(&mut self, further: Self) {
        if self.0.is_empty() {
            *self = further;
        } else {
            for ((_, column), (_, more)) in self.0.iter_mut().zip(further.0) {
                column.extend(more);
            }
        }
    }
}

/// What a kind of detector calls its scores and losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// The columns of its scores; the first is the one that counts, unless a config says otherwise.
    pub scores: &'static [&'static str],
    /// The score that measures reconstruction alone: its mean over normal images shows how well
    /// they are learnt.
    pub reconstruction: &'static str,
    /// The losses to watch during training.
    pub headlines: &'static [&'static str],
}

/// The images that a network is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// Their channels.
    pub channels: usize,
    /// Their side after resizing.
    pub side: usize,
}

/// The settings of a kind of detector: its fields are the keys of a config's file, its default what
/// a file leaves out. `#[serde(default, deny_unknown_fields)]` makes it so.
pub trait Settings: Clone + Default + Serialize + DeserializeOwned + 'static {
    /// The detector's name in configs.
    const DETECTOR: &'static str;

    /// What it calls its scores and losses.
    const NAMES: Names;

    /// Refuses settings with which no network can be built or trained for such images; the error
    /// names the setting.
    fn check(&self, input: Input) -> Result<()>;

    /// A fresh detector, its weights drawn from the seed.
    fn build(&self, input: Input, seed: u64) -> Result<Box<dyn Detector>>;

    /// A lower bound of the number of weights, so that a file that holds fewer is refused before
    /// anything is built.
    fn least_weights(&self, _input: Input) -> u64 {
        0
    }
}

pub(crate) fn not_a_graph() -> Error {
    Error::Weights("this detector's scoring is more than a network's forward pass, so that it cannot be exported".into())
}

/// Tensors by name, in a fixed order.
pub type NamedTensors = Vec<(String, Tensor)>;

/// A network that learns normal data and scores anomalies.
///
/// Batches are `[N, C, S, S]` in the normalised units of the data set's transform.
pub trait Detector: Send {
    /// Trains on one batch of normal images and returns the step's losses by name.
    fn train_step(&mut self, x: &Tensor) -> Result<Vec<(&'static str, f64)>>;

    /// Scores a batch. Nothing is learnt, and running statistics do not change in either mode.
    fn score(&self, x: &Tensor, mode: BatchNormMode) -> Result<Scores>;

    /// The latent code of each image of a batch under running statistics, `[N, D]`.
    fn code(&self, x: &Tensor) -> Result<Tensor>;

    /// The reconstruction of each image, `[N, C, S, S]`, in the units of `x`.
    fn reconstruct(&self, x: &Tensor, mode: BatchNormMode) -> Result<Tensor>;

    /// [`Self::score`] and [`Self::reconstruct`] by running statistics as operations on `x`,
    /// `[N, C, S, S]`, any N. Fails if scoring is more than a network's forward pass.
    fn graph(&self, _graph: &mut Graph, _x: &Value) -> Result<Scoring> {
        Err(not_a_graph())
    }

    /// All weights and running statistics, with the published code's names and PyTorch's shapes.
    fn state(&self) -> Result<NamedTensors>;

    /// Replaces all weights and running statistics. Every name must be present with its shape, and
    /// no others.
    fn load_state(&mut self, state: &NamedTensors) -> Result<()>;

    /// Everything needed to resume training: [`Self::state`] and the state of optimisers and random
    /// streams. Copies, in a fixed order.
    fn training_state(&self) -> Result<NamedTensors>;

    /// Restores what [`Self::training_state`] returned, on a detector made with the same settings
    /// and seed: every later step then gives bit-identical results. If a name or shape is wrong,
    /// nothing is changed.
    fn load_training_state(&mut self, state: &NamedTensors) -> Result<()>;

    /// Sets the learning rate for the following steps.
    fn set_learning_rate(&mut self, lr: f64);
}
