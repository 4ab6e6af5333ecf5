//! A finished run's AUROC with its test images resampled, so that means over runs get both kinds of
//! uncertainty.

use super::folder::SCORES;
use super::scores::TestScores;
use crate::config::RunConfig;
use anyhow::{Context, Result};
use ganomaly_metrics::{BootstrapOptions, RunValue, resampled_aurocs};
use std::path::Path;

/// Coverage of the intervals, by resamples or by Student's t distribution.
pub const LEVEL: f64 = 0.95;

/// How test images are resampled in everything that covers several runs: one seed, so that an image
/// has the same weight everywhere.
pub fn resampling(config: &RunConfig) -> BootstrapOptions {
    BootstrapOptions { resamples: config.bootstrap, level: LEVEL, seed: 0 }
}

/// A run's AUROC.
#[derive(Clone, Debug)]
pub struct RunAuroc {
    /// The run's class.
    pub class: String,
    /// The run's seed.
    pub seed: u64,
    /// Its AUROC, in [0, 1].
    pub auroc: f64,
    /// The indices of its test images, and which are anomalous; empty if its scores are not
    /// available.
    pub tested_on: (Vec<u32>, Vec<bool>),
    /// Its AUROC in each resample; empty if its scores are not available.
    pub resampled: Vec<f64>,
}

impl RunAuroc {
    /// Reads a finished run from its folder. Results that were passed on without `scores.csv` have
    /// no resamples.
    pub fn read(folder: &Path, config: &RunConfig, auroc: f64) -> Result<Self> {
        if folder.join(SCORES).is_file() {
            let scores = TestScores::read(folder, config)?;
            return Self::of(config, auroc, scores)
                .with_context(|| format!("{}", folder.join(SCORES).display()));
        }
        Ok(Self {
            class: config.class().to_string(),
            seed: config.seed(),
            auroc,
            tested_on: Default::default(),
            resampled: Vec::new(),
        })
    }

    /// Computes it from the scores of its test images.
    pub fn of(config: &RunConfig, auroc: f64, scores: TestScores) -> Result<Self> {
        let counts = scores.of((config.scoring.0, config.counts()));
        let (images, anomalous) = (&scores.images, &scores.anomalous);
        let mut all = resampled_aurocs(&[counts], anomalous, images, resampling(config))?;
        Ok(Self {
            class: config.class().to_string(),
            seed: config.seed(),
            auroc,
            tested_on: (scores.images, scores.anomalous),
            resampled: all.resampled.remove(0),
        })
    }

    /// The AUROC as a value to average.
    pub fn value(&self) -> RunValue<'_> {
        let resampled = self.resampled.clone();
        RunValue { class: &self.class, seed: self.seed, value: self.auroc, resampled }
    }

    /// The AUROC minus the mean of others', resample by resample.
    pub fn minus(&self, others: &[&Self]) -> RunValue<'_> {
        let mean = |of: &dyn Fn(&Self) -> f64| {
            others.iter().map(|other| of(other)).sum::<f64>() / others.len() as f64
        };
        let resamples = others.iter().map(|o| o.resampled.len()).min().unwrap_or_default();
        let own = self.resampled.iter().take(resamples).enumerate();
        RunValue {
            class: &self.class,
            seed: self.seed,
            value: self.auroc - mean(&|other| other.auroc),
            resampled: own.map(|(i, own)| own - mean(&|other| other.resampled[i])).collect(),
        }
    }
}
