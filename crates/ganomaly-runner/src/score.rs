//! Scoring pictures from files with a trained detector.

use crate::checksums;
use crate::config::RunConfig;
use crate::{data, registry};
use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use ganomaly_data::Transform;
use ganomaly_model::{BatchNormMode, Detector, weights};
use std::path::Path;

/// Largest side of a picture that is decoded.
const MAX_SIDE: u32 = 16_384;
/// Most memory that decoding one picture may take, in bytes.
const MAX_ALLOC: u64 = 512 << 20;

/// A detector with the way of pictures into it.
pub struct Scorer {
    detector: Box<dyn Detector>,
    transform: Transform,
    channels: usize,
}

/// One picture's scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PictureScore {
    /// Mean squared latent difference.
    pub l2: f64,
    /// Mean absolute latent difference.
    pub l1: f64,
    /// Contextual error.
    pub con: f64,
}

impl Scorer {
    /// Loads a run's folder, or its `weights.safetensors`, which carries the run's config.
    pub fn load(model: &Path) -> Result<Self> {
        let path =
            if model.is_dir() { model.join("weights.safetensors") } else { model.to_path_buf() };
        if model.is_dir() {
            checksums::read(model, "weights.safetensors")?;
        }
        let config = read_config(&path)?;
        let channels = registry::dataset(&config.dataset)?.image_shape()[0];
        let mut detector = registry::detector(&config, channels)?;
        detector
            .load_state(&weights::read_safetensors(&path)?)
            .with_context(|| format!("{}", path.display()))?;
        Ok(Self { detector, transform: data::transform(&config)?, channels })
    }

    /// Scores one picture file with running statistics: the score depends on nothing but the picture.
    pub fn score(&self, path: &Path) -> Result<PictureScore> {
        let (pixels, shape) = decode(path, self.channels)?;
        let size = self.transform.image_size;
        let mut numbers = vec![0.0; self.channels * size * size];
        self.transform
            .apply(&pixels, shape, &mut numbers)
            .with_context(|| format!("{}", path.display()))?;
        let x = Tensor::from_vec(numbers, (1, self.channels, size, size), &Device::Cpu)?;
        let scores = self.detector.score(&x, BatchNormMode::Running)?;
        let first = |list: &[f64]| list.first().copied().context("the detector gave no score");
        Ok(PictureScore {
            l2: first(&scores.l2)?,
            l1: first(&scores.l1)?,
            con: first(&scores.con)?,
        })
    }
}

fn read_config(path: &Path) -> Result<RunConfig> {
    let file = std::fs::read(path)
        .with_context(|| format!("{}: cannot read the weights", path.display()))?;
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&file)
        .map_err(|e| anyhow::anyhow!("{}: not a safetensors file: {e}", path.display()))?;
    let config = metadata.metadata().as_ref().and_then(|m| m.get("config")).with_context(|| {
        format!("{}: these weights carry no config; use those of a run's folder", path.display())
    })?;
    RunConfig::from_toml(config).with_context(|| format!("{}: its config", path.display()))
}

/// A picture file as bytes `[C, H, W]` with their shape: grey for one channel, RGB for three.
fn decode(path: &Path, channels: usize) -> Result<(Vec<u8>, [usize; 3])> {
    let what = || format!("{}: cannot read the picture", path.display());
    let mut reader = image::ImageReader::open(path)
        .with_context(what)?
        .with_guessed_format()
        .with_context(what)?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let picture = reader.decode().with_context(what)?;
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    if w == 0 || h == 0 {
        bail!("{}: the picture is empty", path.display());
    }
    match channels {
        1 => Ok((picture.into_luma8().into_raw(), [1, h, w])),
        3 => {
            let rgb = picture.into_rgb8().into_raw();
            let planes = (0..3).flat_map(|c| rgb.iter().skip(c).step_by(3).copied());
            Ok((planes.collect(), [3, h, w]))
        }
        n => bail!("pictures of {n} channels cannot be read from files"),
    }
}
