//! One run on the CPU, which can stop after any step.

use super::engine::{Engine, Taken};
use super::further;
use super::scoring::{score_in, test_order, validation_order};
use crate::checkpoint::not_finite;
use crate::interrupt::Cancel;
use anyhow::{Result, bail};
use candle_core::Device;
use ganomaly_data::{Augment, BatchOptions, Batches, EpochAugment};
use ganomaly_experiment::config::{RunConfig, ScoringMode};
use ganomaly_experiment::run_data::RunData;
use ganomaly_model::{BatchNormMode, Detector, NamedTensors, Scores};
use std::time::{Duration, Instant};

pub(super) struct Cpu<'a> {
    pub config: &'a RunConfig,
    pub data: &'a RunData,
    pub cancel: &'a Cancel,
    pub detector: Box<dyn Detector>,
    /// How long its steps waited for images.
    pub waited: Duration,
    /// What is left of the epoch.
    pub batches: Option<Batches>,
    /// The images that are still to be scored, and the statistics they are scored with.
    pub scoring: Option<(Batches, BatchNormMode)>,
}

impl Engine for Cpu<'_> {
    const WHOLE_EPOCHS: bool = false;

    fn begin(&mut self, epoch: u32, orders: Vec<Vec<u32>>) -> Result<()> {
        let Ok([order]) = <[Vec<u32>; 1]>::try_from(orders) else {
            bail!("the CPU trains one run at a time");
        };
        let augment = self.config.augment();
        let of_epoch = EpochAugment { augment, seed: self.config.seed(), epoch };
        self.waited = Duration::ZERO;
        let options = BatchOptions {
            batch_size: self.config.batch_size,
            drop_last: true,
            transform: self.data.transform.clone(),
            augment: (augment != Augment::default()).then_some(of_epoch),
            device: Device::Cpu,
            prefetch: 4,
        };
        self.batches = match order.len() < self.config.batch_size {
            true => None,
            false => Some(Batches::new(self.data.images.clone(), order, options)?),
        };
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<Vec<Taken>>> {
        let asked = Instant::now();
        let batch = self.batches.as_mut().and_then(Iterator::next);
        self.waited += asked.elapsed();
        let Some(batch) = batch else {
            self.batches = None;
            return Ok(None);
        };
        let losses = self.detector.train_step(&batch?.images)?;
        Ok(Some(vec![Taken { steps: 1, losses }]))
    }

    fn waited(&self) -> Duration {
        self.waited
    }

    fn not_finite(&self) -> Result<Vec<Option<String>>> {
        // No loss is computed from the last step's weights before they are scored.
        Ok(vec![not_finite(&self.detector.state()?)?])
    }

    fn begin_scoring(&mut self, mode: ScoringMode, done: usize) -> Result<()> {
        let mut order = test_order(self.data, self.config, mode);
        let left = order.images.split_off(done.min(order.images.len()));
        self.scoring = match left.is_empty() {
            true => None,
            false => Some((self.data.batches(left, order.batch_size)?, order.statistics)),
        };
        Ok(())
    }

    fn score(&mut self) -> Result<Option<Vec<Scores>>> {
        let next = self.scoring.as_mut().and_then(|(batches, mode)| Some((batches.next()?, *mode)));
        let Some((batch, statistics)) = next else {
            self.scoring = None;
            return Ok(None);
        };
        Ok(Some(vec![self.detector.score(&batch?.images, statistics)?]))
    }

    fn validation(&mut self) -> Result<Vec<Scores>> {
        if self.data.validation.is_empty() {
            return Ok(vec![Scores::default()]);
        }
        let order = validation_order(self.data, self.config);
        Ok(vec![score_in(&order, &*self.detector, self.data, self.cancel)?])
    }

    fn finish_scoring(
        &mut self,
        mode: ScoringMode,
        scores: Vec<Scores>,
        validation: &[Scores],
    ) -> Result<Vec<Scores>> {
        let Self { config, data, cancel, detector, .. } = self;
        let order = test_order(data, config, mode);
        let add = |(scores, held): (Scores, &Scores)| {
            let scores = order.restore(&scores);
            further::add(scores, held, &**detector, data, config, mode, cancel)
        };
        scores.into_iter().zip(validation).map(add).collect()
    }

    fn training_states(&mut self) -> Result<Vec<NamedTensors>> {
        Ok(vec![self.detector.training_state()?])
    }

    fn go_back(&mut self, state: &NamedTensors, lr: f64) -> Result<()> {
        self.batches = None;
        self.detector.load_training_state(state)?;
        self.detector.set_learning_rate(lr);
        Ok(())
    }

    fn finish(self) -> Result<Vec<Box<dyn Detector>>> {
        Ok(vec![self.detector])
    }
}
