//! What every detector can do; the runner knows detectors by this trait alone.

use crate::Result;
use candle_core::Tensor;

/// Which statistics batch normalisation uses while scoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchNormMode {
    /// The running estimates of training: a picture's score does not depend on its neighbours.
    Running,
    /// The scored batch's own, as the published code does it: a picture's score depends on the batch it is in.
    Batch,
}

/// Anomaly scores of a batch, one number a picture; higher is more anomalous, all are ≥ 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Mean squared difference of the two latent vectors: the published code's score.
    pub l2: Vec<f64>,
    /// Mean absolute difference of the two latent vectors: the paper's score (equation 5).
    pub l1: Vec<f64>,
    /// Mean absolute difference of picture and reconstruction: the contextual error.
    pub con: Vec<f64>,
    /// Further scores by name, from whoever knows more than the batch; a detector gives none.
    pub further: Vec<(String, Vec<f64>)>,
}

impl Scores {
    /// Every column with its name, in a fixed order.
    pub fn columns(&self) -> Vec<(&str, &[f64])> {
        let own = [("l2", &self.l2), ("l1", &self.l1), ("con", &self.con)];
        let further = self.further.iter().map(|(name, column)| (name.as_str(), column));
        own.into_iter().chain(further).map(|(name, column)| (name, column.as_slice())).collect()
    }

    /// [`Self::columns`] back: what is neither `l2`, `l1` nor `con` is a further score.
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

/// A network that learns what is normal and scores what is not.
///
/// Batches are `[N, C, S, S]` in the normalised units of the data set's transform.
pub trait Detector: Send {
    /// Learns from one batch of normal pictures and returns the step's losses by name.
    fn train_step(&mut self, x: &Tensor) -> Result<Vec<(&'static str, f64)>>;

    /// Scores a batch. Nothing is learnt: running statistics stay as they are in both modes.
    fn score(&self, x: &Tensor, mode: BatchNormMode) -> Result<Scores>;

    /// The code that the detector gives each picture of a batch under running statistics, `[N, D]`.
    fn code(&self, x: &Tensor) -> Result<Tensor>;

    /// The reconstruction of each picture, `[N, C, S, S]`, in the units of `x`.
    fn reconstruct(&self, x: &Tensor, mode: BatchNormMode) -> Result<Tensor>;

    /// All weights and running statistics, in the published code's names and PyTorch's shapes.
    fn state(&self) -> Result<NamedTensors>;

    /// Replaces all weights and running statistics. Every name must be there with its shape, and no other.
    fn load_state(&mut self, state: &NamedTensors) -> Result<()>;

    /// All that training goes on from: [`Self::state`], and what the optimisers and random streams remember. Copies, in a fixed order.
    fn training_state(&self) -> Result<NamedTensors>;

    /// Goes on from what [`Self::training_state`] gave, on a detector made with the same settings and seed: every later step then gives the same numbers, to
    /// the bit. Where a name or shape is wrong nothing is changed.
    fn load_training_state(&mut self, state: &NamedTensors) -> Result<()>;

    /// Trains with another learning rate from now on.
    fn set_learning_rate(&mut self, lr: f64);
}
