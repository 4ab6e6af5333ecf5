//! Batch normalisation over channels with the activation that follows, one pass in each direction.
//!
//! `x` is `[..., C]`; statistics are taken over all axes but the last. Sums within a block of rows
//! use the tensor's type, and blocks are merged in float64 in a fixed order (Chan et al., 1979). So
//! the result neither loses precision in large batches nor depends on the number of threads.

use crate::activation::Activation;
use crate::cpu::vectorised;
use crate::fold::Fold;
use crate::rows::{Rows, convert, rows_in_block};
use crate::simd::{self, Instructions, Kernel, Vector, each_register};
use crate::storage::{Real, dispatch, filled, read, tensor};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Added to the variance, as in `torch.nn.BatchNorm2d`.
pub const EPS: f64 = 1e-5;

/// Mean and variance of each channel of one batch.
#[derive(Clone, Debug)]
pub struct BatchStats {
    /// `[C]` means.
    pub mean: Vec<f64>,
    /// `[C]` biased variances (divided by the count).
    pub variance: Vec<f64>,
    /// Elements in each channel.
    pub count: usize,
}

impl BatchStats {
    /// Takes the statistics of `x`, `[..., C]`.
    pub fn of(x: &Tensor) -> Result<Self> {
        let channels = channels(x)?;
        dispatch!(x, T => read(x, |x: &[T]| stats(x, channels)))
    }

    /// Moves running estimates towards this batch: `r ← (1 − momentum)·r + momentum·b`, with the
    /// unbiased variance, as in `torch.nn.BatchNorm2d`. Both tensors are `[C]`.
    pub fn update_running(&self, mean: &Tensor, variance: &Tensor, momentum: f64) -> Result<()> {
        let unbias = self.count as f64 / (self.count.max(2) - 1) as f64;
        self.update_running_by(mean, variance, momentum, unbias)
    }

    /// As [`Self::update_running`], with the biased variance times a number.
    pub(crate) fn update_running_by(
        &self,
        mean: &Tensor,
        variance: &Tensor,
        momentum: f64,
        unbias: f64,
    ) -> Result<()> {
        let move_towards = |running: &Tensor, batch: &[f64], scale: f64| -> Result<()> {
            dispatch!(running, T => crate::storage::update(running, |r: &mut [T]| {
                for (r, b) in r.iter_mut().zip(batch) {
                    *r = T::from_f64((1.0 - momentum) * r.to_f64() + momentum * scale * b);
                }
            }))
        };
        move_towards(mean, &self.mean, 1.0)?;
        move_towards(variance, &self.variance, unbias)
    }
}

/// `f(scale · x + shift)` with one scale and shift per channel: batch normalisation with given
/// statistics. `scale` and `shift` are `[C]`.
pub fn affine(x: &Tensor, scale: &[f64], shift: &[f64], f: Activation) -> Result<Tensor> {
    let channels = channels(x)?;
    let linear = if f.negative_slope().is_some() { f } else { Activation::Identity };
    let y = dispatch!(x, T => {
        let channels = Fold { scale, shift, activation: linear }.convert::<T>(channels)?;
        tensor(read(x, |x: &[T]| channels.rows().affine(x))?, x.shape())?
    });
    if linear == f { Ok(y) } else { f.forward(&y) }
}

/// Scale and shift for [`affine`] from the given statistics and learnt `weight` and `bias`, all
/// `[C]`.
pub fn scale_and_shift(
    mean: &[f64],
    variance: &[f64],
    weight: &[f64],
    bias: &[f64],
) -> (Vec<f64>, Vec<f64>) {
    let scale: Vec<f64> = variance.iter().zip(weight).map(|(v, w)| w / (v + EPS).sqrt()).collect();
    let shift = mean.iter().zip(&scale).zip(bias).map(|((m, s), b)| b - m * s).collect();
    (scale, shift)
}

/// Gradients of `y = f(bn(x))` in training mode.
#[derive(Debug)]
pub struct Gradients {
    /// `[..., C]`, the gradient of `x`.
    pub input: Tensor,
    /// `[C]`, the gradient of the learnt scale.
    pub weight: Tensor,
    /// `[C]`, the gradient of the learnt shift.
    pub bias: Tensor,
}

