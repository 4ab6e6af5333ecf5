//! A model in one file: weights as safetensors, with all that scoring needs in the metadata.

use anyhow::{Context, Result, ensure};
use ganomaly_data::{Normalization, Resize, Transform, shown};
use ganomaly_experiment::config::{Name, RunConfig};
use ganomaly_experiment::files::write_whole;
use ganomaly_experiment::registry::Registry;
use ganomaly_experiment::run_data::transform;
use ganomaly_metrics::{Localisation, Threshold};
use ganomaly_model::tiles::Tiles;
use ganomaly_model::{Detector, Input, NamedTensors, weights};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;
use toml::Table;

/// The metadata's key.
const KEY: &str = "model";
/// The version of the format that is written. Version 1 had neither `resize` nor what follows
/// `settings`.
const FORMAT: u32 = 2;

/// What a model is, apart from its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Version of the format.
    format: u32,
    /// Where the model comes from, in words.
    pub origin: String,
    /// The detector, by its name in the registry.
    pub detector: String,
    /// Channels of the images: 1 or 3.
    pub channels: usize,
    /// Side of the images.
    pub isize: usize,
    /// Side of the tiles that the network sees; none if it sees whole images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tile: Option<usize>,
    /// Their distance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// How images that are not square become so.
    #[serde(default)]
    pub resize: Name<Resize>,
    /// Subtracted from each channel, scaled to [0, 1].
    pub mean: Vec<f32>,
    /// Divides each channel after that.
    pub std: Vec<f32>,
    /// Seed of what a detector draws while scoring.
    pub seed: u64,
    /// The detector's settings.
    pub settings: Table,
    /// What it was trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainedOn>,
    /// How a score becomes a verdict; none of an imported model or of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibrated>,
}

/// What a model was trained on, and by what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainedOn {
    /// The layout of the folder, in words.
    pub folder: String,
    /// Number of images that trained.
    pub images: usize,
    /// SHA-256 of all images and labels, and of which were used for what.
    pub data_sha256: String,
    /// The run's whole config, as TOML.
    pub config: String,
    /// The program's version.
    pub version: String,
    /// The commit that it was built from, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The generation of the numerics.
    pub numerics: u32,
}

/// How a score becomes a verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibrated {
    /// The score that counts.
    pub score: String,
    /// Its threshold, and what that promises.
    pub threshold: Threshold,
    /// Its values on the held-out normal images, rising.
    pub normal_scores: Vec<f64>,
    /// The highest error in a heat map of these images.
    pub highest_error: f32,
    /// How it did on images that had no part in it; none if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested: Option<Tested>,
}

/// How a model did on images that neither trained nor calibrated it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tested {
    /// Number of normal images.
    pub normal: usize,
    /// How many of them were called anomalous.
    pub false_alarms: usize,
    /// The best F1 over all thresholds: with the answers in hand, so an upper bound.
    pub best_f1: f64,
    /// All anomalous images against the normal ones.
    pub all: TestedClass,
    /// The images of each anomalous class against the normal ones.
    pub classes: Vec<TestedClass>,
}

/// How a model did on some anomalous images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestedClass {
    /// Their class, or `all`.
    pub class: String,
    /// Number of images.
    pub images: usize,
    /// How many of them were called anomalous.
    pub detected: usize,
    /// The score's AUROC.
    pub auroc: f64,
    /// Its 95 % interval over test images.
    pub auroc_interval: [f64; 2],
    /// How well heat maps find the defects; none without masks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<Localisation>,
}

impl ModelFile {
    /// A model of a detector with these settings.
    pub fn new(
        origin: String,
        detector: &str,
        input: Input,
        Transform { normalization: Normalization { mean, std }, resize, .. }: Transform,
        seed: u64,
        settings: Table,
    ) -> Self {
        Self {
            format: FORMAT,
            origin,
            detector: detector.into(),
            channels: input.channels,
            isize: input.side,
            tile: None,
            stride: None,
            resize: Name(resize),
            mean,
            std,
            seed,
            settings,
            training: None,
            calibration: None,
        }
    }

