//! `protocols.safetensors`: a run's AUROC under every protocol that its scores allow, with the test
//! images resampled. It is small and kept in the repository, so an audit can be computed again
//! where every epoch's scores are not at hand.
//!
//! With P protocols, R resamples and E epochs:
//!
//! | tensor | shape | what |
//! |---|---|---|
//! | `auroc` | f64 `[P]` | AUROC of the chosen epoch |
//! | `epoch` | u32 `[P]` | the chosen epoch, from 1 |
//! | `resampled` | f32 `[P, R]` | its AUROC in each resample of the test images |
//! | `validation_con` | f64 `[E]` | mean contextual error of validation images; absent if none |
//!
//! The metadata's `config` is the run's config as TOML, which determines the protocols.

use super::epoch_scores::{EpochScores, vector};
use super::folder::{EPOCH_SCORES, PROTOCOLS};
use super::{auroc as run_auroc, checksums};
use crate::config::{KeepScores, RunConfig, ScoringMode, Validation};
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use ganomaly_metrics::{ResampledAurocs, auroc, resampled_aurocs};
use ganomaly_model::weights::{self, named};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// Every scoring mode, the honest one first.
pub const MODES: [ScoringMode; 4] = [
    ScoringMode::Running,
    ScoringMode::BatchShuffled,
    ScoringMode::BatchSequential,
    ScoringMode::Single,
];

/// How the epoch is chosen whose scores count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EpochRule {
    /// The last.
    Last,
    /// The earliest of those with the highest AUROC on the test set, by the same scores that are
    /// evaluated: the published code's choice.
    BestOnTest,
    /// The earliest of those with the lowest contextual error on the validation images, which are
    /// normal and used for neither training nor testing.
    BestByValidation,
}

impl EpochRule {
    /// All rules, the honest default first.
    pub const ALL: [Self; 3] = [Self::Last, Self::BestOnTest, Self::BestByValidation];
}

impl fmt::Display for EpochRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Last => "last",
            Self::BestOnTest => "best-on-test",
            Self::BestByValidation => "best-by-validation",
        })
    }
}

