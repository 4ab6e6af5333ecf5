//! Tiles of pictures on their way into the transformed domain and back.

use super::filter::{Filter, OUTSIDE};
use super::{Plan, kernels};
use crate::simd::{Instructions, Register, Vector};
use crate::storage::Real;
use std::mem::MaybeUninit;

/// Distance between points: a whole number of cache lines, but not of pages, so that the points of one
/// tile do not all fall on the same few places of the cache.
pub(super) fn point_stride(numbers: usize) -> usize {
    numbers + 16
}

kernels! {
    TransformInput = transform_input(x: &'a [T], to: &'a mut [T]);
    FinishInput = finish_input(from: &'a [T], dx: &'a mut [T]);
    TransformOutput = transform_output(dy: &'a [T], to: &'a mut [T]);
    FinishOutput = finish_output(from: &'a [T], y: &'a mut [MaybeUninit<T>]);
}

/// The numbers from `at` on, as many as there are zeros; the zeros where it is [`OUTSIDE`].
#[inline(always)]
fn slice_or<'a, T>(zeros: &'a [T], numbers: &'a [T], at: usize) -> &'a [T] {
    if at == OUTSIDE { zeros } else { &numbers[at..at + zeros.len()] }
}

impl<F: Filter<M, S>, const M: usize, const S: usize> Plan<F, M, S> {
    /// Each tile of a block: its number, its picture, and its place among the picture's tiles.
    #[inline(always)]
    fn each_tile(&self, pictures: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
        let (down, across) = self.tiles;
        (0..pictures * down * across)
            .map(move |t| (t, t / (down * across), t / across % down, t % across))
    }

    /// Where in a block's pictures each point of a tile's phase lies; [`OUTSIDE`] for padding.
    #[inline(always)]
    fn places(&self, picture: usize, ty: usize, tx: usize, phase: usize) -> [[usize; S]; S] {
        let s = &self.s;
        let mut places = [[OUTSIDE; S]; S];
        for (u, row) in places.iter_mut().enumerate() {
            let y = (2 * (M * ty + u) + phase / 2).wrapping_sub(s.conv.padding);
            for (v, place) in row.iter_mut().enumerate() {
                let x = (2 * (M * tx + v) + phase % 2).wrapping_sub(s.conv.padding);
                if y < s.h && x < s.w {
                    *place = ((picture * s.h + y) * s.w + x) * s.i;
                }
            }
        }
        places
    }

    /// Where in a block's outputs each number of a tile lies; [`OUTSIDE`] beyond the edge.
    #[inline(always)]
    fn output_places(&self, picture: usize, ty: usize, tx: usize) -> [[usize; M]; M] {
        let s = &self.s;
        let mut places = [[OUTSIDE; M]; M];
        for (j, row) in places.iter_mut().enumerate() {
            for (k, place) in row.iter_mut().enumerate() {
                let (y, x) = (M * ty + j, M * tx + k);
                if y < s.oh && x < s.ow {
                    *place = ((picture * s.oh + y) * s.ow + x) * s.o;
                }
            }
        }
        places
    }

    /// X̃ = Bᵀ x B as [point, tile, phase, I].
    #[inline(always)]
    fn transform_input<I: Instructions, T: Real>(&self, x: &[T], to: &mut [T]) {
        let i = self.s.i;
        let stride = to.len() / (S * S);
        let zeros = vec![T::zero(); i];
        for (tile, picture, ty, tx) in self.each_tile(x.len() / self.s.picture()) {
            for phase in 0..4 {
                let places = self.places(picture, ty, tx, phase);
                let sources = places.map(|row| row.map(|at| slice_or(&zeros, x, at)));
                for c in (0..i).step_by(Register::<I, T>::LANES) {
                    let d = F::gather::<T, Register<I, T>>(&sources, c);
                    F::store(&F::input(&d), to, stride, (tile * 4 + phase) * i + c);
                }
            }
        }
    }

    /// dx = B dX̃ Bᵀ; neighbouring tiles overlap, so that dx starts as zeros and is added to.
    #[inline(always)]
    fn finish_input<I: Instructions, T: Real>(&self, from: &[T], dx: &mut [T]) {
        let i = self.s.i;
        let stride = from.len() / (S * S);
        for (tile, picture, ty, tx) in self.each_tile(dx.len() / self.s.picture()) {
            for phase in 0..4 {
                let places = self.places(picture, ty, tx, phase);
                for c in (0..i).step_by(Register::<I, T>::LANES) {
                    let at = (tile * 4 + phase) * i + c;
                    let e = F::load::<T, Register<I, T>>(from, stride, at);
                    F::add(&F::input_back(&e), dx, &places, c);
                }
            }
        }
    }

    /// dỹ = A dy Aᵀ as [point, tile, O].
    #[inline(always)]
    fn transform_output<I: Instructions, T: Real>(&self, dy: &[T], to: &mut [T]) {
        let o = self.s.o;
        let stride = to.len() / (S * S);
        let zeros = vec![T::zero(); o];
        for (tile, picture, ty, tx) in self.each_tile(dy.len() / (self.s.patches() * o)) {
            let places = self.output_places(picture, ty, tx);
            let sources = places.map(|row| row.map(|at| slice_or(&zeros, dy, at)));
            for c in (0..o).step_by(Register::<I, T>::LANES) {
                let d = F::gather_outputs::<T, Register<I, T>>(&sources, c);
                F::store(&F::output_back(&d), to, stride, tile * o + c);
            }
        }
    }

    /// y = Aᵀ ỹ A. Writes every number of `y`.
    #[inline(always)]
    fn finish_output<I: Instructions, T: Real>(&self, from: &[T], y: &mut [MaybeUninit<T>]) {
        let o = self.s.o;
        let stride = from.len() / (S * S);
        for (tile, picture, ty, tx) in self.each_tile(y.len() / (self.s.patches() * o)) {
            let places = self.output_places(picture, ty, tx);
            for c in (0..o).step_by(Register::<I, T>::LANES) {
                let m = F::load::<T, Register<I, T>>(from, stride, tile * o + c);
                F::write(&F::output(&m), y, &places, c);
            }
        }
    }
}
