//! Scoring a test set, every choice of the protocol spelled out.

use crate::config::{RunConfig, ScoreKind, ScoringMode};
use crate::data::RunData;
use crate::progress::Cancel;
use anyhow::Result;
use candle_core::Device;
use ganomaly_data::{BatchOptions, Batches, shuffled};
use ganomaly_model::{BatchNormMode, Detector, Scores};

/// The random stream that the shuffled test order is drawn from; epochs have the streams from 1 on.
const TEST_ORDER_STREAM: u64 = u64::MAX;

/// Scores every test picture; the result is in the split's order, whatever the order of scoring.
pub fn score_test_set(
    detector: &dyn Detector,
    data: &RunData,
    config: &RunConfig,
    mode: ScoringMode,
    cancel: &Cancel,
) -> Result<Scores> {
    let positions: Vec<u32> = (0..data.split.test.len() as u32).collect();
    let order = match mode {
        ScoringMode::BatchShuffled => shuffled(&positions, config.seed(), TEST_ORDER_STREAM),
        ScoringMode::Running | ScoringMode::BatchSequential => positions,
    };
    let statistics = match mode {
        ScoringMode::Running => BatchNormMode::Running,
        ScoringMode::BatchShuffled | ScoringMode::BatchSequential => BatchNormMode::Batch,
    };
    let indices = order.iter().map(|&p| data.split.test[p as usize]).collect();
    let options = BatchOptions {
        batch_size: config.score_batch_size,
        drop_last: false,
        transform: data.transform.clone(),
        device: Device::Cpu,
        prefetch: 2,
    };
    let n = order.len();
    let mut all = Scores { l2: vec![0.0; n], l1: vec![0.0; n], con: vec![0.0; n] };
    let mut done = 0;
    for batch in Batches::new(data.images.clone(), indices, options)? {
        cancel.check()?;
        let scores = detector.score(&batch?.images, statistics)?;
        for (i, ((l2, l1), con)) in scores.l2.iter().zip(&scores.l1).zip(&scores.con).enumerate() {
            let position = order[done + i] as usize;
            (all.l2[position], all.l1[position], all.con[position]) = (*l2, *l1, *con);
        }
        done += scores.l2.len();
    }
    Ok(all)
}

/// The column of scores that counts.
pub fn column(scores: &Scores, kind: ScoreKind) -> &[f64] {
    match kind {
        ScoreKind::L2 => &scores.l2,
        ScoreKind::L1 => &scores.l1,
        ScoreKind::Con => &scores.con,
    }
}
