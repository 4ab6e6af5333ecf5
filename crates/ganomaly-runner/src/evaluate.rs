//! Scores a test set, with every choice of the protocol explicit.

use crate::config::{RunConfig, ScoreKind, ScoringMode};
use crate::data::RunData;
use crate::further;
use crate::interrupt::Cancel;
use anyhow::Result;
use candle_core::Device;
use ganomaly_data::{BatchOptions, Batches, Purpose, shuffled};
use ganomaly_model::{BatchNormMode, Detector, Scores};

/// Scores every test image; the result is in the split's order, whatever the order of scoring.
pub fn score_test_set(
    detector: &dyn Detector,
    data: &RunData,
    config: &RunConfig,
    mode: ScoringMode,
    cancel: &Cancel,
) -> Result<Scores> {
    let order = test_order(data, config, mode);
    let scores = order.restore(&score_in(&order, detector, data, cancel)?);
    further::add(scores, detector, data, config, mode, cancel)
}

/// The scores in the order of scoring.
fn score_in(
    order: &Order,
    detector: &dyn Detector,
    data: &RunData,
    cancel: &Cancel,
) -> Result<Scores> {
    let mut all = Scores::default();
    for batch in batches(&order.pictures, order.batch_size, data)? {
        cancel.check()?;
        let scores = detector.score(&batch?.images, order.statistics)?;
        all.l2.extend(scores.l2);
        all.l1.extend(scores.l1);
        all.con.extend(scores.con);
    }
    Ok(all)
}

/// Images in this order, in batches; the last may be smaller.
pub(crate) fn batches(pictures: &[u32], batch_size: usize, data: &RunData) -> Result<Batches> {
    let options = BatchOptions {
        batch_size,
        drop_last: false,
        transform: data.transform.clone(),
        device: Device::Cpu,
        prefetch: 2,
    };
    Ok(Batches::new(data.images.clone(), pictures.to_vec(), options)?)
}

/// Mean contextual error of the validation images under running statistics; none if there are no
/// such images.
pub fn validation_error(
    detector: &dyn Detector,
    data: &RunData,
    config: &RunConfig,
    cancel: &Cancel,
) -> Result<Option<f64>> {
    if data.validation.is_empty() {
        return Ok(None);
    }
    let order = validation_order(data, config);
    Ok(Some(mean_error(&score_in(&order, detector, data, cancel)?)))
}

/// The mean contextual error of scored images.
pub(crate) fn mean_error(scores: &Scores) -> f64 {
    scores.con.iter().sum::<f64>() / scores.con.len() as f64
}

/// The validation images in scoring order.
pub(crate) fn validation_order(data: &RunData, config: &RunConfig) -> Order {
    Order {
        pictures: data.validation.clone(),
        statistics: BatchNormMode::Running,
        batch_size: config.score_batch_size,
        positions: (0..data.validation.len() as u32).collect(),
    }
}

/// Images in the order in which a mode scores them.
pub struct Order {
    /// Their indices in the data set.
    pub pictures: Vec<u32>,
    /// Which statistics they are scored with.
    pub statistics: BatchNormMode,
    /// Images in a batch.
    pub batch_size: usize,
    /// The position of each in the split's order.
    positions: Vec<u32>,
}

/// The order of a mode.
pub fn test_order(data: &RunData, config: &RunConfig, mode: ScoringMode) -> Order {
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
    let pictures = positions.iter().map(|&p| data.split.test[p as usize]).collect();
    Order { pictures, statistics, batch_size, positions }
}

impl Order {
    /// Reorders scores from this order to the split's.
    pub fn restore(&self, scores: &Scores) -> Scores {
        let restore = |scores: &[f64]| {
            let mut all = vec![0.0; self.positions.len()];
            for (&position, &score) in self.positions.iter().zip(scores) {
                all[position as usize] = score;
            }
            all
        };
        let columns = scores.columns().into_iter();
        Scores::of_columns(columns.map(|(name, column)| (name.to_string(), restore(column))))
    }
}

/// The scores of one kind in one mode; empty if they were not recorded.
pub(crate) fn judged(
    scores: &[(ScoringMode, Scores)],
    (mode, kind): (ScoringMode, ScoreKind),
) -> &[f64] {
    let of = scores.iter().find(|(m, _)| *m == mode);
    of.map(|(_, scores)| column(scores, kind)).unwrap_or_default()
}

/// The scores of one kind; empty if they were not recorded.
pub fn column(scores: &Scores, kind: ScoreKind) -> &[f64] {
    let name = kind.to_string();
    scores.columns().into_iter().find(|(n, _)| *n == name).map(|(_, c)| c).unwrap_or_default()
}
