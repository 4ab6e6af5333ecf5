//! Passes over rows of channels: scale, shift and activation, on registers.

use crate::simd::{self, Instructions, Kernel, Vector, each_register};
use crate::storage::{Real, filled};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Elements in a block of rows that one thread handles at a time.
const BLOCK: usize = 1 << 15;

/// What a pass over the rows needs per channel.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, T> {
    pub channels: usize,
    /// The activation's slope on its negative side.
    pub slope: T,
    pub scale: &'a [T],
    pub shift: &'a [T],
}

impl<T: Real> Rows<'_, T> {
    /// x·scale + shift.
    #[inline(always)]
    pub fn normalised<V: Vector<T>>(&self, x: V, channel: usize) -> V {
        x.fma(V::load(self.scale, channel), V::load(self.shift, channel))
    }

    /// `value` where `sign` is positive, `slope · value` elsewhere.
    #[inline(always)]
    pub fn rectified<V: Vector<T>>(&self, sign: V, value: V) -> V {
        sign.where_positive(value, value.times(V::splat(self.slope)))
    }

    #[allow(unsafe_code)]
    pub fn affine(&self, x: &[T]) -> Vec<T> {
        let block = rows_in_block(self.channels) * self.channels;
        let fill = |y: &mut [MaybeUninit<T>]| {
            y.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(y, x)| {
                simd::run(Affine { rows: *self, x, y });
            });
        };
        // SAFETY: the blocks cover y, and each is written completely.
        unsafe { filled(x.len(), fill) }
    }
}

/// [`Rows::affine`] in place, for values that are still in the cache.
pub(crate) struct AffineInPlace<'a, T> {
    pub rows: Rows<'a, T>,
    pub y: &'a mut [T],
}

impl<T: Real> Kernel for AffineInPlace<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let c = self.rows.channels;
        for y in self.y.chunks_exact_mut(c) {
            each_register!(I, T, c => self.rows.change_at(y));
        }
    }
}

struct Affine<'a, T> {
    rows: Rows<'a, T>,
    x: &'a [T],
    y: &'a mut [MaybeUninit<T>],
}

impl<T: Real> Kernel for Affine<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let c = self.rows.channels;
        for (x, y) in self.x.chunks_exact(c).zip(self.y.chunks_exact_mut(c)) {
            each_register!(I, T, c => self.rows.affine_at(x, y));
        }
    }
}

impl<T: Real> Rows<'_, T> {
    #[inline(always)]
    fn change_at<V: Vector<T>>(&self, y: &mut [T], at: usize) {
        let n = self.normalised(V::load(y, at), at);
        self.rectified(n, n).store(y, at);
    }

    #[inline(always)]
    fn affine_at<V: Vector<T>>(&self, x: &[T], y: &mut [MaybeUninit<T>], at: usize) {
        let n = self.normalised(V::load(x, at), at);
        self.rectified(n, n).write(y, at);
    }
}

pub(crate) fn rows_in_block(channels: usize) -> usize {
    (BLOCK / channels).max(1)
}

pub(crate) fn convert<T: Real>(x: &[f64]) -> Vec<T> {
    x.iter().map(|&v| T::from_f64(v)).collect()
}
