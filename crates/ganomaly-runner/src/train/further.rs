//! Further scores of the test images, under running statistics: what a trained network knows beyond
//! its published score.
//!
//! * `*_rel`: a score over the mean of z². A large code has a larger error.
//! * `*_grad`: a score over 1 + the image's gradient, the mean absolute difference of horizontal
//!   neighbours plus that of vertical ones, in grey levels (0 to 255) of the resized image, over
//!   all channels. A busy image is harder to encode.
//! * `*_png`: a score over the bits per value of the resized image as a PNG file. Serrà et al.
//!   (ICLR 2020) subtract such a length from a likelihood's logarithm; this is the same difference
//!   of the logarithms.
//! * `z_nn`: the mean Euclidean distance of z to its five nearest among the training images' z. It
//!   does not use the decoder.
//! * `z_maha`: the Mahalanobis distance of z from the training images' z (Lee et al., NeurIPS 2018,
//!   with one class).

use crate::interrupt::Cancel;
use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use ganomaly_data::resize;
use ganomaly_experiment::config::{Correction, Further, RunConfig, ScoringMode};
use ganomaly_experiment::run_data::RunData;
use ganomaly_model::{Detector, Scores};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;
use std::cell::OnceCell;

/// Number of neighbours for [`Further::Nearest`].
const NEIGHBOURS: usize = 5;
/// Number of images whose distances are computed at a time, and of those they are compared with.
const BLOCK: (usize, usize) = (256, 4096);
/// Lower bound of the divisor, the mean of z²: a network whose code is zero still gets finite
/// scores.
const LEAST: f64 = 1e-30;
/// This part of the mean variance is added to every variance, so that a number that never changes
/// divides by more than zero.
const RIDGE: f64 = 1e-6;

/// Adds to the test images' scores the further scores that the config requests in this mode.
pub(crate) fn add(
    mut scores: Scores,
    detector: &dyn Detector,
    data: &RunData,
    config: &RunConfig,
    mode: ScoringMode,
    cancel: &Cancel,
) -> Result<Scores> {
    let (test, train) = (&data.split.test, &data.split.train);
    // Several scores need them, and some of them nobody.
    let [tested, known] = [OnceCell::new(), OnceCell::new()];
    let [slopes, bits] = [OnceCell::new(), OnceCell::new()];
    let codes = |images: &[u32]| codes(images, detector, data, config, cancel);
    let tested = || once(&tested, || codes(test));
    let known = || once(&known, || codes(train));
    for kind in config.further_scores.iter().filter(|_| mode == ScoringMode::Running) {
        let values = match kind.0.parts() {
            Further::Corrected(score, correction) => {
                let squares: Vec<f64>;
                let divisors = match correction {
                    Correction::Rel => {
                        let means = tested()?.sqr()?.mean(1)?.to_vec1::<f64>()?;
                        squares = means.into_iter().map(|square| square.max(LEAST)).collect();
                        &squares
                    }
                    Correction::Grad => once(&slopes, || gradients(test, data))?,
                    Correction::Png => once(&bits, || png_bits(test, data))?,
                };
                scores.of(score).iter().zip(divisors).map(|(score, by)| score / by).collect()
            }
            Further::Nearest => nearest(tested()?, known()?, cancel)?,
            Further::Mahalanobis => mahalanobis(tested()?, known()?)?,
        };
        scores.push(kind.0.name(), values);
    }
    Ok(scores)
}

/// The value, which the first caller makes.
fn once<T>(there: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(value) = there.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(there.get_or_init(|| value))
}

/// The images' codes, f64 `[N, D]`.
fn codes(
    images: &[u32],
    detector: &dyn Detector,
    data: &RunData,
    config: &RunConfig,
    cancel: &Cancel,
) -> Result<Tensor> {
    let mut all = Vec::new();
    for batch in data.batches(images.to_vec(), config.score_batch_size)? {
        cancel.check()?;
        all.push(detector.code(&batch?.images)?.to_dtype(DType::F64)?);
    }
    Ok(Tensor::cat(&all, 0)?)
}