/// Computes the gradients from `x`, its batch statistics, the learnt `weight` and `bias` (`[C]`),
/// and the gradient of `y`. The activation must be piecewise linear: its slope is taken from the
/// normalised input.
pub fn backward(
    x: &Tensor,
    stats: &BatchStats,
    (weight, bias): (&[f64], &[f64]),
    f: Activation,
    dy: &Tensor,
) -> Result<Gradients> {
    let channels = channels(x)?;
    if x.shape() != dy.shape() {
        bail!("the gradient has shape {:?}, the input {:?}", dy.shape(), x.shape());
    }
    let Some(slope) = f.negative_slope() else {
        bail!("batch normalisation has no gradient through {f:?}");
    };
    dispatch!(x, T => {
        let (scale, shift) = scale_and_shift(&stats.mean, &stats.variance, weight, bias);
        let (scale, shift, mean) = (convert::<T>(&scale), convert::<T>(&shift), convert::<T>(&stats.mean));
        let rows = Rows { channels, slope: T::from_f64(slope), scale: &scale, shift: &shift };
        let pass = Pass { rows, mean: &mean };
        let (dx, dw, db) = read(x, |x: &[T]| read(dy, |dy: &[T]| {
            let (sum, dot) = pass.sums(x, dy);
            let count = stats.count as f64;
            let inverse: Vec<f64> = stats.variance.iter().map(|v| 1.0 / (v + EPS).sqrt()).collect();
            // dx = scale·(g − mean(g) − x̂·mean(g·x̂)), g the gradient before the activation.
            let constant: Vec<f64> = sum.iter().map(|s| s / count).collect();
            let tilt: Vec<f64> = dot.iter().zip(&inverse).map(|(d, i)| d * i * i / count).collect();
            let dx = pass.input(x, dy, &convert(&constant), &convert(&tilt));
            let dw: Vec<f64> = dot.iter().zip(&inverse).map(|(d, i)| d * i).collect();
            (dx, dw, sum)
        }))??;
        Ok(Gradients {
            input: tensor(dx, x.shape())?,
            weight: tensor(convert::<T>(&dw), channels)?,
            bias: tensor(convert::<T>(&db), channels)?,
        })
    })
}

/// What both gradient passes need per channel.
#[derive(Clone, Copy)]
struct Pass<'a, T> {
    rows: Rows<'a, T>,
    mean: &'a [T],
}

/// Per channel: the sums of g and of g·(x − mean), where g is the gradient before the activation.
type Sums<T> = (Vec<T>, Vec<T>);

impl<T: Real> Pass<'_, T> {
    fn sums(&self, x: &[T], dy: &[T]) -> Sums<f64> {
        let c = self.rows.channels;
        let block = rows_in_block(c) * c;
        let partial: Vec<Sums<T>> = x
            .par_chunks(block)
            .zip(dy.par_chunks(block))
            .map(|(x, dy)| {
                let mut sums = (vec![T::zero(); c], vec![T::zero(); c]);
                simd::run(AddBlock { pass: *self, x, dy, sums: &mut sums });
                sums
            })
            .collect();
        let (mut sum, mut dot) = (vec![0.0; c], vec![0.0; c]);
        for (s, d) in &partial {
            for j in 0..c {
                sum[j] += s[j].to_f64();
                dot[j] += d[j].to_f64();
            }
        }
        (sum, dot)
    }

    /// Sums down the rows of a block, in registers.
    #[inline(always)]
    fn add_column<V: Vector<T>>(&self, x: &[T], dy: &[T], sums: &mut Sums<T>, at: usize) {
        let c = self.rows.channels;
        let mean = V::load(self.mean, at);
        let (mut sum, mut dot) = (V::splat(T::zero()), V::splat(T::zero()));
        for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
            let x = V::load(x, at);
            let g = self.rows.rectified(self.rows.normalised(x, at), V::load(dy, at));
            sum = sum.plus(g);
            dot = g.fma(x.minus(mean), dot);
        }
        sum.store(&mut sums.0, at);
        dot.store(&mut sums.1, at);
    }

    #[allow(unsafe_code)]
    fn input(&self, x: &[T], dy: &[T], constant: &[T], tilt: &[T]) -> Vec<T> {
        let c = self.rows.channels;
        let block = rows_in_block(c) * c;
        let fill = |dx: &mut [MaybeUninit<T>]| {
            dx.par_chunks_mut(block).zip(x.par_chunks(block)).zip(dy.par_chunks(block)).for_each(
                |((dx, x), dy)| {
                    simd::run(InputBlock { pass: *self, x, dy, terms: (constant, tilt), dx });
                },
            );
        };
        // SAFETY: x and dy have the same length, and the blocks cover dx.
        unsafe { filled(x.len().min(dy.len()), fill) }
    }

    /// scale·(g − constant − (x − mean)·tilt).
    #[inline(always)]
    fn input_at<V: Vector<T>>(
        &self,
        x: &[T],
        dy: &[T],
        (constant, tilt): (&[T], &[T]),
        dx: &mut [MaybeUninit<T>],
        at: usize,
    ) {
        let x = V::load(x, at);
        let g = self.rows.rectified(self.rows.normalised(x, at), V::load(dy, at));
        let tilted = x.minus(V::load(self.mean, at)).times(V::load(tilt, at));
        let d = g.minus(V::load(constant, at)).minus(tilted);
        d.times(V::load(self.rows.scale, at)).write(dx, at);
    }
}

