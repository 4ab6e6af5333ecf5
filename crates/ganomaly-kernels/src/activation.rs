//! Activations and their gradients, element by element.

use crate::cpu::vectorised;
use crate::simd::{self, Instructions, Kernel, Vector, each_register};
use crate::storage::{Real, dispatch, filled, read, tensor};
use candle_core::{Result, Tensor};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Values that a thread handles at a time: enough to hide the cost of distributing the work.
pub(crate) const BLOCK: usize = 1 << 14;

/// The activation function after a convolution or batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `y = x`.
    Identity,
    /// `y = x` for positive x, `slope · x` otherwise. A slope of 0 is ReLU. The slope is in [0, 1).
    LeakyRelu(f64),
    /// `y = tanh(x)`, in (-1, 1).
    Tanh,
}

impl Activation {
    /// Rectified linear unit.
    pub const RELU: Self = Self::LeakyRelu(0.0);

    /// Applies the function to each element.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        if self == Self::Identity {
            return Ok(x.clone());
        }
        dispatch!(x, T => {
            let y = read(x, |x: &[T]| match self {
                Self::Identity => x.to_vec(),
                Self::Tanh => map(x, T::tanh),
                Self::LeakyRelu(slope) => rectified(x, x, T::from_f64(slope)),
            })?;
            tensor(y, x.shape())
        })
    }

    /// The gradient of the input from that of the output. Needs only the output, `y = f(x)`.
    pub fn backward(self, y: &Tensor, grad: &Tensor) -> Result<Tensor> {
        if self == Self::Identity {
            return Ok(grad.clone());
        }
        dispatch!(y, T => {
            let dx = read(y, |y: &[T]| {
                read(grad, |g: &[T]| match self {
                    Self::Identity => g.to_vec(),
                    Self::Tanh => zip_map(y, g, |y, g| g * (T::one() - y * y)),
                    Self::LeakyRelu(slope) => rectified(y, g, T::from_f64(slope)),
                })
            })??;
            tensor(dx, y.shape())
        })
    }

    /// The factor for negative inputs; `None` if the activation is not piecewise linear.
    pub fn negative_slope(self) -> Option<f64> {
        match self {
            Self::Identity => Some(1.0),
            Self::LeakyRelu(slope) => Some(slope),
            Self::Tanh => None,
        }
    }
}

/// `value` where `sign` is positive, `slope · value` elsewhere: a rectifier, and its gradient.
#[allow(unsafe_code)]
fn rectified<T: Real>(sign: &[T], value: &[T], slope: T) -> Vec<T> {
    let fill = |y: &mut [MaybeUninit<T>]| {
        y.par_chunks_mut(BLOCK)
            .zip(sign.par_chunks(BLOCK))
            .zip(value.par_chunks(BLOCK))
            .for_each(|((y, sign), value)| simd::run(Rectify { sign, value, slope, y }));
    };
    // SAFETY: both slices are as long as the result, and the blocks cover it.
    unsafe { filled(sign.len().min(value.len()), fill) }
}

struct Rectify<'a, T> {
    sign: &'a [T],
    value: &'a [T],
    slope: T,
    y: &'a mut [MaybeUninit<T>],
}

impl<T: Real> Kernel for Rectify<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(mut self) {
        each_register!(I, T, self.y.len() => self.at());
    }
}

impl<T: Real> Rectify<'_, T> {
    #[inline(always)]
    fn at<V: Vector<T>>(&mut self, at: usize) {
        let value = V::load(self.value, at);
        let y = V::load(self.sign, at).where_positive(value, value.times(V::splat(self.slope)));
        y.write(self.y, at);
    }
}

/// A new vector of f(x) for each x, on all threads.
#[allow(unsafe_code)]
pub(crate) fn map<T: Real>(x: &[T], f: impl Fn(T) -> T + Sync) -> Vec<T> {
    let fill = |y: &mut [MaybeUninit<T>]| {
        y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
            vectorised!({
                for (y, &x) in y.iter_mut().zip(x) {
                    y.write(f(x));
                }
            });
        });
    };
    // SAFETY: the blocks cover the result.
    unsafe { filled(x.len(), fill) }
}

/// A new vector of f(a, b) for each pair, on all threads.
#[allow(unsafe_code)]
pub(crate) fn zip_map<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    let fill = |y: &mut [MaybeUninit<T>]| {
        y.par_chunks_mut(BLOCK).zip(a.par_chunks(BLOCK)).zip(b.par_chunks(BLOCK)).for_each(
            |((y, a), b)| {
                vectorised!({
                    for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                        y.write(f(a, b));
                    }
                });
            },
        );
    };
    // SAFETY: both slices are as long as the result, and the blocks cover it.
    unsafe { filled(a.len().min(b.len()), fill) }
}
