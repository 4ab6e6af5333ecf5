//! Where in an image the anomaly is: the error of its reconstruction, pixel by pixel.

use anyhow::{Context, Result};
use candle_core::Tensor;
use ganomaly_data::{LabeledImages, Resize, Transform};
use ganomaly_metrics::{Localisation, Map, PRO_LIMIT, localisation};
use ganomaly_model::{BatchNormMode, Detector};
use image::{Rgb, RgbImage};

/// The smoothing's standard deviation, as a part of the side of what the network sees, an image or a
/// tile; at least one pixel.
const SMOOTHING: f32 = 1.0 / 32.0;

/// The name of the highest error in an image's heat map, as a score.
pub const MAP_MAX: &str = "map_max";

/// What a heat map shows of the difference between a pixel and its reconstruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PixelError {
    /// |x − x̂|.
    #[default]
    Absolute,
    /// (x − x̂)²: large differences stand out more.
    Squared,
}

/// An error for each pixel, in units of the full range of grey levels, so 0 to about 1.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// Row by row.
    pub values: Vec<f32>,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

impl HeatMap {
    /// Of each image of a batch `[N, C, S, S]`: the mean over channels of the error, `[S, S]`,
    /// smoothed by a Gaussian. `sees` is the side of what the network sees.
    pub fn of(
        detector: &dyn Detector,
        x: &Tensor,
        transform: &Transform,
        sees: usize,
        error: PixelError,
    ) -> Result<Vec<Self>> {
        let made = detector.reconstruct(x, BatchNormMode::Running)?;
        let (x, made) = (flat(x)?, flat(&made)?);
        let (side, stds) = (transform.image_size, &transform.normalization.std);
        let each = side * side;
        let weights = gaussian(sees);
        let one = |(x, made): (&[f32], &[f32])| {
            let mut values = vec![0.0; each];
            let planes = x.chunks_exact(each).zip(made.chunks_exact(each));
            for ((x, made), std) in planes.zip(stds) {
                for (value, (x, made)) in values.iter_mut().zip(x.iter().zip(made)) {
                    let off = (x - made).abs() * std;
                    let off = if error == PixelError::Squared { off * off } else { off };
                    *value += off / stds.len() as f32;
                }
            }
            Self { values: smooth(values, side, &weights), height: side, width: side }
        };
        let images = each * stds.len();
        Ok(x.chunks_exact(images).zip(made.chunks_exact(images)).map(one).collect())
    }

    /// The largest error.
    pub fn highest(&self) -> f32 {
        self.values.iter().copied().fold(0.0, f32::max)
    }

    /// The map of an image before it was resized, `height` × `width`, bilinear; 0 where the image was
    /// cropped.
    pub fn at_size(&self, height: usize, width: usize, mode: Resize) -> Self {
        let side = self.width as f32;
        let (h, w) = (height as f32, width as f32);
        let (short, long) = (h.min(w), h.max(w));
        // The position in the network's image of each pixel's centre.
        let place = |at: usize, of: f32| {
            let at = at as f32 + 0.5;
            match mode {
                Resize::Stretch => at * side / of,
                Resize::Crop => (at - (of - short) / 2.0) * side / short,
                Resize::Pad => (side - of * side / long) / 2.0 + at * side / long,
            }
        };
        let columns: Vec<f32> = (0..width).map(|x| place(x, w)).collect();
        let mut values = Vec::with_capacity(height * width);
        for y in (0..height).map(|y| place(y, h)) {
            values.extend(columns.iter().map(|&x| self.between(y, x)));
        }
        Self { values, height, width }
    }

    /// The value at a position in pixels, where pixel i is from i to i + 1; 0 outside.
    fn between(&self, y: f32, x: f32) -> f32 {
        let (h, w) = (self.height as f32, self.width as f32);
        if !(0.0..=h).contains(&y) || !(0.0..=w).contains(&x) {
            return 0.0;
        }
        let ends = |at: f32, of: usize| {
            let at = (at - 0.5).clamp(0.0, of as f32 - 1.0);
            let low = (at as usize).min(of - 1);
            (low, (low + 1).min(of - 1), at - low as f32)
        };
        let ((top, bottom, down), (left, right, across)) =
            (ends(y, self.height), ends(x, self.width));
        let row = |y: usize| {
            let value = |x: usize| self.values[y * self.width + x];
            value(left) + (value(right) - value(left)) * across
        };
        row(top) + (row(bottom) - row(top)) * down
    }

    /// The map over its image `[C, H, W]`, which is grey below it. `full` is the error with the
    /// strongest colour; the colours are inferno, whose lightness rises evenly.
    pub fn over(&self, pixels: &[u8], full: f32) -> RgbImage {
        let each = self.height * self.width;
        let channels = pixels.len() / each.max(1);
        RgbImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            let at = y as usize * self.width + x as usize;
            let sum: u32 = (0..channels).map(|c| u32::from(pixels[c * each + at])).sum();
            let grey = sum as f32 / channels.max(1) as f32;
            let share = (self.values[at] / full).clamp(0.0, 1.0);
            let colour = colorous::INFERNO.eval_continuous(f64::from(share));
            // The hotter, the less of the image shows.
            let mix = |colour: u8| {
                (f32::from(colour) * share + grey * (1.0 - share)).round().clamp(0.0, 255.0) as u8
            };
            Rgb([mix(colour.r), mix(colour.g), mix(colour.b)])
        })
    }
}

