//! What trains: one detector on the CPU, or a group of runs on a GPU.

use anyhow::Result;
use ganomaly_experiment::config::ScoringMode;
use ganomaly_model::{Detector, NamedTensors, Scores};
use std::time::Duration;

/// Losses by name, in the detector's order.
pub(super) type Losses = Vec<(&'static str, f64)>;

/// What a run did since the last time it was asked.
pub(super) struct Taken {
    /// Steps taken.
    pub steps: usize,
    /// The last step's losses, or their means over all of these steps.
    pub losses: Losses,
}

/// Trains and scores one or more runs, and knows nothing of epochs, checkpoints and files. Every
/// list has one entry per run.
pub(super) trait Engine {
    /// Whether it reports the mean losses of an epoch rather than each step's.
    const WHOLE_EPOCHS: bool;

    /// Begins an epoch, counted from 1, or what is left of it: the images that each run takes, in
    /// order.
    fn begin(&mut self, epoch: u32, orders: Vec<Vec<u32>>) -> Result<()>;

    /// Trains until it can stop: after one step, or after all of them. None once all are taken.
    fn advance(&mut self) -> Result<Option<Vec<Taken>>>;

    /// How long the steps since [`Self::begin`] waited for their images.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }

    /// A weight that is not finite, by run. Only if every step's loss is known, as a loss that is
    /// not finite says the same.
    fn not_finite(&self) -> Result<Vec<Option<String>>>;

    /// Begins to score the test images in a mode's order, after the first `done` of them. Those
    /// that report whole epochs always begin at the first.
    fn begin_scoring(&mut self, mode: ScoringMode, done: usize) -> Result<()>;

    /// The scores of the next images in that order. None once all are scored.
    fn score(&mut self) -> Result<Option<Vec<Scores>>>;

    /// The validation images' scores under running statistics; empty without such images.
    fn validation(&mut self) -> Result<Vec<Scores>>;

    /// All scores of a mode, from its order to the split's, and with them the further ones that the
    /// config requests, some of which are fitted on the validation images' scores.
    fn finish_scoring(
        &mut self,
        mode: ScoringMode,
        scores: Vec<Scores>,
        validation: &[Scores],
    ) -> Result<Vec<Scores>>;

    /// Everything that training resumes from.
    fn training_states(&mut self) -> Result<Vec<NamedTensors>>;

    /// Goes back to a state of the only run, with another learning rate.
    fn go_back(&mut self, state: &NamedTensors, lr: f64) -> Result<()>;

    /// The trained detectors.
    fn finish(self) -> Result<Vec<Box<dyn Detector>>>;
}
