//! How a model's images are read, and shown with what it found in them. No network is needed.

use crate::heat_map::{HeatMap, PixelError};
use crate::model_file::ModelFile;
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use ganomaly_data::{Limits, Transform, image_from_bytes, read_image, shown};
use image::{Rgb, RgbImage};
use std::path::Path;
use std::sync::OnceLock;

/// How a model takes images.
#[derive(Clone, Debug)]
pub struct Images {
    channels: usize,
    pub(crate) transform: Transform,
    /// Limits on reading; images beyond them are errors.
    pub limits: Limits,
    /// The highest error in the calibration's normal images; none without a calibration.
    highest_error: Option<f32>,
}

/// An image as it was read, and as the network takes it.
pub struct Prepared {
    pixels: Vec<u8>,
    shape: [usize; 3],
    pub(crate) x: Tensor,
    /// Computed once, if it is asked for.
    pub(crate) map: OnceLock<HeatMap>,
}

impl Prepared {
    /// The image, at its own size.
    pub fn picture(&self) -> RgbImage {
        let [_, h, w] = self.shape;
        rgb(h, w, &self.pixels)
    }
}

impl Images {
    /// Of a model, within the environment's limits.
    pub fn of(model: &ModelFile) -> Result<Self> {
        Ok(Self {
            channels: model.channels,
            transform: model.transform()?,
            limits: Limits::from_env()?,
            highest_error: model.calibration.as_ref().map(|calibrated| calibrated.highest_error),
        })
    }

    /// Reads an image file.
    pub fn read(&self, path: &Path) -> Result<Prepared> {
        self.prepare(path, read_image(path, self.channels, &self.limits)?)
    }

    /// Reads the bytes of an image file; errors give it this name.
    pub fn from_bytes(&self, name: &str, bytes: &[u8]) -> Result<Prepared> {
        let name = Path::new(name);
        self.prepare(name, image_from_bytes(name, bytes, self.channels, &self.limits)?)
    }

    fn prepare(&self, path: &Path, (pixels, shape): (Vec<u8>, [usize; 3])) -> Result<Prepared> {
        let (channels, size) = (self.channels, self.transform.image_size);
        let mut numbers = vec![0.0; channels * size * size];
        self.transform.apply(&pixels, shape, &mut numbers).with_context(|| shown(path))?;
        let x = Tensor::from_vec(numbers, (1, channels, size, size), &Device::Cpu)?;
        Ok(Prepared { pixels, shape, x, map: OnceLock::new() })
    }

    /// An image with its heat map over it, at its own size; none if no heat map was computed.
    pub fn heat_map(&self, image: &Prepared) -> Result<Option<RgbImage>> {
        image.map.get().map(|map| self.over(image, map, PixelError::Absolute)).transpose()
    }

    pub(crate) fn over(
        &self,
        image: &Prepared,
        map: &HeatMap,
        error: PixelError,
    ) -> Result<RgbImage> {
        let full = match self.highest_error.map(|highest| 2.0 * highest) {
            None => map.highest(),
            Some(full) if error == PixelError::Squared => full * full,
            Some(full) => full,
        };
        let [_, h, w] = image.shape;
        Ok(map.at_size(h, w, self.transform.resize).over(&image.pixels, full.max(1e-6)))
    }

    /// A tensor `[1, C, S, S]` in the network's units as an image.
    pub(crate) fn of_tensor(&self, x: &Tensor) -> Result<RgbImage> {
        let (_, _, h, w) = x.dims4()?;
        let values: Vec<f32> = x.flatten_all()?.to_vec1().context("an image as numbers")?;
        let normalization = &self.transform.normalization;
        let scale = normalization.std.iter().zip(&normalization.mean);
        let planes = values.chunks_exact(h * w).zip(scale);
        let bytes: Vec<u8> = planes
            .flat_map(|(plane, (std, mean))| {
                let byte = move |v: &f32| ((v * std + mean) * 255.0).round().clamp(0.0, 255.0);
                plane.iter().map(move |v| byte(v) as u8)
            })
            .collect();
        Ok(rgb(h, w, &bytes))
    }
}

/// Planes, one after the other, as an image; a single one is grey.
fn rgb(h: usize, w: usize, planes: &[u8]) -> RgbImage {
    let each = h * w;
    RgbImage::from_fn(w as u32, h as u32, |x, y| {
        let at = y as usize * w + x as usize;
        Rgb([0, 1, 2].map(|c| planes[(c * each) % planes.len() + at]))
    })
}
