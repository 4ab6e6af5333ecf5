//! Further scores of the test images, under running statistics: what a trained network knows beyond
//! its published score.
//!
//! * `l2_rel`: l2 over the mean of z². A large code has a larger error.
//! * `l2_grad`: l2 over 1 + the image's gradient, the mean absolute difference of horizontal
//!   neighbours plus that of vertical ones, in grey levels (0 to 255) of the resized image, over
//!   all channels. A busy image is harder to encode.
//! * `z_nn`: the mean Euclidean distance of z to its five nearest among the training images' z. It
//!   does not use the decoder.

use crate::interrupt::Cancel;
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use ganomaly_experiment::config::{FurtherScore, Name, RunConfig, ScoringMode};
use ganomaly_experiment::run_data::RunData;
use ganomaly_model::{Detector, Scores};
use rayon::prelude::*;

/// Number of neighbours for [`FurtherScore::ZNn`].
const NEIGHBOURS: usize = 5;
/// Number of images whose distances are computed at a time, and of those they are compared with.
const BLOCK: (usize, usize) = (256, 4096);
/// Lower bound of the divisor, the mean of z²: a network whose code is zero still gets finite
/// scores.
const LEAST: f64 = 1e-30;

/// Adds to the test images' scores the further scores that the config requests in this mode.
pub(crate) fn add(
    mut scores: Scores,
    detector: &dyn Detector,
    data: &RunData,
    config: &RunConfig,
    mode: ScoringMode,
    cancel: &Cancel,
) -> Result<Scores> {
    let wanted = config.further_scores.iter().filter(|_| mode == ScoringMode::Running);
    let wanted: Vec<FurtherScore> = wanted.map(|Name(further)| *further).collect();
    let has = |kind| wanted.contains(&kind);
    let codes = |images: &[u32]| codes(images, detector, data, config, cancel);
    let tested = match has(FurtherScore::L2Rel) || has(FurtherScore::ZNn) {
        true => codes(&data.split.test)?,
        false => Tensor::zeros((1, 1), DType::F64, &Device::Cpu)?,
    };
    for kind in wanted {
        let l2 = scores.of("l2");
        let values = match kind {
            FurtherScore::L2Rel => {
                let squares = tested.sqr()?.mean(1)?.to_vec1::<f64>()?;
                l2.iter().zip(squares).map(|(l2, square)| l2 / square.max(LEAST)).collect()
            }
            FurtherScore::L2Grad => {
                let gradients = gradients(&data.split.test, data)?;
                l2.iter().zip(gradients).map(|(l2, gradient)| l2 / (1.0 + gradient)).collect()
            }
            FurtherScore::ZNn => nearest(&tested, &codes(&data.split.train)?, cancel)?,
        };
        scores.push(kind.name(), values);
    }
    Ok(scores)
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

/// Each image's mean absolute horizontal plus vertical difference, in grey levels.
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
        Ok(sum / (shape[0] * side * (side - 1)) as f64)
    };
    images.par_iter().map(of).collect()
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
}
