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

use crate::checksums;
use crate::config::{RunConfig, ScoreKind, ScoringMode};
use crate::evaluate::column;
use crate::train::Outcome;
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use ganomaly_model::weights;
use std::collections::HashMap;
use std::path::Path;

/// The file's name in a run's folder.
pub const FILE: &str = "epoch_scores.safetensors";

/// The file's bytes for a run that kept these scores.
pub fn to_bytes(config: &RunConfig, outcome: &Outcome) -> Result<Vec<u8>> {
    let (epochs, split) = (outcome.epoch_scores.len(), &outcome.data.split);
    let mut tensors = Vec::new();
    for (at, mode) in config.modes().into_iter().enumerate() {
        for kind in config.kinds(mode) {
            let all = outcome.epoch_scores.iter().flat_map(|modes| column(&modes[at].1, kind));
            let numbers: Vec<f32> = all.map(|&score| score as f32).collect();
            let tensor = Tensor::from_vec(numbers, (epochs, split.test.len()), &Device::Cpu)?;
            tensors.push((name(mode, kind), tensor));
        }
    }
    let anomalous: Vec<u8> = split.test_is_anomaly.iter().map(|&a| u8::from(a)).collect();
    tensors.push(("anomalous".into(), vector(anomalous)?));
    tensors.push(("picture".into(), vector(split.test.clone())?));
    let validation: Option<Vec<f64>> = outcome.epochs.iter().map(|e| e.validation_con).collect();
    if let Some(validation) = validation {
        tensors.push(("validation_con".into(), vector(validation)?));
    }
    let metadata = HashMap::from([("config".to_string(), config.to_toml()?)]);
    Ok(weights::to_safetensors(&tensors, Some(metadata))?)
}

fn vector<T: candle_core::WithDType>(numbers: Vec<T>) -> Result<Tensor> {
    let len = numbers.len();
    Ok(Tensor::from_vec(numbers, len, &Device::Cpu)?)
}

fn name(mode: ScoringMode, kind: ScoreKind) -> String {
    format!("{mode}/{kind}")
}

/// The content of the file.
#[derive(Clone, Debug)]
pub struct EpochScores {
    /// Which test images are anomalous, `[T]`.
    pub anomalous: Vec<bool>,
    /// The test images' indices in the data set, `[T]`.
    pub pictures: Vec<u32>,
    /// Mean contextual error of the validation images by epoch; none if no images were held out.
    pub validation_con: Option<Vec<f64>>,
    scores: HashMap<String, Vec<Vec<f64>>>,
}

impl EpochScores {
    /// Reads the file in a run's folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        ensure!(
            path.is_file(),
            "{}: not there; runs with keep_scores = \"every-epoch\" have it",
            path.display()
        );
        let what = || format!("{}", path.display());
        checksums::read(folder, FILE)?;
        let mut all: HashMap<String, Tensor> =
            weights::read_safetensors(&path).with_context(what)?.into_iter().collect();
        let anomalous = all.remove("anomalous").context("no tensor \"anomalous\"");
        let anomalous = anomalous.and_then(|t| Ok(t.to_vec1::<u8>()?)).with_context(what)?;
        let pictures = all.remove("picture").context("no tensor \"picture\"");
        let pictures = pictures.and_then(|t| Ok(t.to_vec1::<u32>()?)).with_context(what)?;
        ensure!(
            pictures.len() == anomalous.len(),
            "{}: {} numbers of pictures for {} pictures",
            what(),
            pictures.len(),
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
                "{}: shape {:?} for {} pictures",
                of(),
                tensor.dims(),
                anomalous.len()
            );
            let wide = |row: Vec<f32>| row.into_iter().map(f64::from).collect();
            scores.insert(name.clone(), rows.into_iter().map(wide).collect());
        }
        let anomalous = anomalous.iter().map(|&a| a != 0).collect();
        Ok(Self { anomalous, pictures, validation_con, scores })
    }

    /// Scores by epoch and test image, `[E][T]`.
    pub fn of(&self, mode: ScoringMode, kind: ScoreKind) -> Result<&[Vec<f64>]> {
        let name = name(mode, kind);
        let scores = self.scores.get(&name);
        Ok(scores.with_context(|| format!("{FILE}: no scores {name:?}"))?)
    }
}
