//! `epoch_scores.safetensors`: every epoch's scores of a run in every mode, so that a protocol can
//! be evaluated afterwards without training again.
//!
//! With E epochs and T test images, in the order of `scores.csv`:
//!
//! | tensor | shape | what |
//! |---|---|---|
//! | `MODE/KIND`, such as `running/l2` | f32 `[E, T]` | scores |
//! | `anomalous` | u8 `[T]` | 1 for an anomaly |
//! | `picture` | u32 `[T]` | the image's index in the data set |
//! | `validation_con` | f64 `[E]` | mean contextual error of validation images; absent if none |
//!
//! The metadata's `config` is the run's config as TOML.

use super::checksums;
use super::folder::EPOCH_SCORES;
use super::outcome::Outcome;
use crate::config::{RunConfig, ScoringMode};
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use ganomaly_model::weights;
use std::collections::HashMap;
use std::path::Path;

pub(crate) fn vector<T: candle_core::WithDType>(numbers: Vec<T>) -> Result<Tensor> {
    let len = numbers.len();
    Ok(Tensor::from_vec(numbers, len, &Device::Cpu)?)
}

fn name(mode: ScoringMode, kind: &str) -> String {
    format!("{mode}/{kind}")
}

/// The content of the file.
#[derive(Clone, Debug)]
pub struct EpochScores {
    /// Which test images are anomalous, `[T]`.
    pub anomalous: Vec<bool>,
    /// The test images' indices in the data set, `[T]`.
    pub images: Vec<u32>,
    /// Mean contextual error of the validation images by epoch; none if no images were held out.
    pub validation_con: Option<Vec<f64>>,
    scores: HashMap<String, Vec<Vec<f64>>>,
}

impl EpochScores {
    /// The scores of a run that kept them, in single precision.
    pub fn of_run(config: &RunConfig, outcome: &Outcome) -> Self {
        let split = &outcome.data.split;
        let mut scores = HashMap::new();
        for (at, mode) in config.modes().into_iter().enumerate() {
            for kind in config.kinds(mode) {
                let stored = |score: &f64| f64::from(*score as f32);
                let epochs = outcome.epoch_scores.iter();
                let rows = epochs.map(|m| m[at].1.of(kind).iter().map(stored).collect());
                scores.insert(name(mode, kind), rows.collect());
            }
        }
        Self {
            anomalous: split.test_is_anomaly.clone(),
            images: split.test.clone(),
            validation_con: outcome.epochs.iter().map(|e| e.validation_con).collect(),
            scores,
        }
    }

    /// The file's bytes.
    pub fn to_bytes(&self, config: &RunConfig) -> Result<Vec<u8>> {
        let mut tensors = Vec::new();
        for mode in config.modes() {
            for kind in config.kinds(mode) {
                let rows = self.of(mode, kind)?;
                let numbers: Vec<f32> = rows.iter().flatten().map(|&score| score as f32).collect();
                let shape = (rows.len(), self.images.len());
                tensors.push((name(mode, kind), Tensor::from_vec(numbers, shape, &Device::Cpu)?));
            }
        }
        let anomalous: Vec<u8> = self.anomalous.iter().map(|&a| u8::from(a)).collect();
        tensors.push(("anomalous".into(), vector(anomalous)?));
        tensors.push(("picture".into(), vector(self.images.clone())?));
        if let Some(validation) = &self.validation_con {
            tensors.push(("validation_con".into(), vector(validation.clone())?));
        }
        let metadata = HashMap::from([("config".to_string(), config.to_toml()?)]);
        Ok(weights::to_safetensors(&tensors, Some(metadata))?)
    }

    /// Reads the file in a run's folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(EPOCH_SCORES);
        ensure!(
            path.is_file(),
            "{}: not there; runs with keep_scores = \"every-epoch\" have it",
            path.display()
        );
        let what = || format!("{}", path.display());
        checksums::read(folder, EPOCH_SCORES)?;
        let mut all: HashMap<String, Tensor> =
            weights::read_safetensors(&path).with_context(what)?.into_iter().collect();
        let anomalous = all.remove("anomalous").context("no tensor \"anomalous\"");
        let anomalous = anomalous.and_then(|t| Ok(t.to_vec1::<u8>()?)).with_context(what)?;
        let images = all.remove("picture").context("no tensor \"picture\"");
        let images = images.and_then(|t| Ok(t.to_vec1::<u32>()?)).with_context(what)?;
        ensure!(
            images.len() == anomalous.len(),
            "{}: {} numbers of images for {} images",
            what(),
            images.len(),
            anomalous.len()
        );
        let validation = all.remove("validation_con").map(|t| t.to_vec1::<f64>()).transpose();
        let validation_con = validation.with_context(what)?;
        let mut scores = HashMap::new();
        for (name, tensor) in all {
            let of = || format!("{}: tensor {name:?}", path.display());
            let rows = tensor.to_vec2::<f32>().with_context(of)?;
            let fits = |row: &Vec<f32>| row.len() == anomalous.len();
            let epochs_fit = validation_con.as_ref().is_none_or(|v| v.len() == rows.len());
            ensure!(
                !rows.is_empty() && rows.iter().all(fits) && epochs_fit,
                "{}: shape {:?} for {} images",
                of(),
                tensor.dims(),
                anomalous.len()
            );
            let wide = |row: Vec<f32>| row.into_iter().map(f64::from).collect();
            scores.insert(name.clone(), rows.into_iter().map(wide).collect());
        }
        let anomalous = anomalous.iter().map(|&a| a != 0).collect();
        Ok(Self { anomalous, images, validation_con, scores })
    }

    /// Scores by epoch and test image, `[E][T]`.
    pub fn of(&self, mode: ScoringMode, kind: &str) -> Result<&[Vec<f64>]> {
        let name = name(mode, kind);
        let scores = self.scores.get(&name);
        Ok(scores.with_context(|| format!("{EPOCH_SCORES}: no scores {name:?}"))?)
    }
}