struct AddBlock<'a, T> {
    pass: Pass<'a, T>,
    x: &'a [T],
    dy: &'a [T],
    sums: &'a mut Sums<T>,
}

impl<T: Real> Kernel for AddBlock<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let c = self.pass.rows.channels;
        each_register!(I, T, c => self.pass.add_column(self.x, self.dy, self.sums));
    }
}

struct InputBlock<'a, T> {
    pass: Pass<'a, T>,
    x: &'a [T],
    dy: &'a [T],
    terms: (&'a [T], &'a [T]),
    dx: &'a mut [MaybeUninit<T>],
}

impl<T: Real> Kernel for InputBlock<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let c = self.pass.rows.channels;
        let rows = self.dx.chunks_exact_mut(c).zip(self.x.chunks_exact(c));
        for ((dx, x), dy) in rows.zip(self.dy.chunks_exact(c)) {
            each_register!(I, T, c => self.pass.input_at(x, dy, self.terms, dx));
        }
    }
}

fn channels(x: &Tensor) -> Result<usize> {
    match x.dims().last() {
        Some(&c) if c > 0 && x.elem_count() > 0 => Ok(c),
        _ => bail!("batch normalisation needs [..., C] with numbers in it, got {:?}", x.shape()),
    }
}

fn stats<T: Real>(x: &[T], channels: usize) -> BatchStats {
    let blocks: Vec<BatchStats> = x
        .par_chunks(rows_in_block(channels) * channels)
        .map(|x| vectorised!(block_stats(x, channels)))
        .collect();
    let zero = BatchStats { mean: vec![0.0; channels], variance: vec![0.0; channels], count: 0 };
    blocks.into_iter().fold(zero, merge)
}

/// Two passes over a block that is still in cache after the first.
#[inline(always)]
fn block_stats<T: Real>(x: &[T], channels: usize) -> BatchStats {
    let count = x.len() / channels;
    let inverse = T::from_f64(1.0 / count as f64);
    let mut mean = vec![T::zero(); channels];
    for row in x.chunks_exact(channels) {
        for (m, &v) in mean.iter_mut().zip(row) {
            *m += v;
        }
    }
    for m in &mut mean {
        *m *= inverse;
    }
    let mut square = vec![T::zero(); channels];
    for row in x.chunks_exact(channels) {
        for ((s, &v), &m) in square.iter_mut().zip(row).zip(&mean) {
            *s += (v - m) * (v - m);
        }
    }
    let f64s = |v: &[T]| v.iter().map(|v| v.to_f64()).collect::<Vec<_>>();
    BatchStats {
        mean: f64s(&mean),
        variance: f64s(&square).iter().map(|s| s / count as f64).collect(),
        count,
    }
}

fn merge(a: BatchStats, b: BatchStats) -> BatchStats {
    let count = a.count + b.count;
    let share = b.count as f64 / count as f64;
    let (mut mean, mut variance) = (a.mean, a.variance);
    for j in 0..mean.len() {
        let delta = b.mean[j] - mean[j];
        mean[j] += delta * share;
        variance[j] = variance[j] * (1.0 - share)
            + b.variance[j] * share
            + delta * delta * share * (1.0 - share);
    }
    BatchStats { mean, variance, count }
}
