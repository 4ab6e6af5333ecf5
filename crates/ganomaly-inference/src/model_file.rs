//! A model in one file: weights as safetensors, with all that scoring needs in the metadata.

use anyhow::{Context, Result, ensure};
use ganomaly_data::{Normalization, Resize, Transform, shown};
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::files::write_whole;
use ganomaly_experiment::registry::Registry;
use ganomaly_experiment::run_data::transform;
use ganomaly_model::{Detector, Input, NamedTensors, weights};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;
use toml::Table;

/// The metadata's key.
const KEY: &str = "model";
/// The version of the format that is written, and the only one that is read.
const FORMAT: u32 = 1;

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
    /// Side of the network's images.
    pub isize: usize,
    /// Subtracted from each channel, scaled to [0, 1].
    pub mean: Vec<f32>,
    /// Divides each channel after that.
    pub std: Vec<f32>,
    /// Seed of what a detector draws while scoring.
    pub seed: u64,
    /// The detector's settings.
    pub settings: Table,
}

impl ModelFile {
    /// A model of a detector with these settings.
    pub fn new(
        origin: String,
        detector: &str,
        input: Input,
        Normalization { mean, std }: Normalization,
        seed: u64,
        settings: Table,
    ) -> Self {
        let (channels, isize) = (input.channels, input.side);
        Self {
            format: FORMAT,
            origin,
            detector: detector.into(),
            channels,
            isize,
            mean,
            std,
            seed,
            settings,
        }
    }

    /// Of a run's weights.
    fn of_run(config: RunConfig, registry: &Registry) -> Result<Self> {
        let normalization = transform(&config, registry)?.normalization;
        let (input, seed, origin) = (config.input(), config.seed(), config.run_name()?);
        Ok(Self::new(origin, &config.detector, input, normalization, seed, config.settings))
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
                .and_then(|config| Self::of_run(config, registry))
                .with_context(|| format!("{}: its config", shown(path)))?,
            (None, None) => anyhow::bail!(
                "{}: these weights carry no config; use those of a run's folder, or a file that `ganomaly import` made",
                shown(path)
            ),
        };
        Ok((model, tensors))
    }

    fn parse(text: &str) -> Result<Self> {
        let format = text.parse::<Table>()?.get("format").and_then(toml::Value::as_integer);
        ensure!(
            format == Some(FORMAT.into()),
            "its format is {}; this program reads {FORMAT}",
            format.map_or("not stated".into(), |format| format.to_string())
        );
        Ok(toml::from_str(text)?)
    }

    /// Writes it with its weights; the file is never seen half-written.
    pub fn write(&self, path: &Path, weights: &NamedTensors) -> Result<()> {
        let text = toml::to_string(self).context("the model cannot be written as TOML")?;
        let metadata = HashMap::from([(KEY.to_string(), text)]);
        write_whole(path, weights::to_safetensors(weights, Some(metadata))?)
    }

    /// The images that its network takes.
    pub fn input(&self) -> Input {
        Input { channels: self.channels, side: self.isize }
    }

    /// How images are prepared for it.
    pub fn transform(&self) -> Result<Transform> {
        let normalization = Normalization { mean: self.mean.clone(), std: self.std.clone() };
        let transform = Transform { image_size: self.isize, resize: Resize::Crop, normalization };
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
        (kind.check)(&self.settings, self.input())?;
        let least = (kind.least_weights)(&self.settings, self.input())?;
        let numbers: usize = weights.iter().map(|(_, t)| t.elem_count()).sum();
        ensure!(
            numbers as u64 >= least,
            "its config is of a network of more than {least} weights, and it holds {numbers}"
        );
        let mut detector = (kind.build)(&self.settings, self.input(), self.seed)?;
        detector.load_state(weights)?;
        Ok(detector)
    }
}
