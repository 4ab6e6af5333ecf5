//! Scores a test set, with every choice of the protocol explicit.

use crate::interrupt::Cancel;
use anyhow::Result;
use ganomaly_data::{Purpose, shuffled};
use ganomaly_experiment::config::{RunConfig, ScoringMode};
use ganomaly_experiment::run_data::RunData;
use ganomaly_model::{BatchNormMode, Detector, Scores};

/// The scores in the order of scoring.
pub(super) fn score_in(
    order: &ScoringOrder,
    detector: &dyn Detector,
    data: &RunData,
    cancel: &Cancel,
) -> Result<Scores> {
    let mut all = Scores::default();
    for batch in data.batches(order.images.clone(), order.batch_size)? {
        cancel.check()?;
        all.append(detector.score(&batch?.images, order.statistics)?);
    }
    Ok(all)
}

/// The mean reconstruction error of scored images; none without images.
pub(super) fn mean_error(scores: &Scores, config: &RunConfig) -> Option<f64> {
    let errors = scores.of(config.names.reconstruction);
    (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64)
}

/// The validation images in scoring order.
pub(crate) fn validation_order(data: &RunData, config: &RunConfig) -> ScoringOrder {
    ScoringOrder {
        images: data.validation.clone(),
        statistics: BatchNormMode::Running,
        batch_size: config.score_batch_size,
        positions: (0..data.validation.len() as u32).collect(),
    }
}

/// Images in the order in which a mode scores them.
pub struct ScoringOrder {
    /// Their indices in the data set.
    pub images: Vec<u32>,
    /// Which statistics they are scored with.
    pub statistics: BatchNormMode,
    /// Images in a batch.
    pub batch_size: usize,
    /// The position of each in the split's order.
    positions: Vec<u32>,
}

/// The order of a mode.
pub fn test_order(data: &RunData, config: &RunConfig, mode: ScoringMode) -> ScoringOrder {
    let positions: Vec<u32> = (0..data.split.test.len() as u32).collect();
    let positions = match mode {
        ScoringMode::BatchShuffled => shuffled(&positions, config.seed(), Purpose::TEST_ORDER, 0),
        ScoringMode::Running | ScoringMode::BatchSequential | ScoringMode::Single => positions,
    };
    let statistics = match mode {
        ScoringMode::Running => BatchNormMode::Running,
        ScoringMode::BatchShuffled | ScoringMode::BatchSequential | ScoringMode::Single => {
            BatchNormMode::Batch
        }
    };
    let batch_size = if mode == ScoringMode::Single { 1 } else { config.score_batch_size };
    let images = positions.iter().map(|&p| data.split.test[p as usize]).collect();
    ScoringOrder { images, statistics, batch_size, positions }
}

impl ScoringOrder {
    /// Reorders scores from this order to the split's.
    pub fn restore(&self, scores: &Scores) -> Scores {
        let restore = |scores: &[f64]| {
            let mut all = vec![0.0; self.positions.len()];
            for (&position, &score) in self.positions.iter().zip(scores) {
                all[position as usize] = score;
            }
            all
        };
        Scores::new(scores.columns().iter().map(|(name, column)| (name, restore(column))))
    }
}
