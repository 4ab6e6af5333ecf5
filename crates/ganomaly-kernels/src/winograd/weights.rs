//! Kernels on their way into the transformed domain, and their gradients on the way back.

use super::filter::Filter;
use super::tiles::point_stride;
use super::{Plan, kernels};
use crate::simd::{Instructions, Register, Vector};
use crate::storage::Real;
use rayon::prelude::*;

/// Which way the products run.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Way {
    /// From 4·I transformed channels to O.
    Forward,
    /// From O back to 4·I.
    Backward,
}

/// Transformed weights as [panel, point, inner, columns of a block], as [`Product`](crate::product::Product) reads them.
pub(super) struct Panels {
    pub inner: usize,
    pub outer: usize,
    /// Columns of a panel.
    pub width: usize,
    /// Distance between points.
    pub point: usize,
    /// Distance between panels.
    pub panel: usize,
}

impl Panels {
    pub fn len(&self) -> usize {
        self.outer.div_ceil(self.width) * self.panel
    }
}

kernels! {
    TransformPanel = transform_panel(
        way: Way, w: &'a [T], panels: &'a Panels, panel: usize, to: &'a mut [T]
    );
    FinishSegment = finish_segment(weights: &'a [T], from: usize, taps: &'a mut [&'a mut [T]]);
}

/// Row and column of a phase's four taps.
const TAPS: [(usize, usize); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

/// Numbers of a kernel's plane that one task brings back.
const SEGMENT: usize = 1 << 13;

impl<F: Filter<M, S>, const M: usize, const S: usize> Plan<F, M, S> {
    pub(super) fn panels<I: Instructions, T: Real>(&self, way: Way) -> Panels {
        let (i, o) = (self.s.i, self.s.o);
        let (inner, outer) = if way == Way::Forward { (4 * i, o) } else { (o, 4 * i) };
        let width = I::panel::<T>();
        let point = point_stride(inner * width);
        Panels { inner, outer, width, point, panel: S * S * point }
    }

    /// W̃ = G w Gᵀ, w being [K, K, A, B] with B = O forward and B = I backward.
    pub(super) fn transform_weights<I: Instructions, T: Real>(
        &self,
        way: Way,
        w: &[T],
        panels: &Panels,
        to: &mut [T],
    ) {
        to.par_chunks_mut(panels.panel).enumerate().for_each(|(panel, to)| {
            I::run(TransformPanel { plan: self, way, w, panels, panel, to });
        });
    }

    #[inline(always)]
    fn transform_panel<I: Instructions, T: Real>(
        &self,
        way: Way,
        w: &[T],
        panels: &Panels,
        panel: usize,
        to: &mut [T],
    ) {
        let (i, o) = (self.s.i, self.s.o);
        let first = panel * panels.width;
        let columns = first..panels.outer.min(first + panels.width);
        for column in columns.step_by(Register::<I, T>::LANES) {
            let at = column - first;
            match way {
                Way::Forward => {
                    for phase in 0..4 {
                        let at = at + phase * i * panels.width;
                        self.transform_column::<I, T>(w, (i, o), (phase, column), to, at, panels);
                    }
                }
                Way::Backward => {
                    let place = (column / i, column % i);
                    self.transform_column::<I, T>(w, (o, i), place, to, at, panels);
                }
            }
        }
    }

    /// One phase's column of registers, w being [K, K, A, B], from `at` on in each point of a panel.
    #[inline(always)]
    fn transform_column<I: Instructions, T: Real>(
        &self,
        w: &[T],
        (a, b): (usize, usize),
        (phase, column): (usize, usize),
        to: &mut [T],
        at: usize,
        panels: &Panels,
    ) {
        let [t00, t01, t10, t11] = TAPS.map(|(y, x)| {
            let (ky, kx) = (2 * y + phase / 2, 2 * x + phase % 2);
            &w[(ky * 4 + kx) * a * b..][..a * b]
        });
        for row in 0..a {
            let from = row * b + column;
            let w = [
                [Register::<I, T>::load(t00, from), Vector::load(t01, from)],
                [Vector::load(t10, from), Vector::load(t11, from)],
            ];
            F::store(&F::kernel(&w), to, panels.point, at + row * panels.width);
        }
    }

    /// dw = Gᵀ dW̃ G as [K, K, I, O] from dW̃ as [point, phase, I, O].
    pub(super) fn finish_weights<I: Instructions, T: Real>(&self, weights: &[T]) -> Vec<T> {
        let plane = self.s.i * self.s.o;
        let mut dw = vec![T::zero(); 16 * plane];
        // The four taps of each phase, a segment at a time.
        let mut tasks: Vec<Vec<&mut [T]>> = Vec::new();
        let mut planes: Vec<_> = dw.chunks_mut(plane).map(|p| p.chunks_mut(SEGMENT)).collect();
        for _ in 0..plane.div_ceil(SEGMENT) {
            for phase in 0..4 {
                let segment = |(y, x): (usize, usize)| {
                    planes[4 * (2 * y + phase / 2) + 2 * x + phase % 2].next()
                };
                tasks.push(TAPS.into_iter().filter_map(segment).collect());
            }
        }
        tasks.into_par_iter().enumerate().for_each(|(task, mut taps)| {
            let from = task % 4 * plane + task / 4 * SEGMENT;
            I::run(FinishSegment { plan: self, weights, from, taps: &mut taps });
        });
        dw
    }

    /// The taps (0, 0), (0, 1), (1, 0), (1, 1) of a stretch of a phase that starts at `from` in each point.
    #[inline(always)]
    fn finish_segment<I: Instructions, T: Real>(
        &self,
        weights: &[T],
        from: usize,
        taps: &mut [&mut [T]],
    ) {
        let [t00, t01, t10, t11] = taps else { return };
        let stride = weights.len() / (S * S);
        for at in (0..t00.len()).step_by(Register::<I, T>::LANES) {
            let e = F::load::<T, Register<I, T>>(weights, stride, from + at);
            let [[w00, w01], [w10, w11]] = F::kernel_back(&e);
            w00.store(t00, at);
            w01.store(t01, at);
            w10.store(t10, at);
            w11.store(t11, at);
        }
    }
}

/// [K, K, I, O] to [K, K, O, I].
pub(super) fn transposed<T: Real>(w: &[T], (i, o): (usize, usize), to: &mut [T]) {
    /// Side of the squares that are turned: both their rows and their columns stay in the nearest cache.
    const SIDE: usize = 16;
    to.par_chunks_mut(SIDE * i).enumerate().for_each(|(block, to)| {
        // Sides divide o, so that no block lies in two planes.
        let (plane, column) = (block * SIDE / o, block * SIDE % o);
        let w = &w[plane * i * o..][..i * o];
        for row in (0..i).step_by(SIDE) {
            for c in 0..SIDE {
                for r in 0..SIDE {
                    to[c * i + row + r] = w[(row + r) * o + column + c];
                }
            }
        }
    });
}
