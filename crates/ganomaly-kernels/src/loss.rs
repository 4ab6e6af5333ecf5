//! The losses of a reconstruction GAN: for each, its mean and its gradient.
//!
//! Sums are taken in blocks of a fixed size, which are added in order, in float64.

use crate::activation::{BLOCK, map, zip_map};
use crate::cpu::vectorised;
use crate::storage::{Real, dispatch, read, tensor};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

/// mean((a − b)²) over all elements, `torch.nn.functional.mse_loss`.
pub fn mean_squared(a: &Tensor, b: &Tensor) -> Result<f64> {
    mean(a, b, |d| d * d)
}

/// The gradient of `weight ·` [`mean_squared`] with respect to `a`; for `b` it is the negative.
pub fn mean_squared_grad(a: &Tensor, b: &Tensor, weight: f64) -> Result<Tensor> {
    let scale = 2.0 * weight / count(a, b)? as f64;
    difference(a, b, |d| d * scale)
}

/// mean|a − b| over all elements, `torch.nn.functional.l1_loss`.
pub fn mean_absolute(a: &Tensor, b: &Tensor) -> Result<f64> {
    mean(a, b, f64::abs)
}

/// The gradient of `weight ·` [`mean_absolute`] with respect to `a`, 0 where both are equal.
pub fn mean_absolute_grad(a: &Tensor, b: &Tensor, weight: f64) -> Result<Tensor> {
    let scale = weight / count(a, b)? as f64;
    difference(a, b, |d| if d == 0.0 { 0.0 } else { scale.copysign(d) })
}

/// The sigmoid of each element, in (0, 1).
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    dispatch!(x, T => {
        let y = read(x, |x: &[T]| map(x, |v| T::one() / (T::one() + (-v).exp())))?;
        tensor(y, x.shape())
    })
}

/// The mean binary cross-entropy of predictions in [0, 1] against one target, 0 or 1, with each
/// logarithm clamped at −100, as in `torch.nn.BCELoss`.
pub fn binary_cross_entropy(prediction: &Tensor, target: bool) -> Result<f64> {
    count(prediction, prediction)?;
    dispatch!(prediction, T => read(prediction, |p: &[T]| {
        let total = sum(p, |p| {
            let likelihood = if target { p } else { T::one() - p };
            -likelihood.ln().to_f64().max(-100.0)
        });
        total / p.len() as f64
    }))
}

/// The gradient of `weight ·` [`binary_cross_entropy`] with respect to the logits, whose sigmoid is
/// `prediction`: `BCELoss`'s (p − t) / max(p(1 − p), 1e-12) times the sigmoid's p(1 − p).
pub fn binary_cross_entropy_grad(prediction: &Tensor, target: bool, weight: f64) -> Result<Tensor> {
    let scale = weight / prediction.elem_count().max(1) as f64;
    let t = if target { 1.0 } else { 0.0 };
    dispatch!(prediction, T => {
        let g = read(prediction, |p: &[T]| map(p, |p| {
            let p = p.to_f64();
            let variance = p * (1.0 - p);
            T::from_f64(scale * (p - t) * variance / variance.max(1e-12))
        }))?;
        tensor(g, prediction.shape())
    })
}

/// For each image (first axis), the means of |a − b| and of (a − b)² over its elements.
pub fn image_errors(a: &Tensor, b: &Tensor) -> Result<(Vec<f64>, Vec<f64>)> {
    let images = a.dim(0)?;
    let each = count(a, b)? / images.max(1);
    dispatch!(a, T => read(a, |a: &[T]| read(b, |b: &[T]| {
        a.chunks(each)
            .zip(b.chunks(each))
            .map(|(a, b)| {
                let absolute = vectorised!(block_sum(a, b, f64::abs));
                let square = vectorised!(block_sum(a, b, |d| d * d));
                (absolute / each as f64, square / each as f64)
            })
            .unzip()
    }))?)
}

/// `a + b`, for gradients that flow together.
pub fn sum_of(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    count(a, b)?;
    dispatch!(a, T => {
        tensor(read(a, |a: &[T]| read(b, |b: &[T]| zip_map(a, b, |a, b| a + b)))??, a.shape())
    })
}

/// The product of two tensors, element by element.
pub(crate) fn product_of(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    dispatch!(a, T => {
        tensor(read(a, |a: &[T]| read(b, |b: &[T]| zip_map(a, b, |a, b| a * b)))??, a.shape())
    })
}

fn count(a: &Tensor, b: &Tensor) -> Result<usize> {
    if a.shape() != b.shape() {
        bail!("the shapes {:?} and {:?} differ", a.shape(), b.shape());
    }
    match a.elem_count() {
        0 => bail!("a loss over no values is undefined"),
        n => Ok(n),
    }
}

fn mean(a: &Tensor, b: &Tensor, f: impl Fn(f64) -> f64 + Sync) -> Result<f64> {
    let n = count(a, b)?;
    dispatch!(a, T => read(a, |a: &[T]| read(b, |b: &[T]| {
        let blocks: Vec<f64> = a
            .par_chunks(BLOCK)
            .zip(b.par_chunks(BLOCK))
            .map(|(a, b)| vectorised!(block_sum(a, b, &f)))
            .collect();
        blocks.iter().sum::<f64>() / n as f64
    }))?)
}

/// Σ f(a − b), in eight parallel sums that are added at the end.
#[inline(always)]
fn block_sum<T: Real>(a: &[T], b: &[T], f: impl Fn(f64) -> f64) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for l in 0..8 {
            sums[l] += f((a[l] - b[l]).to_f64());
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(&a, &b)| f((a - b).to_f64())).sum();
    sums.iter().sum::<f64>() + rest
}

fn difference(a: &Tensor, b: &Tensor, f: impl Fn(f64) -> f64 + Sync) -> Result<Tensor> {
    dispatch!(a, T => {
        let d = read(a, |a: &[T]| read(b, |b: &[T]| {
            zip_map(a, b, |a, b| T::from_f64(f((a - b).to_f64())))
        }))??;
        tensor(d, a.shape())
    })
}

fn sum<T: Real>(x: &[T], f: impl Fn(T) -> f64 + Sync) -> f64 {
    let blocks: Vec<f64> = x.par_chunks(BLOCK).map(|x| x.iter().map(|&v| f(v)).sum()).collect();
    blocks.iter().sum()
}
