//! Conversions between the kernels' layouts and those of candle and PyTorch.

use crate::storage::{Real, Shared, dispatch, filled, read, tensor};
use candle_core::{Result, Shape, Tensor};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// `[N, C, H, W]` to `[N, H, W, C]`, contiguous. Copies nothing if there is one channel.
pub fn nhwc_from_nchw(x: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    if c == 1 {
        x.contiguous()?.reshape((n, h, w, 1))
    } else {
        x.permute((0, 2, 3, 1))?.contiguous()
    }
}

/// `[N, H, W, C]` to `[N, C, H, W]`, contiguous. Copies nothing if there is one channel.
pub fn nchw_from_nhwc(x: &Tensor) -> Result<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    if c == 1 {
        x.contiguous()?.reshape((n, 1, h, w))
    } else {
        x.permute((0, 3, 1, 2))?.contiguous()
    }
}

/// A convolution's weight from PyTorch's `[O, I, K, K]` to `[K, K, I, O]`. A transposed
/// convolution's `[in, out, K, K]` is the weight of the convolution whose input gradient it is, so
/// the same conversion works for both.
pub fn kernel_from_oikk(w: &Tensor) -> Result<Tensor> {
    w.permute((2, 3, 1, 0))?.contiguous()
}

/// The inverse of [`kernel_from_oikk`].
pub fn oikk_from_kernel(w: &Tensor) -> Result<Tensor> {
    w.permute((3, 2, 0, 1))?.contiguous()
}

/// A contiguous tensor's numbers as `[B, I, J, K]` in the order `[B, K, J, I]`, as a tensor of this
/// shape: what the conversions above do, but on all threads, and faster than candle's copies.
pub(crate) fn reversed(x: &Tensor, axes: [usize; 4], shape: impl Into<Shape>) -> Result<Tensor> {
    dispatch!(x, T => tensor(read(x, |x: &[T]| turned(x, axes))?, shape))
}

#[allow(unsafe_code)]
fn turned<T: Real>(x: &[T], [b, i, j, k]: [usize; 4]) -> Vec<T> {
    /// Sides of a block, which is turned in the first-level cache. It spans several j, because
    /// those are neighbours in memory on the side where i or k is short.
    const SIDES: [usize; 3] = [16, 8, 16];
    /// A task's part of k: a dense layer's weights, a matrix, have no j to divide.
    const PART: usize = 1024;
    // With one axis of length 1 it is a matrix that is transposed.
    let [i, j, k] = match (i, k) {
        (_, 1) => [i, 1, j],
        (1, _) => [j, 1, k],
        _ => [i, j, k],
    };
    let (blocks, parts) = (j.div_ceil(SIDES[1]), k.div_ceil(PART));
    let fill = |y: &mut [MaybeUninit<T>]| {
        // SAFETY: each task writes the places of its own b, j and k.
        let y = unsafe { Shared::new(y) };
        (0..b * blocks * parts).into_par_iter().for_each(|task| {
            let (task, part) = (task / parts, task % parts * PART);
            let (b, first_j) = (task / blocks, task % blocks * SIDES[1]);
            let end = k.min(part + PART);
            let depth = SIDES[1].min(j - first_j);
            let mut block = [[[T::zero(); SIDES[2]]; SIDES[1]]; SIDES[0]];
            let corners = (0..i).step_by(SIDES[0]);
            for (first_i, first_k) in
                corners.flat_map(|i| (part..end).step_by(SIDES[2]).map(move |k| (i, k)))
            {
                let (height, width) = (SIDES[0].min(i - first_i), SIDES[2].min(end - first_k));
                for (at_i, block) in block[..height].iter_mut().enumerate() {
                    for (at_j, block) in block[..depth].iter_mut().enumerate() {
                        let at = ((b * i + first_i + at_i) * j + first_j + at_j) * k + first_k;
                        for (to, &from) in block.iter_mut().zip(&x[at..at + width]) {
                            *to = from;
                        }
                    }
                }
                for (at_k, at_j) in (0..width).flat_map(|k| (0..depth).map(move |j| (k, j))) {
                    let at = ((b * k + first_k + at_k) * j + first_j + at_j) * i + first_i;
                    for (to, from) in y.part(at..at + height).iter_mut().zip(&block) {
                        to.write(from[at_j][at_k]);
                    }
                }
            }
        });
    };
    // SAFETY: the blocks of all tasks cover the result.
    unsafe { filled(b * i * j * k, fill) }
}
