//! Scores images from files with a trained detector.

use crate::heat_map::{HeatMap, MAP_MAX, PixelError};
use crate::images::{Images, Prepared};
use crate::model_file::ModelFile;
use crate::onnx::Export;
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use ganomaly_data::shown;
use ganomaly_experiment::plan::finished_in;
use ganomaly_experiment::record::{WEIGHTS, checksums, is_run};
use ganomaly_experiment::registry::Registry;
use ganomaly_metrics::Calibration;
use ganomaly_model::{BatchNormMode, Detector};
use image::RgbImage;
use rayon::prelude::*;
use std::path::Path;

/// A detector with the transform of its input images.
pub struct Scorer {
    model: ModelFile,
    detector: Box<dyn Detector>,
    images: Images,
    /// The detector's scores, then [`MAP_MAX`] if that is the one that counts.
    names: Vec<&'static str>,
    /// The score that counts, by its position; its threshold; the scores of normal images.
    verdict: Option<(usize, f64, Calibration)>,
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
            let images = Images::of(&model)?;
            Ok(Self { model, detector, images, names, verdict })
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

    /// How images are read for it, and shown.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// Reads image files, several at once, in their order.
    pub fn prepare<P: AsRef<Path> + Sync>(&self, paths: &[P]) -> Vec<Result<Prepared>> {
        let images = &self.images;
        paths.par_iter().map(|path| images.read(path.as_ref())).collect()
    }

    /// All scores of one image, by running statistics: they depend on that image alone.
    pub fn score(&self, image: &Prepared) -> Result<Vec<f64>> {
        self.score_all(&[image])?.pop().context("no image")
    }

    /// All scores of each image, in one pass through the network: other images change an image's
    /// scores by rounding alone.
    pub fn score_all(&self, images: &[&Prepared]) -> Result<Vec<Vec<f64>>> {
        let x: Vec<&Tensor> = images.iter().map(|image| &image.x).collect();
        let scores = self.detector.score(&Tensor::cat(&x, 0)?, BatchNormMode::Running)?;
        if self.names.contains(&MAP_MAX) {
            self.map_all(images)?;
        }
        let of = |at: usize, image: &Prepared| -> Result<Vec<f64>> {
            let mut all = Vec::new();
            for name in &self.names {
                all.push(match *name {
                    MAP_MAX => f64::from(self.map(image)?.highest()),
                    name => *scores.of(name).get(at).context("the detector gave no score")?,
                });
            }
            ensure!(
                all.iter().all(|score| score.is_finite()),
                "its score is infinite or not a number; the detector's weights are of no use"
            );
            Ok(all)
        };
        images.iter().enumerate().map(|(at, image)| of(at, image)).collect()
    }

    /// Computes the heat maps of images that have none yet, in one pass through the network.
    pub fn map_all(&self, images: &[&Prepared]) -> Result<()> {
        let missing: Vec<&&Prepared> = images.iter().filter(|i| i.map.get().is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let x: Vec<&Tensor> = missing.iter().map(|image| &image.x).collect();
        let maps = self.new_maps(&Tensor::cat(&x, 0)?, PixelError::Absolute)?;
        for (image, map) in missing.iter().zip(maps) {
            image.map.get_or_init(|| map);
        }
        Ok(())
    }

    fn map<'a>(&self, image: &'a Prepared) -> Result<&'a HeatMap> {
        self.map_all(&[image])?;
        image.map.get().context("no heat map")
    }

    fn new_maps(&self, x: &Tensor, error: PixelError) -> Result<Vec<HeatMap>> {
        HeatMap::of(&*self.detector, x, &self.images.transform, self.model.sees(), error)
    }

    /// What the detector makes of an image, at the size that it sees.
    pub fn reconstruction(&self, image: &Prepared) -> Result<RgbImage> {
        self.images.of_tensor(&self.detector.reconstruct(&image.x, BatchNormMode::Running)?)
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
        match error {
            PixelError::Absolute => self.images.over(image, self.map(image)?, error),
            PixelError::Squared => {
                let map = self.new_maps(&image.x, error)?.pop().context("no image")?;
                self.images.over(image, &map, error)
            }
        }
    }
}