/// A heat map at the size of its image, and which of the pixels are defective.
pub struct Masked {
    map: HeatMap,
    defective: Vec<bool>,
}

impl Masked {
    /// Of image `index` of a data set; none if nobody knows where its defects are.
    pub fn of(
        map: &HeatMap,
        images: &LabeledImages,
        index: usize,
        anomalous: bool,
        mode: Resize,
    ) -> Result<Option<Self>> {
        let mask = images.mask(index, anomalous)?;
        Ok(mask.map(|mask| Self {
            map: map.at_size(mask.height, mask.width, mode),
            defective: mask.defective,
        }))
    }
}

/// How well heat maps find the defects; none if there are no defects.
pub fn judge<'a>(maps: impl Iterator<Item = &'a Masked>) -> Result<Option<Localisation>> {
    let maps = maps.map(|Masked { map, defective }| Map {
        scores: &map.values,
        mask: defective,
        height: map.height,
        width: map.width,
    });
    let maps: Vec<Map<'_>> = maps.collect();
    let any = maps.iter().any(|map| map.mask.contains(&true));
    let judged = any.then(|| localisation(&maps, PRO_LIMIT).context("the heat maps and masks"));
    judged.transpose()
}

fn flat(x: &Tensor) -> Result<Vec<f32>> {
    x.flatten_all()?.to_vec1().context("an image as numbers")
}

/// The weights of the smoothing along an axis, the middle one of the pixel itself; their sum is 1.
pub(crate) fn gaussian(sees: usize) -> Vec<f32> {
    let sigma = (sees as f32 * SMOOTHING).max(1.0);
    let reach = (3.0 * sigma).ceil() as i32;
    let weights = (-reach..=reach).map(|d| (-0.5 * (d as f32 / sigma).powi(2)).exp());
    let sum: f32 = weights.clone().sum();
    weights.map(|weight| weight / sum).collect()
}

/// Smooths along both axes; the edges are repeated.
fn smooth(values: Vec<f32>, side: usize, weights: &[f32]) -> Vec<f32> {
    let reach = (weights.len() / 2) as isize;
    // Each pass smooths along rows and turns the map, so that two do both axes.
    let pass = |values: &[f32]| {
        let mut turned = vec![0.0; values.len()];
        for (y, row) in values.chunks_exact(side).enumerate() {
            for x in 0..side {
                let near = |d: isize| row[(x as isize + d).clamp(0, side as isize - 1) as usize];
                let all = (-reach..=reach).zip(weights).map(|(d, weight)| near(d) * weight);
                turned[x * side + y] = all.sum();
            }
        }
        turned
    };
    pass(&pass(&values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(values: &[f32], width: usize) -> HeatMap {
        HeatMap { values: values.to_vec(), height: values.len() / width, width }
    }

    #[test]
    fn a_map_at_an_images_size_lies_where_the_image_was() {
        let even = map(&[0.5; 16], 4);
        // A wide image: cropped, the sides are not seen; padded, all is.
        let cropped = even.at_size(2, 6, Resize::Crop);
        assert_eq!(cropped.values[..6], [0.0, 0.0, 0.5, 0.5, 0.0, 0.0]);
        for mode in [Resize::Stretch, Resize::Pad] {
            assert!(even.at_size(3, 7, mode).values.iter().all(|&v| (v - 0.5).abs() < 1e-6));
        }
        // Left half hot: so it is at any size.
        let half = map(&[[1.0, 1.0, 0.0, 0.0]; 4].concat(), 4);
        let large = half.at_size(8, 8, Resize::Stretch);
        assert!(large.values.chunks(8).all(|row| row[0] == 1.0 && row[7] == 0.0 && row[2] == 1.0));
        assert_eq!(half.at_size(4, 4, Resize::Stretch), half);
        // Of a padded tall image, the network's middle columns.
        let tall = half.at_size(8, 4, Resize::Pad);
        assert!(tall.values[0] > tall.values[3]);
    }

    #[test]
    fn smoothing_keeps_the_sum_within_and_what_is_even() {
        let even = smooth(vec![0.25; 64 * 64], 64, &gaussian(64));
        assert!(even.iter().all(|v| (v - 0.25).abs() < 1e-6));
        let mut point = vec![0.0; 64 * 64];
        point[32 * 64 + 30] = 1.0;
        let smoothed = smooth(point, 64, &gaussian(64));
        let highest = smoothed.iter().copied().fold(0.0, f32::max);
        assert_eq!(smoothed.iter().position(|&v| v == highest), Some(32 * 64 + 30));
        assert!((smoothed.iter().sum::<f32>() - 1.0).abs() < 1e-4);
    }

    #[test]
    fn no_error_shows_the_image_and_a_full_one_the_hottest_colour() {
        let over = map(&[0.0, 2.0], 2).over(&[10, 20, 30, 40, 50, 60], 1.0);
        assert_eq!(over.get_pixel(0, 0).0, [30, 30, 30]);
        let hot = colorous::INFERNO.eval_continuous(1.0);
        assert_eq!(over.get_pixel(1, 0).0, [hot.r, hot.g, hot.b]);
    }
}
