//! The interface of every detector. The runner uses detectors only through this trait.

use crate::Result;
use candle_core::Tensor;

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

/// Anomaly scores of a batch, one per image; higher is more anomalous, all are ≥ 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Mean squared difference of the two latent vectors: the published code's score.
    pub l2: Vec<f64>,
    /// Mean absolute difference of the two latent vectors: the paper's score (equation 5).
    pub l1: Vec<f64>,
    /// Mean absolute difference of image and reconstruction: the contextual error.
    pub con: Vec<f64>,
    /// Further scores by name, added by callers that know more than the batch; a detector returns
    /// none.
    pub further: Vec<(String, Vec<f64>)>,
}

impl Scores {
    /// Every column with its name, in a fixed order.
    pub fn columns(&self) -> Vec<(&str, &[f64])> {
        let own = [("l2", &self.l2), ("l1", &self.l1), ("con", &self.con)];
        let further = self.further.iter().map(|(name, column)| (name.as_str(), column));
        own.into_iter().chain(further).map(|(name, column)| (name, column.as_slice())).collect()
    }

    /// The inverse of [`Self::columns`]: what is not `l2`, `l1` or `con` is a further score.
    pub fn of_columns(columns: impl IntoIterator<Item = (String, Vec<f64>)>) -> Self {
        let mut scores = Self::default();
        for (name, column) in columns {
            match name.as_str() {
                "l2" => scores.l2 = column,
                "l1" => scores.l1 = column,
                "con" => scores.con = column,
                _ => scores.further.push((name, column)),
            }
        }
        scores
    }
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
