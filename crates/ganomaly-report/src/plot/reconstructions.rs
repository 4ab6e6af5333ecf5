//! Images with their reconstructions.

use anyhow::{Context, Result};
use image::{ImageFormat, Rgb, RgbImage};
use std::io::Cursor;

/// An image and its reconstruction, `[C, S, S]` in normalised units.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The input.
    pub input: &'a [f32],
    /// The network's output.
    pub reconstruction: &'a [f32],
    /// Drawn with a border in another colour.
    pub anomalous: bool,
}

const COLUMNS: usize = 8;
const BORDER: u32 = 2;
const GAP: u32 = 4;
/// Okabe and Ito's blue and vermilion.
const NORMAL: Rgb<u8> = Rgb([0, 114, 178]);
const ANOMALOUS: Rgb<u8> = Rgb([213, 94, 0]);

/// A PNG: eight samples per band, each with its input, reconstruction and absolute difference from
/// top to bottom; normal ones have a blue border, anomalous ones an orange one. `mean` and `std`
/// undo the normalisation.
pub fn grid(
    samples: &[Sample<'_>],
    channels: usize,
    size: usize,
    mean: &[f32],
    std: &[f32],
) -> Result<Vec<u8>> {
    let scale = if size <= 32 { 3 } else { 2 };
    let cell = size as u32 * scale + 2 * BORDER;
    let columns = samples.len().clamp(1, COLUMNS);
    let bands = samples.len().div_ceil(COLUMNS).max(1) as u32;
    let band = 3 * cell + 2 * GAP;
    let width = columns as u32 * (cell + GAP) + GAP;
    let height = bands * (band + 3 * GAP) + GAP;
    let mut image = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    for (index, sample) in samples.iter().enumerate() {
        let left = GAP + (index % COLUMNS) as u32 * (cell + GAP);
        let top = GAP + (index / COLUMNS) as u32 * (band + 3 * GAP);
        let border = if sample.anomalous { ANOMALOUS } else { NORMAL };
        let grey = |values: &[f32], c: usize, i: usize| {
            let c = c.min(channels - 1);
            values.get(c * size * size + i).map_or(0.0, |v| v * std[c] + mean[c])
        };
        for row in 0..3 {
            let value = |c: usize, i: usize| match row {
                0 => grey(sample.input, c, i),
                1 => grey(sample.reconstruction, c, i),
                _ => (grey(sample.input, c, i) - grey(sample.reconstruction, c, i)).abs(),
            };
            let top = top + row * (cell + GAP);
            for (y, x) in (0..cell * cell).map(|p| (p / cell, p % cell)) {
                let inside = |v: u32| (BORDER..cell - BORDER).contains(&v);
                let pixel = if inside(x) && inside(y) {
                    let i =
                        ((y - BORDER) / scale) as usize * size + ((x - BORDER) / scale) as usize;
                    Rgb([0, 1, 2].map(|c| (value(c, i).clamp(0.0, 1.0) * 255.0).round() as u8))
                } else {
                    border
                };
                image.put_pixel(left + x, top + y, pixel);
            }
        }
    }
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png).context("the pictures cannot be written as PNG")?;
    Ok(png.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_shows_input_reconstruction_and_difference() {
        let (input, reconstruction) = ([1.0; 256], [-1.0; 256]);
        let sample =
            |anomalous| Sample { input: &input, reconstruction: &reconstruction, anomalous };
        let png = grid(&[sample(false), sample(true)], 1, 16, &[0.5], &[0.5]).unwrap();
        let image = image::load_from_memory(&png).unwrap().into_rgb8();
        let (cell, middle) = (16 * 3 + 4, 4 + 26);
        for (row, expected) in [(0, 255), (1, 0), (2, 255)] {
            assert_eq!(image.get_pixel(middle, middle + row * (cell + 4))[0], expected);
        }
        assert_eq!(image.get_pixel(4, 4), &NORMAL);
        assert_eq!(image.get_pixel(4 + cell + 4, 4), &ANOMALOUS);
    }
}
