//! Images with their reconstructions.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::run_data::{DataStore, RunData};
use ganomaly_model::{BatchNormMode, weights};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use std::io::Cursor;
use std::path::Path;

/// An image and its reconstruction, `[C, S, S]` in [0, 1].
#[derive(Clone, Debug)]
pub struct Sample {
    /// The input.
    pub input: Vec<f32>,
    /// The network's output.
    pub reconstruction: Vec<f32>,
    /// Width and height.
    pub size: usize,
}

const COLUMNS: usize = 8;
const BORDER: u32 = 2;
const GAP: u32 = 4;
/// Okabe and Ito's blue and vermilion.
const NORMAL: Rgb<u8> = Rgb([0, 114, 178]);
const ANOMALOUS: Rgb<u8> = Rgb([213, 94, 0]);

impl Sample {
    /// Reconstructs a run's images, given by their indices in the data set, with its weights.
    pub fn of(
        weights: &Path,
        config: &RunConfig,
        store: &DataStore,
        data: &RunData,
        indices: &[u32],
    ) -> Result<Vec<Self>> {
        if indices.is_empty() {
            return Ok(Vec::new());
        }
        let mut detector = config.new_detector(store.registry())?;
        detector.load_state(&weights::read_safetensors(weights)?)?;
        let (channels, size) = (data.images.shape()[0], config.isize);
        let each = channels * size * size;
        let mut numbers = vec![0.0; indices.len() * each];
        for (out, &index) in numbers.chunks_exact_mut(each).zip(indices) {
            data.images.prepared(index as usize, &data.transform, out)?;
        }
        let x = Tensor::from_slice(&numbers, (indices.len(), channels, size, size), &Device::Cpu)?;
        let made = detector.reconstruct(&x, BatchNormMode::Running)?;
        let made = made.flatten_all()?.to_vec1::<f32>()?;
        let normalization = &data.transform.normalization;
        let in_units = |values: &[f32]| -> Vec<f32> {
            let of = |(i, v): (usize, &f32)| {
                let c = i / (size * size);
                (v * normalization.std[c] + normalization.mean[c]).clamp(0.0, 1.0)
            };
            values.iter().enumerate().map(of).collect()
        };
        let pairs = numbers.chunks_exact(each).zip(made.chunks_exact(each));
        let sample =
            |(input, made)| Self { input: in_units(input), reconstruction: in_units(made), size };
        Ok(pairs.map(sample).collect())
    }

    /// Draws the input, the reconstruction and their absolute difference, from top to bottom, each
    /// with `border` around it and `gap` below it.
    fn draw(
        &self,
        image: &mut RgbImage,
        (left, top): (u32, u32),
        scale: u32,
        border: u32,
        gap: u32,
    ) {
        let plane = self.size * self.size;
        let side = self.size as u32 * scale;
        for (row, at) in (0..3 * plane).map(|i| (i / plane, i % plane)) {
            let value = |channel: usize| {
                let at = (channel * plane + at) % self.input.len();
                let (input, made) = (self.input[at], self.reconstruction[at]);
                [input, made, (input - made).abs()][row]
            };
            let pixel = Rgb([0, 1, 2].map(|c| (value(c) * 255.0).round() as u8));
            let (x, y) = ((at % self.size) as u32 * scale, (at / self.size) as u32 * scale);
            let top = top + row as u32 * (side + 2 * border + gap);
            for (dy, dx) in (0..scale * scale).map(|i| (i / scale, i % scale)) {
                image.put_pixel(left + border + x + dx, top + border + y + dy, pixel);
            }
        }
    }

    /// A PNG of these three.
    pub fn png(&self) -> Result<Vec<u8>> {
        let side = self.size as u32;
        let mut image = RgbImage::from_pixel(side, 3 * side + 2, Rgb([128; 3]));
        self.draw(&mut image, (0, 0), 1, 0, 1);
        let image = DynamicImage::from(image);
        // Greyscale images need a third of the bytes.
        let grey = self.input.len() == self.size * self.size;
        png(&if grey { image.to_luma8().into() } else { image })
    }
}

fn png(image: &DynamicImage) -> Result<Vec<u8>> {
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png).context("the images cannot be written as PNG")?;
    Ok(png.into_inner())
}

/// A PNG of bands of eight samples; normal ones have a blue border, anomalous ones an orange one.
pub fn grid(samples: &[Sample], anomalous: &[bool]) -> Result<Vec<u8>> {
    let size = samples.first().map_or(0, |sample| sample.size as u32);
    let scale = if size <= 32 { 3 } else { 2 };
    let cell = size * scale + 2 * BORDER;
    let columns = samples.len().clamp(1, COLUMNS);
    let bands = samples.len().div_ceil(COLUMNS).max(1) as u32;
    let band = 3 * cell + 2 * GAP;
    let width = columns as u32 * (cell + GAP) + GAP;
    let height = bands * (band + 3 * GAP) + GAP;
    let mut image = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    for (index, (sample, &anomalous)) in samples.iter().zip(anomalous).enumerate() {
        let left = GAP + (index % COLUMNS) as u32 * (cell + GAP);
        let top = GAP + (index / COLUMNS) as u32 * (band + 3 * GAP);
        let colour = if anomalous { ANOMALOUS } else { NORMAL };
        for (x, y) in (0..cell * band).map(|p| (p % cell, p / cell)) {
            if y % (cell + GAP) < cell {
                image.put_pixel(left + x, top + y, colour);
            }
        }
        sample.draw(&mut image, (left, top), scale, BORDER, GAP);
    }
    png(&image.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_shows_input_reconstruction_and_difference() {
        let sample = Sample { input: vec![1.0; 256], reconstruction: vec![0.0; 256], size: 16 };
        let png = grid(&[sample.clone(), sample.clone()], &[false, true]).unwrap();
        let image = image::load_from_memory(&png).unwrap().into_rgb8();
        let (cell, middle) = (16 * 3 + 4, 4 + 26);
        for (row, expected) in [(0, 255), (1, 0), (2, 255)] {
            assert_eq!(image.get_pixel(middle, middle + row * (cell + 4))[0], expected);
        }
        assert_eq!(image.get_pixel(4, 4), &NORMAL);
        assert_eq!(image.get_pixel(4 + cell + 4, 4), &ANOMALOUS);
        let strip = image::load_from_memory(&sample.png().unwrap()).unwrap();
        assert_eq!((strip.width(), strip.height(), strip.color().channel_count()), (16, 50, 1));
    }
}
