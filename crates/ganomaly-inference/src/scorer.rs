//! Scores images from files with a trained detector.

use crate::model_file::ModelFile;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use ganomaly_data::{Limits, Transform, read_image, shown};
use ganomaly_experiment::plan::finished_in;
use ganomaly_experiment::record::{WEIGHTS, checksums, is_run};
use ganomaly_experiment::registry::Registry;
use ganomaly_model::{BatchNormMode, Detector};
use std::path::Path;

/// A detector with the transform of its input images.
pub struct Scorer {
    detector: Box<dyn Detector>,
    transform: Transform,
    channels: usize,
    names: &'static [&'static str],
    limits: Limits,
}

impl Scorer {
    /// Loads a run's folder, its `weights.safetensors` (which contains the run's config), or a model
    /// file.
    pub fn load(model: &Path, registry: &Registry) -> Result<Self> {
        let path = if model.is_dir() { model.join(WEIGHTS) } else { model.to_path_buf() };
        if model.is_dir() && !is_run(model) {
            let runs = finished_in(model).unwrap_or_default();
            match runs.first() {
                Some(run) => bail!(
                    "{}: an experiment's folder with {} runs, not a run's; name one of them, such as {}",
                    shown(model),
                    runs.len(),
                    shown(&model.join(run))
                ),
                None => bail!("{}: not a run's folder", shown(model)),
            }
        }
        if model.is_dir() {
            checksums::read(model, WEIGHTS)?;
        }
        let (model, tensors) = ModelFile::read(&path, registry)?;
        let built = || -> Result<Self> {
            let names = registry.find_detector(&model.detector)?.names.scores;
            let detector = model.detector(&tensors, registry)?;
            let (transform, channels) = (model.transform()?, model.channels);
            Ok(Self { detector, transform, channels, names, limits: Limits::from_env()? })
        };
        built().with_context(|| shown(&path))
    }

    /// The names of the scores.
    pub fn names(&self) -> &'static [&'static str] {
        self.names
    }

    /// Scores one image file with running statistics: the scores depend only on the image.
    pub fn score(&self, path: &Path) -> Result<Vec<f64>> {
        let (pixels, shape) = read_image(path, self.channels, &self.limits)?;
        let size = self.transform.image_size;
        let mut numbers = vec![0.0; self.channels * size * size];
        self.transform.apply(&pixels, shape, &mut numbers).with_context(|| shown(path))?;
        let x = Tensor::from_vec(numbers, (1, self.channels, size, size), &Device::Cpu)?;
        let scores = self.detector.score(&x, BatchNormMode::Running)?;
        let first =
            |name: &&str| scores.of(name).first().copied().context("the detector gave no score");
        let all = self.names.iter().map(first).collect::<Result<Vec<f64>>>()?;
        ensure!(
            all.iter().all(|score| score.is_finite()),
            "{}: its score is infinite or not a number; the detector's weights are of no use",
            shown(path)
        );
        Ok(all)
    }
}