/// 1 + each image's mean absolute horizontal plus vertical difference, in grey levels.
fn gradients(images: &[u32], data: &RunData) -> Result<Vec<f64>> {
    let (shape, side) = (data.images.shape(), data.transform.image_size);
    let levels = data.transform.normalization.std.iter().map(|std| 255.0 * f64::from(*std));
    let levels: Vec<f64> = levels.collect();
    let of = |&image: &u32| -> Result<f64> {
        let mut numbers = vec![0.0; shape[0] * side * side];
        let image = data.images.image(image as usize).context("a test image is missing")?;
        data.transform.apply(image, shape, &mut numbers)?;
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
fn png_bits(images: &[u32], data: &RunData) -> Result<Vec<f64>> {
    let (shape, side) = (data.images.shape(), data.transform.image_size);
    let of = |&image: &u32| -> Result<f64> {
        let image = data.images.image(image as usize).context("a test image is missing")?;
        let planes = resize(image, shape, side)?;
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

/// The Mahalanobis distance of each row of `codes` from the rows of `bank`.
fn mahalanobis(codes: &Tensor, bank: &Tensor) -> Result<Vec<f64>> {
    let (n, d) = bank.dims2()?;
    let mean = bank.mean_keepdim(0)?;
    let centred = bank.broadcast_sub(&mean)?;
    let covariance = (centred.t()?.matmul(&centred)? / (n.max(2) - 1) as f64)?;
    let mut factor = covariance.to_vec2::<f64>()?;
    let variance = (0..d).map(|i| factor[i][i]).sum::<f64>() / d as f64;
    (0..d).for_each(|i| factor[i][i] += (RIDGE * variance).max(LEAST));
    // Cholesky: the lower triangle becomes the factor.
    for i in 0..d {
        for j in 0..=i {
            let known: f64 = factor[i][..j].iter().zip(&factor[j][..j]).map(|(a, b)| a * b).sum();
            let rest = factor[i][j] - known;
            factor[i][j] = if i == j { rest.max(LEAST).sqrt() } else { rest / factor[j][j] };
        }
    }
    let rows = codes.broadcast_sub(&mean)?.to_vec2::<f64>()?;
    let distance = |mut row: Vec<f64>| {
        for (i, line) in factor.iter().enumerate() {
            let (known, rest) = row.split_at_mut(i);
            let sum: f64 = line.iter().zip(known.iter()).map(|(a, b)| a * b).sum();
            rest[0] = (rest[0] - sum) / line[i];
        }
        row.iter().map(|v| v * v).sum::<f64>().sqrt()
    };
    Ok(rows.into_par_iter().map(distance).collect())
}

/// The mean distance of each row of `codes` to its nearest rows of `bank`, or to all if there are
/// fewer.
fn nearest(codes: &Tensor, bank: &Tensor, cancel: &Cancel) -> Result<Vec<f64>> {
    let (tests, known) = (codes.dim(0)?, bank.dim(0)?);
    let starts: Vec<usize> = (0..tests).step_by(BLOCK.0).collect();
    let bank_squares = bank.sqr()?.sum(1)?.to_vec1::<f64>()?;
    let of = |&start: &usize| -> Result<Vec<f64>> {
        cancel.check()?;
        let rows = codes.narrow(0, start, BLOCK.0.min(tests - start))?;
        let squares = rows.sqr()?.sum(1)?.to_vec1::<f64>()?;
        // The smallest squared distances so far, in order.
        let mut found = vec![[f64::INFINITY; NEIGHBOURS]; squares.len()];
        for first in (0..known).step_by(BLOCK.1) {
            let others = bank.narrow(0, first, BLOCK.1.min(known - first))?;
            let products = rows.matmul(&others.t()?)?.to_vec2::<f64>()?;
            for ((products, square), found) in products.iter().zip(&squares).zip(&mut found) {
                for (product, other) in products.iter().zip(&bank_squares[first..]) {
                    let distance = square + other - 2.0 * product;
                    if distance < found[NEIGHBOURS - 1] {
                        let at = found.partition_point(|f| *f <= distance);
                        found[at..].rotate_right(1);
                        found[at] = distance;
                    }
                }
            }
        }
        let count = NEIGHBOURS.min(known);
        let mean = |found: &[f64; NEIGHBOURS]| {
            found[..count].iter().map(|square| square.max(0.0).sqrt()).sum::<f64>() / count as f64
        };
        Ok(found.iter().map(mean).collect())
    };
    let blocks: Vec<Vec<f64>> = starts.par_iter().map(of).collect::<Result<_>>()?;
    Ok(blocks.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_nearest_are_found_among_many_and_few() {
        // More than one block of each, in unsorted order.
        let point = |i: usize| ((i * 7919) % 10_007) as f64 / 100.0;
        let bank: Vec<f64> = (0..9000).map(|i| point(i + 3)).collect();
        let codes: Vec<f64> = (0..600).map(|i| point(i) + 0.003).collect();
        let tensor = |v: &[f64]| Tensor::from_slice(v, (v.len() / 2, 2), &Device::Cpu).unwrap();
        for bank in [&bank[..], &bank[..6]] {
            let found = nearest(&tensor(&codes), &tensor(bank), &Cancel::default()).unwrap();
            for (code, found) in codes.chunks(2).zip(found) {
                let distance = |b: &[f64]| (code[0] - b[0]).hypot(code[1] - b[1]);
                let mut all: Vec<f64> = bank.chunks(2).map(distance).collect();
                all.sort_by(f64::total_cmp);
                all.truncate(NEIGHBOURS);
                let mean = all.iter().sum::<f64>() / all.len() as f64;
                assert!((found - mean).abs() < 1e-9 * mean.max(1.0), "{found} against {mean}");
            }
        }
    }

    #[test]
    fn mahalanobis_distances_are_those_of_the_inverse_covariance() {
        let tensor = |v: &[[f64; 2]]| {
            Tensor::from_slice(v.as_flattened(), (v.len(), 2), &Device::Cpu).unwrap()
        };
        // Variances 8/3 and 2/3, no covariance; mean (1, 2).
        let bank = tensor(&[[3.0, 2.0], [-1.0, 2.0], [1.0, 3.0], [1.0, 1.0]]);
        let found = mahalanobis(&tensor(&[[1.0, 2.0], [5.0, 2.0], [5.0, 4.0]]), &bank).unwrap();
        for (found, square) in found.iter().zip([0.0, 6.0, 12.0]) {
            assert!((found * found - square).abs() < 1e-4, "{found} and {square}");
        }
        // Variances 10/3 and 6, covariance 4.
        let bank = tensor(&[[2.0, 3.0], [1.0, 0.0], [-1.0, 0.0], [-2.0, -3.0]]);
        let found = mahalanobis(&tensor(&[[1.0, 1.0]]), &bank).unwrap();
        let (a, b, c) = (10.0 / 3.0, 12.0 / 3.0, 18.0 / 3.0);
        let square = (c - 2.0 * b + a) / (a * c - b * b);
        assert!((found[0] * found[0] - square).abs() < 1e-4, "{found:?} and {square}");
        // What never changes does not divide by zero.
        let same = mahalanobis(&tensor(&[[1.0, 1.0]]), &tensor(&[[0.0, 0.0]; 3])).unwrap();
        assert!(same[0].is_finite() && same[0] > 0.0);
    }
}
