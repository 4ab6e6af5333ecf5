//! Distances of the images' codes from those of the training images.

use crate::interrupt::Cancel;
use anyhow::Result;
use candle_core::Tensor;
use rayon::prelude::*;

/// Lower bound of divisors and of what a logarithm is taken of: a network whose code or error is
/// zero still gets finite scores.
pub(super) const LEAST: f64 = 1e-30;
/// Number of neighbours for [`nearest`].
const NEIGHBOURS: usize = 5;
/// Number of images whose distances are computed at a time, and of those they are compared with.
const BLOCK: (usize, usize) = (256, 4096);
/// This part of the mean variance is added to every variance, so that a number that never changes
/// divides by more than zero.
const RIDGE: f64 = 1e-6;

/// The Mahalanobis distance of each row of `codes` from the rows of `bank`.
pub(super) fn mahalanobis(codes: &Tensor, bank: &Tensor) -> Result<Vec<f64>> {
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
pub(super) fn nearest(codes: &Tensor, bank: &Tensor, cancel: &Cancel) -> Result<Vec<f64>> {
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
