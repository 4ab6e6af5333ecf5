//! Batch normalisation over channels with the activation that follows it, in one pass each way.
//!
//! `x` is `[..., C]`; statistics are taken over everything but the channels. Sums within a block of
//! rows run in the tensor's type, and blocks are merged in float64 in a fixed order (Chan et al., 1979), so the
//! result neither loses precision in large batches nor depends on the number of threads.

use crate::activation::{Activation, rectified};
use crate::cpu::vectorised;
use crate::storage::{Real, dispatch, read, tensor};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

/// Added to the variance, as in `torch.nn.BatchNorm2d`.
pub const EPS: f64 = 1e-5;

/// Numbers in a block of rows that one thread handles at a time.
const BLOCK: usize = 1 << 15;

/// Mean and variance of each channel of one batch.
#[derive(Clone, Debug)]
pub struct BatchStats {
    /// `[C]` means.
    pub mean: Vec<f64>,
    /// `[C]` biased variances (divided by the count).
    pub variance: Vec<f64>,
    /// Numbers in each channel.
    pub count: usize,
}

impl BatchStats {
    /// Takes the statistics of `x`, `[..., C]`.
    pub fn of(x: &Tensor) -> Result<Self> {
        let channels = channels(x)?;
        dispatch!(x, T => read(x, |x: &[T]| stats(x, channels)))
    }

    /// Moves running estimates towards this batch: `r ← (1 − momentum)·r + momentum·b`, with the
    /// unbiased variance, as `torch.nn.BatchNorm2d` does it. Both tensors are `[C]`.
    pub fn update_running(&self, mean: &Tensor, variance: &Tensor, momentum: f64) -> Result<()> {
        let unbias = self.count as f64 / (self.count.max(2) - 1) as f64;
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

/// `f(scale · x + shift)` with one scale and shift a channel: batch normalisation with given
/// statistics. `scale` and `shift` are `[C]`.
pub fn affine(x: &Tensor, scale: &[f64], shift: &[f64], f: Activation) -> Result<Tensor> {
    let channels = channels(x)?;
    if scale.len() != channels || shift.len() != channels {
        bail!("{} scales and {} shifts for {channels} channels", scale.len(), shift.len());
    }
    dispatch!(x, T => {
        let (scale, shift) = (convert::<T>(scale), convert::<T>(shift));
        let y = read(x, |x: &[T]| {
            match f.negative_slope() {
                Some(slope) => {
                    let slope = T::from_f64(slope);
                    map_rows(x, &scale, &shift, |v| rectified(v, v, slope))
                }
                None => map_rows(x, &scale, &shift, T::tanh),
            }
        })?;
        tensor(y, x.shape())
    })
}

fn map_rows<T: Real>(x: &[T], scale: &[T], shift: &[T], f: impl Fn(T) -> T + Sync) -> Vec<T> {
    let channels = scale.len();
    let mut y = vec![T::zero(); x.len()];
    let block = rows_in_block(channels) * channels;
    y.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(y, x)| {
        vectorised(|| {
            for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                for (((y, &x), &a), &b) in y.iter_mut().zip(x).zip(scale).zip(shift) {
                    *y = f(x * a + b);
                }
            }
        });
    });
    y
}

/// Scale and shift of [`affine`] for the given statistics and learnt `weight` and `bias`, all `[C]`.
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

/// The gradients from `x`, its batch statistics, the learnt `weight` and `bias` (`[C]`), and the gradient of `y`.
/// The activation must be piecewise linear: its slope is taken from the normalised input.
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
        let pass = Pass::<T> { slope: T::from_f64(slope), channels, scale: convert(&scale), shift: convert(&shift), mean: convert(&stats.mean) };
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

/// What both passes of the gradient need of each channel.
struct Pass<T> {
    /// The activation's slope on its negative side.
    slope: T,
    channels: usize,
    scale: Vec<T>,
    shift: Vec<T>,
    mean: Vec<T>,
}

impl<T: Real> Pass<T> {
    /// Per channel: the sums of g and of g·(x − mean), g being the gradient before the activation.
    fn sums(&self, x: &[T], dy: &[T]) -> (Vec<f64>, Vec<f64>) {
        let c = self.channels;
        let block = rows_in_block(c) * c;
        let partial: Vec<(Vec<T>, Vec<T>)> = x
            .par_chunks(block)
            .zip(dy.par_chunks(block))
            .map(|(x, dy)| {
                let (mut sum, mut dot) = (vec![T::zero(); c], vec![T::zero(); c]);
                vectorised(|| {
                    for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
                        self.add_row(x, dy, &mut sum, &mut dot);
                    }
                });
                (sum, dot)
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

    #[inline(always)]
    fn add_row(&self, x: &[T], dy: &[T], sum: &mut [T], dot: &mut [T]) {
        // Slices of one length, so that the loop needs no checks.
        let c = self.channels;
        let (x, dy, sum, dot) = (&x[..c], &dy[..c], &mut sum[..c], &mut dot[..c]);
        let (scale, shift, mean) = (&self.scale[..c], &self.shift[..c], &self.mean[..c]);
        for j in 0..c {
            let g = rectified(x[j] * scale[j] + shift[j], dy[j], self.slope);
            sum[j] += g;
            dot[j] += g * (x[j] - mean[j]);
        }
    }

    fn input(&self, x: &[T], dy: &[T], constant: &[T], tilt: &[T]) -> Vec<T> {
        let c = self.channels;
        let block = rows_in_block(c) * c;
        let mut dx = vec![T::zero(); x.len()];
        dx.par_chunks_mut(block).zip(x.par_chunks(block)).zip(dy.par_chunks(block)).for_each(
            |((dx, x), dy)| {
                vectorised(|| {
                    let rows =
                        dx.chunks_exact_mut(c).zip(x.chunks_exact(c)).zip(dy.chunks_exact(c));
                    for ((dx, x), dy) in rows {
                        self.input_row(x, dy, (constant, tilt), dx);
                    }
                });
            },
        );
        dx
    }

    #[inline(always)]
    fn input_row(&self, x: &[T], dy: &[T], (constant, tilt): (&[T], &[T]), dx: &mut [T]) {
        let c = self.channels;
        let (x, dy, dx) = (&x[..c], &dy[..c], &mut dx[..c]);
        let (scale, shift, mean) = (&self.scale[..c], &self.shift[..c], &self.mean[..c]);
        let (constant, tilt) = (&constant[..c], &tilt[..c]);
        for j in 0..c {
            let g = rectified(x[j] * scale[j] + shift[j], dy[j], self.slope);
            dx[j] = scale[j] * (g - constant[j] - (x[j] - mean[j]) * tilt[j]);
        }
    }
}

fn channels(x: &Tensor) -> Result<usize> {
    match x.dims().last() {
        Some(&c) if c > 0 && x.elem_count() > 0 => Ok(c),
        _ => bail!("batch normalisation needs [..., C] with numbers in it, got {:?}", x.shape()),
    }
}

fn rows_in_block(channels: usize) -> usize {
    (BLOCK / channels).max(1)
}

fn convert<T: Real>(x: &[f64]) -> Vec<T> {
    x.iter().map(|&v| T::from_f64(v)).collect()
}

fn stats<T: Real>(x: &[T], channels: usize) -> BatchStats {
    let blocks: Vec<BatchStats> = x
        .par_chunks(rows_in_block(channels) * channels)
        .map(|x| vectorised(|| block_stats(x, channels)))
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
