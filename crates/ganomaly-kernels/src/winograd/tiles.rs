//! Transforms tiles of images, there and back.

use super::filter::{Filter, OUTSIDE};
use super::{Plan, kernels};
use crate::simd::{Instructions, Register, Vector};
use crate::storage::{Real, Shared};

/// Distance between points: a whole number of cache lines, but not of pages, so that the points of
/// one tile do not all map to the same few cache sets.
pub(super) fn point_stride(numbers: usize) -> usize {
    numbers + 16
}

/// Results of some tiles, still transformed: all points of some columns.
#[derive(Clone, Copy)]
pub(super) struct Finished<'a, T> {
    /// [point, tile, column].
    pub from: &'a [T],
    /// Which of a tile's elements at a point these are.
    pub columns: (usize, usize),
    /// Distance between tiles.
    pub tile: usize,
    /// The images that the tiles belong to.
    pub images: (usize, usize),
}

kernels! {
    TransformInput = transform_input(x: &'a [T], to: &'a mut [T]);
    FinishInput = finish_input(results: Finished<'a, T>, dx: Shared<'a, T>);
    TransformOutput = transform_output(dy: &'a [T], to: &'a mut [T]);
    FinishOutput = finish_output(results: Finished<'a, T>, y: Shared<'a, T>);
}

/// As many elements from `at` on as there are zeros, or the zeros if `at` is [`OUTSIDE`].
#[inline(always)]
fn slice_or<'a, T>(zeros: &'a [T], numbers: &'a [T], at: usize) -> &'a [T] {
    if at == OUTSIDE { zeros } else { &numbers[at..at + zeros.len()] }
}

impl<F: Filter<M, S>, const M: usize, const S: usize> Plan<F, M, S> {
    /// Each tile of a block: its index, its image, and its row and column among the image's tiles.
    #[inline(always)]
    fn each_tile(&self, images: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
        let (down, across) = self.tiles;
        (0..images * down * across)
            .map(move |t| (t, t / (down * across), t / across % down, t % across))
    }

    /// The index in a block's images of each point of a tile's phase; [`OUTSIDE`] for padding.
    #[inline(always)]
    fn places(&self, image: usize, ty: usize, tx: usize, phase: usize) -> [[usize; S]; S] {
        let s = &self.s;
        let mut places = [[OUTSIDE; S]; S];
        for (u, row) in places.iter_mut().enumerate() {
            let y = (2 * (M * ty + u) + phase / 2).wrapping_sub(s.conv.padding);
            for (v, place) in row.iter_mut().enumerate() {
                let x = (2 * (M * tx + v) + phase % 2).wrapping_sub(s.conv.padding);
                if y < s.h && x < s.w {
                    *place = ((image * s.h + y) * s.w + x) * s.i;
                }
            }
        }
        places
    }

    /// The index in a block's outputs of each element of a tile; [`OUTSIDE`] beyond the edge.
    #[inline(always)]
    fn output_places(&self, image: usize, ty: usize, tx: usize) -> [[usize; M]; M] {
        let s = &self.s;
        let mut places = [[OUTSIDE; M]; M];
        for (j, row) in places.iter_mut().enumerate() {
            for (k, place) in row.iter_mut().enumerate() {
                let (y, x) = (M * ty + j, M * tx + k);
                if y < s.oh && x < s.ow {
                    *place = ((image * s.oh + y) * s.ow + x) * s.o;
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
        for (tile, image, ty, tx) in self.each_tile(x.len() / self.s.image()) {
            for phase in 0..4 {
                let places = self.places(image, ty, tx, phase);
                let sources = places.map(|row| row.map(|at| slice_or(&zeros, x, at)));
                for c in (0..i).step_by(Register::<I, T>::LANES) {
                    let d = F::gather::<T, Register<I, T>>(&sources, c);
                    F::store(&F::input(&d), to, stride, (tile * 4 + phase) * i + c);
                }
            }
        }
    }

    /// dx = B dX̃ Bᵀ; neighbouring tiles overlap, so dx starts as zeros and is added to. The
    /// columns are 4 phases of I channels.
    #[inline(always)]
    fn finish_input<I: Instructions, T: Real>(&self, results: Finished<'_, T>, dx: Shared<'_, T>) {
        let Finished { from, columns: (first, end), tile: distance, images } = results;
        let i = self.s.i;
        let stride = from.len() / (S * S);
        for (tile, image, ty, tx) in self.each_tile(images.1 - images.0) {
            for phase in first / i..end.div_ceil(i) {
                let places = self.places(images.0 + image, ty, tx, phase);
                let channels = first.max(phase * i)..end.min((phase + 1) * i);
                for column in channels.step_by(Register::<I, T>::LANES) {
                    let at = tile * distance + column - first;
                    let e = F::load::<T, Register<I, T>>(from, stride, at);
                    F::add(&F::input_back(&e), dx, &places, column - phase * i);
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
        for (tile, image, ty, tx) in self.each_tile(dy.len() / (self.s.patches() * o)) {
            let places = self.output_places(image, ty, tx);
            let sources = places.map(|row| row.map(|at| slice_or(&zeros, dy, at)));
            for c in (0..o).step_by(Register::<I, T>::LANES) {
                let d = F::gather_outputs::<T, Register<I, T>>(&sources, c);
                F::store(&F::output_back(&d), to, stride, tile * o + c);
            }
        }
    }

    /// y = Aᵀ ỹ A. The columns are channels, and all their elements are written.
    #[inline(always)]
    fn finish_output<I: Instructions, T: Real>(&self, results: Finished<'_, T>, y: Shared<'_, T>) {
        let Finished { from, columns: (first, end), tile: distance, images } = results;
        let stride = from.len() / (S * S);
        for (tile, image, ty, tx) in self.each_tile(images.1 - images.0) {
            let places = self.output_places(images.0 + image, ty, tx);
            for channel in (first..end).step_by(Register::<I, T>::LANES) {
                let at = tile * distance + channel - first;
                let m = F::load::<T, Register<I, T>>(from, stride, at);
                F::write(&F::output(&m), y, &places, channel);
            }
        }
    }
}