    /// Of a run's weights.
    pub fn of_run(config: &RunConfig, registry: &Registry) -> Result<Self> {
        let (transform, settings) = (transform(config, registry)?, config.settings.clone());
        let (input, seed, origin) = (config.input(), config.seed(), config.run_name()?);
        let model = Self::new(origin, &config.detector, input, transform, seed, settings);
        Ok(Self { tile: config.tile, stride: config.stride, ..model })
    }

    /// Reads a model file or a run's `weights.safetensors`, within the environment's limits.
    pub fn read(path: &Path, registry: &Registry) -> Result<(Self, NamedTensors)> {
        let limits = weights::ReadLimits::from_env()?;
        let (tensors, metadata) = weights::read_safetensors_within(path, &limits)?;
        let model = match (metadata.get(KEY), metadata.get("config")) {
            (Some(text), _) => {
                Self::parse(text).with_context(|| format!("{}: its model", shown(path)))?
            }
            (None, Some(text)) => RunConfig::from_toml(text, registry)
                .and_then(|config| Self::of_run(&config, registry))
                .with_context(|| format!("{}: its config", shown(path)))?,
            (None, None) => anyhow::bail!(
                "{}: these weights carry no config; use those of a run's folder, or a file that `ganomaly fit` or `ganomaly import` made",
                shown(path)
            ),
        };
        Ok((model, tensors))
    }

    fn parse(text: &str) -> Result<Self> {
        let format = text.parse::<Table>()?.get("format").and_then(toml::Value::as_integer);
        ensure!(
            format.is_some_and(|format| (1..=FORMAT.into()).contains(&format)),
            "its format is {}; this program reads 1 to {FORMAT}",
            format.map_or("not stated".into(), |format| format.to_string())
        );
        Ok(toml::from_str(text)?)
    }

    /// Writes it with its weights; the file is never seen half-written.
    pub fn write(&self, path: &Path, weights: &NamedTensors) -> Result<()> {
        let metadata = HashMap::from([(KEY.to_string(), self.to_toml()?)]);
        write_whole(path, weights::to_safetensors(weights, Some(metadata))?)
    }

    /// All of it but the weights, as in the file's metadata.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("the model cannot be written as TOML")
    }

    /// The images that it takes.
    pub fn input(&self) -> Input {
        Input { channels: self.channels, side: self.isize }
    }

    /// The tiles of them that its network sees; none if it sees them whole.
    pub fn tiles(&self) -> Result<Option<Tiles>> {
        let tiles = self.tile.zip(self.stride).map(|(tile, stride)| Tiles { tile, stride });
        ensure!(
            tiles.is_none_or(|tiles| tiles.fit(self.isize)),
            "its tiles {tiles:?} do not fit images of side {}",
            self.isize
        );
        Ok(tiles)
    }

    /// Side of what its network sees.
    pub fn sees(&self) -> usize {
        self.tile.unwrap_or(self.isize)
    }

    /// How images are prepared for it.
    pub fn transform(&self) -> Result<Transform> {
        let normalization = Normalization { mean: self.mean.clone(), std: self.std.clone() };
        let transform = Transform { image_size: self.isize, resize: self.resize.0, normalization };
        transform.check(self.channels)?;
        Ok(transform)
    }

    /// The detector with its weights. Settings that do not fit the weights are refused before a
    /// network of their size is built.
    pub fn detector(
        &self,
        weights: &NamedTensors,
        registry: &Registry,
    ) -> Result<Box<dyn Detector>> {
        let kind = registry.find_detector(&self.detector)?;
        let tiles = self.tiles()?;
        let seen = Input { side: self.sees(), ..self.input() };
        (kind.check)(&self.settings, seen)?;
        let least = (kind.least_weights)(&self.settings, seen)?;
        let numbers: usize = weights.iter().map(|(_, t)| t.elem_count()).sum();
        ensure!(
            numbers as u64 >= least,
            "its config is of a network of more than {least} weights, and it holds {numbers}"
        );
        let mut detector = kind.detector(&self.settings, self.input(), tiles, self.seed)?;
        detector.load_state(weights)?;
        Ok(detector)
    }
}