/// Which scores count, of which epoch.
pub type Protocol = (ScoringMode, EpochRule, &'static str);

/// Every protocol under which runs of this config can be evaluated, the honest default first.
pub fn protocols(config: &RunConfig) -> Vec<Protocol> {
    let mut all = Vec::new();
    let modes = MODES.into_iter().filter(|mode| config.modes().contains(mode));
    let recorded = |(mode, kind): &(ScoringMode, &'static str)| config.kinds(*mode).contains(kind);
    let validated = config.validation != Validation::default();
    for kind in config.kinds(ScoringMode::Running) {
        for (mode, kind) in modes.clone().map(|mode| (mode, kind)).filter(recorded) {
            let rules = EpochRule::ALL.into_iter();
            let rules = rules.filter(|rule| validated || *rule != EpochRule::BestByValidation);
            all.extend(rules.map(|rule| (mode, rule, kind)));
        }
    }
    all
}

/// Whether runs of this config record the minimum that an audit needs.
pub fn are_recorded(config: &RunConfig) -> bool {
    config.keep_scores.0 == KeepScores::EveryEpoch && config.scoring.0 == ScoringMode::Running
}

/// A run under each of its [`protocols`].
#[derive(Clone, Debug, PartialEq)]
pub struct RunProtocols {
    /// The chosen epochs, from 1.
    pub epochs: Vec<usize>,
    /// The AUROCs, and the resamples in single precision.
    pub aurocs: ResampledAurocs,
    /// Mean contextual error of the validation images by epoch; empty if none were held out.
    pub validation_con: Vec<f64>,
}

impl RunProtocols {
    /// Evaluates a run's scores under its [`protocols`].
    pub fn of(config: &RunConfig, scores: &EpochScores) -> Result<Self> {
        let validation_con = scores.validation_con.clone().unwrap_or_default();
        let labels = &scores.anomalous;
        let mut epochs = Vec::new();
        let mut lists: Vec<&[f64]> = Vec::new();
        for (mode, rule, kind) in protocols(config) {
            let all = scores.of(mode, kind)?;
            let epoch = match rule {
                EpochRule::Last => all.len() - 1,
                EpochRule::BestByValidation => best(validation_con.iter().map(|error| -error)),
                EpochRule::BestOnTest => {
                    let of = |scores: &Vec<f64>| auroc(scores, labels);
                    best(all.iter().map(of).collect::<Result<Vec<_>, _>>()?.into_iter())
                }
            };
            epochs.push(epoch + 1);
            lists.push(&all[epoch]);
        }
        let options = run_auroc::resampling(config);
        let mut aurocs = resampled_aurocs(&lists, labels, &scores.images, options)?;
        for value in aurocs.resampled.iter_mut().flatten() {
            *value = f64::from(*value as f32);
        }
        Ok(Self { epochs, aurocs, validation_con })
    }

    /// The file's bytes.
    pub fn to_bytes(&self, config: &RunConfig) -> Result<Vec<u8>> {
        let (rows, of_each) = (self.epochs.len(), config.bootstrap);
        let resampled: Vec<f32> =
            self.aurocs.resampled.iter().flatten().map(|&v| v as f32).collect();
        let epochs = self.epochs.iter().map(|&epoch| epoch as u32).collect();
        let mut tensors = vec![
            ("auroc".to_string(), vector(self.aurocs.aurocs.clone())?),
            ("epoch".to_string(), vector::<u32>(epochs)?),
            ("resampled".to_string(), Tensor::from_vec(resampled, (rows, of_each), &Device::Cpu)?),
        ];
        if !self.validation_con.is_empty() {
            tensors.push(("validation_con".into(), vector(self.validation_con.clone())?));
        }
        let metadata = HashMap::from([("config".to_string(), config.to_toml()?)]);
        Ok(weights::to_safetensors(&tensors, Some(metadata))?)
    }

    /// Evaluates the scores in a run's folder or, where they are not kept, reads this file.
    pub fn in_folder(folder: &Path, config: &RunConfig) -> Result<Self> {
        match folder.join(PROTOCOLS).is_file() && !folder.join(EPOCH_SCORES).exists() {
            true => Self::read(folder, config),
            false => Self::of(config, &EpochScores::read(folder)?)
                .with_context(|| format!("{}", folder.join(EPOCH_SCORES).display())),
        }
    }

    /// Reads the file in a run's folder.
    pub fn read(folder: &Path, config: &RunConfig) -> Result<Self> {
        let path = folder.join(PROTOCOLS);
        let what = || format!("{}", path.display());
        checksums::read(folder, PROTOCOLS)?;
        let tensors = weights::read_safetensors(&path).with_context(what)?;
        let read = || -> Result<Self> {
            let resampled = named(&tensors, "resampled")?.to_vec2::<f32>()?;
            let wide = |row: Vec<f32>| row.into_iter().map(f64::from).collect();
            let validation = tensors.iter().find(|(name, _)| name == "validation_con");
            let validation = validation.map(|(_, t)| t.to_vec1::<f64>()).transpose()?;
            let epochs = named(&tensors, "epoch")?.to_vec1::<u32>()?;
            Ok(Self {
                epochs: epochs.into_iter().map(|epoch| epoch as usize).collect(),
                aurocs: ResampledAurocs {
                    aurocs: named(&tensors, "auroc")?.to_vec1::<f64>()?,
                    resampled: resampled.into_iter().map(wide).collect(),
                },
                validation_con: validation.unwrap_or_default(),
            })
        };
        let run = read().with_context(what)?;
        let expected = protocols(config).len();
        let found = [run.epochs.len(), run.aurocs.aurocs.len(), run.aurocs.resampled.len()];
        ensure!(
            found == [expected; 3],
            "{}: expected {expected} protocols by the run's config, found {found:?}",
            what()
        );
        Ok(run)
    }
}

/// The index of the first maximum.
fn best(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (at, value) in values.enumerate() {
        if value > best.1 {
            best = (at, value);
        }
    }
    best.0
}
