//! Properties of the images themselves: how busy they are.

use anyhow::Result;
use ganomaly_experiment::run_data::RunData;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;

/// 1 + each image's mean absolute horizontal plus vertical difference, in grey levels.
pub(super) fn gradients(images: &[u32], data: &RunData) -> Result<Vec<f64>> {
    let (shape, side) = (data.images.shape(), data.transform.image_size);
    let levels = data.transform.normalization.std.iter().map(|std| 255.0 * f64::from(*std));
    let levels: Vec<f64> = levels.collect();
    let of = |&image: &u32| -> Result<f64> {
        let mut numbers = vec![0.0; shape[0] * side * side];
        data.images.prepared(image as usize, &data.transform, &mut numbers)?;
        let mut sum = 0.0;
        for (plane, level) in numbers.chunks_exact(side * side).zip(&levels) {
            let step = |a: f32, b: f32| f64::from(b - a).abs() * level;
            let across = plane.chunks_exact(side).flat_map(|row| row.windows(2));
            let across: f64 = across.map(|pair| step(pair[0], pair[1])).sum();
            let down: f64 = plane.iter().zip(&plane[side..]).map(|(&a, &b)| step(a, b)).sum();
            sum += across + down;
        }
        Ok(1.0 + sum / (shape[0] * side * (side - 1)) as f64)
    };
    images.par_iter().map(of).collect()
}

/// Bits per value of each resized image as a PNG file, in grey or, with three channels, colour.
pub(super) fn png_bits(images: &[u32], data: &RunData) -> Result<Vec<f64>> {
    let (shape, side) = (data.images.shape(), data.transform.image_size);
    let of = |&image: &u32| -> Result<f64> {
        let planes = data.images.resized(image as usize, side, data.transform.resize)?;
        let each = side * side;
        // Channels that are no colours are grey, one below the other.
        let (bytes, height, color) = match shape[0] {
            3 => {
                let pixel = |at: usize| [planes[at], planes[each + at], planes[2 * each + at]];
                ((0..each).flat_map(pixel).collect(), side, ExtendedColorType::Rgb8)
            }
            channels => (planes.to_vec(), channels * side, ExtendedColorType::L8),
        };
        let mut file = Vec::new();
        PngEncoder::new_with_quality(&mut file, CompressionType::Best, FilterType::Adaptive)
            .write_image(&bytes, side as u32, height as u32, color)?;
        Ok(8.0 * file.len() as f64 / bytes.len() as f64)
    };
    images.par_iter().map(of).collect()
}
