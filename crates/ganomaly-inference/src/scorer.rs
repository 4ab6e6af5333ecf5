//! Scores images from files with a trained detector.

use crate::heat_map::{HeatMap, MAP_MAX, PixelError};
use crate::model_file::ModelFile;
use crate::onnx::Export;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use ganomaly_data::{Limits, Transform, read_image, shown};
use ganomaly_experiment::plan::finished_in;
use ganomaly_experiment::record::{WEIGHTS, checksums, is_run};
use ganomaly_experiment::registry::Registry;
use ganomaly_metrics::Calibration;
use ganomaly_model::{BatchNormMode, Detector};
use image::{Rgb, RgbImage};
use rayon::prelude::*;
use std::path::Path;
use std::sync::OnceLock;

/// A detector with the transform of its input images.
pub struct Scorer {
    model: ModelFile,
    detector: Box<dyn Detector>,
    transform: Transform,
    /// The detector's scores, then [`MAP_MAX`] if that is the one that counts.
    names: Vec<&'static str>,
    limits: Limits,
    /// The score that counts, by its position; its threshold; the scores of normal images.
    verdict: Option<(usize, f64, Calibration)>,
}

/// An image as it was read, and as the network takes it.
pub struct Prepared {
    pixels: Vec<u8>,
    shape: [usize; 3],
    x: Tensor,
    /// Computed once, if it is asked for.
    map: OnceLock<HeatMap>,
}

impl Prepared {
    /// The image, at its own size.
    pub fn picture(&self) -> RgbImage {
        let [channels, h, w] = self.shape;
        RgbImage::from_fn(w as u32, h as u32, |x, y| {
            let at = y as usize * w + x as usize;
            Rgb([0, 1, 2].map(|c| self.pixels[c % channels * h * w + at]))
        })
    }
}

/// What a score means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The share of normal images that score as high, in (0, 1].
    pub p_value: f64,
    /// Whether the score is above the threshold.
    pub anomalous: bool,
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
            let mut names =
                registry.find_detector(&model.detector)?.names(model.tiles()?).scores.to_vec();
            let counts = model.calibration.as_ref().map(|calibrated| calibrated.score.as_str());
            names.extend((counts == Some(MAP_MAX)).then_some(MAP_MAX));
            let detector = model.detector(&tensors, registry)?;
            let verdict = match &model.calibration {
                None => None,
                Some(calibrated) => {
                    let counts = names.iter().position(|name| *name == calibrated.score);
                    let counts = counts.with_context(|| {
                        format!("its threshold is of {}, which is no score", calibrated.score)
                    })?;
                    let normal = Calibration::new(&calibrated.normal_scores)?;
                    Some((counts, calibrated.threshold.value, normal))
                }
            };
            let (transform, limits) = (model.transform()?, Limits::from_env()?);
            Ok(Self { model, detector, transform, names, limits, verdict })
        };
        built().with_context(|| shown(&path))
    }

    /// The model without its weights.
    pub fn model(&self) -> &ModelFile {
        &self.model
    }

    /// The names of the scores.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Replaces the threshold. Fails if the model has none.
    pub fn set_threshold(&mut self, threshold: f64) -> Result<()> {
        let (_, value, _) = self.verdict.as_mut().context(
            "this model is not calibrated, so that it has no score that counts; `ganomaly fit` makes one that is",
        )?;
        *value = threshold;
        Ok(())
    }

    /// Images that score higher are anomalous; none if the model is not calibrated.
    pub fn threshold(&self) -> Option<f64> {
        self.verdict.as_ref().map(|(_, threshold, _)| *threshold)
    }

    /// The score that counts, of all scores of an image; none if the model is not calibrated.
    pub fn counting(&self, scores: &[f64]) -> Option<f64> {
        self.verdict.as_ref().and_then(|(counts, ..)| scores.get(*counts).copied())
    }

    /// Reads image files, several at once, in their order.
    pub fn prepare<P: AsRef<Path> + Sync>(&self, paths: &[P]) -> Vec<Result<Prepared>> {
        let Self { model, transform, limits, .. } = self;
        let (channels, size) = (model.channels, transform.image_size);
        let one = |path: &P| -> Result<Prepared> {
            let path = path.as_ref();
            let (pixels, shape) = read_image(path, channels, limits)?;
            let mut numbers = vec![0.0; channels * size * size];
            transform.apply(&pixels, shape, &mut numbers).with_context(|| shown(path))?;
            let x = Tensor::from_vec(numbers, (1, channels, size, size), &Device::Cpu)?;
            Ok(Prepared { pixels, shape, x, map: OnceLock::new() })
        };
        paths.par_iter().map(one).collect()
    }

    /// All scores of one image, by running statistics: they depend on that image alone.
    pub fn score(&self, image: &Prepared) -> Result<Vec<f64>> {
        let scores = self.detector.score(&image.x, BatchNormMode::Running)?;
        let mut all = Vec::new();
        for name in &self.names {
            all.push(match *name {
                MAP_MAX => f64::from(self.map(image)?.highest()),
                name => *scores.of(name).first().context("the detector gave no score")?,
            });
        }
        ensure!(
            all.iter().all(|score| score.is_finite()),
            "its score is infinite or not a number; the detector's weights are of no use"
        );
        Ok(all)
    }

    fn map<'a>(&self, image: &'a Prepared) -> Result<&'a HeatMap> {
        if let Some(there) = image.map.get() {
            return Ok(there);
        }
        let map = self.new_map(image, PixelError::Absolute)?;
        Ok(image.map.get_or_init(|| map))
    }

    fn new_map(&self, image: &Prepared, error: PixelError) -> Result<HeatMap> {
        let (detector, sees) = (&*self.detector, self.model.sees());
        let maps = HeatMap::of(detector, &image.x, &self.transform, sees, error)?;
        maps.into_iter().next().context("no image")
    }

    /// What an image's scores mean; none if the model is not calibrated.
    pub fn verdict(&self, scores: &[f64]) -> Option<Verdict> {
        let (_, threshold, normal) = self.verdict.as_ref()?;
        let score = self.counting(scores)?;
        Some(Verdict { p_value: normal.p_value(score), anomalous: score > *threshold })
    }

    /// The model as an ONNX file. Fails if its scoring cannot be written as a graph.
    pub fn export(&self, export: Export) -> Result<Vec<u8>> {
        export.write(&self.model, &self.names, &*self.detector)
    }

    /// The image with its heat map over it, at its own size. Full colour is twice the highest error
    /// in the normal images of the calibration, or the square of that; without one, the highest in
    /// this image.
    pub fn heat_map(&self, image: &Prepared, error: PixelError) -> Result<RgbImage> {
        let squared;
        let map = match error {
            PixelError::Absolute => self.map(image)?,
            PixelError::Squared => {
                squared = self.new_map(image, error)?;
                &squared
            }
        };
        let full = match &self.model.calibration {
            None => map.highest(),
            Some(calibrated) => {
                let full = 2.0 * calibrated.highest_error;
                if error == PixelError::Squared { full * full } else { full }
            }
        };
        let [_, h, w] = image.shape;
        Ok(map.at_size(h, w, self.transform.resize).over(&image.pixels, full.max(1e-6)))
    }
}
