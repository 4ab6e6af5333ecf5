//! Kernels on their way into the transformed domain, and their gradients on the way back.

// Loops over small arrays of known size: by index they stay in registers.
#![allow(clippy::needless_range_loop)]

use super::Plan;
use super::filter::{Filter, combine};
use super::tiles::point_stride;
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
        let (a, b) = if way == Way::Forward { (self.s.i, self.s.o) } else { (self.s.o, self.s.i) };
        let lanes = Register::<I, T>::LANES;
        to.par_chunks_mut(panels.panel).enumerate().for_each(|(panel, to)| {
            I::run(|| {
                let first = panel * panels.width;
                for column in (first..panels.outer.min(first + panels.width)).step_by(lanes) {
                    match way {
                        Way::Forward => {
                            for phase in 0..4 {
                                let at = phase * a * panels.width + column - first;
                                self.columns::<I, T>(w, (a, b), (phase, column), to, at, panels);
                            }
                        }
                        Way::Backward => {
                            let place = (column / b, column % b);
                            self.columns::<I, T>(w, (a, b), place, to, column - first, panels);
                        }
                    }
                }
            });
        });
    }

    /// One phase's column of registers, from `at` on in each point of a panel.
    #[inline(always)]
    fn columns<I: Instructions, T: Real>(
        &self,
        w: &[T],
        (a, b): (usize, usize),
        (phase, column): (usize, usize),
        to: &mut [T],
        at: usize,
        panels: &Panels,
    ) {
        let tap = |y: usize, x: usize| {
            let (ky, kx) = (2 * y + phase / 2, 2 * x + phase % 2);
            &w[(ky * 4 + kx) * a * b..][..a * b]
        };
        let taps = [tap(0, 0), tap(1, 0), tap(0, 1), tap(1, 1)];
        for row in 0..a {
            let at_row = row * b + column;
            let w00 = Register::<I, T>::load(taps[0], at_row);
            let w10 = Register::<I, T>::load(taps[1], at_row);
            let w01 = Register::<I, T>::load(taps[2], at_row);
            let w11 = Register::<I, T>::load(taps[3], at_row);
            for u in 0..S {
                let down = [combine(&F::G[u], &[w00, w10]), combine(&F::G[u], &[w01, w11])];
                for v in 0..S {
                    let at = (u * S + v) * panels.point + at + row * panels.width;
                    combine(&F::G[v], &down).store(to, at);
                }
            }
        }
    }

    /// dw = Gᵀ dW̃ G as [K, K, I, O] from dW̃ as [point, phase, I, O].
    pub(super) fn finish_weights<I: Instructions, T: Real>(&self, weights: &[T]) -> Vec<T> {
        let plane = self.s.i * self.s.o;
        let stride = weights.len() / (S * S);
        let mut dw = vec![T::zero(); 16 * plane];
        // The four taps of each phase, a segment at a time.
        let mut tasks: Vec<Vec<&mut [T]>> = Vec::new();
        let mut taps: Vec<_> = dw.chunks_mut(plane).map(|p| p.chunks_mut(SEGMENT)).collect();
        for _ in 0..plane.div_ceil(SEGMENT) {
            for phase in 0..4 {
                let places = [(0, 0), (0, 1), (1, 0), (1, 1)];
                let tap = |(a, b): (usize, usize)| 4 * (2 * a + phase / 2) + 2 * b + phase % 2;
                tasks.push(places.into_iter().filter_map(|p: (usize, usize)| taps[tap(p)].next()).collect());
            }
        }
        tasks.into_par_iter().enumerate().for_each(|(task, mut taps)| {
            let from = task % 4 * plane + task / 4 * SEGMENT;
            let [t00, t01, t10, t11] = &mut taps[..] else { return };
            I::run(|| {
                for at in (0..t00.len()).step_by(Register::<I, T>::LANES) {
                    let zero = Register::<I, T>::splat(T::zero());
                    let (mut low, mut high) = ([zero; S], [zero; S]);
                    for v in 0..S {
                        let mut column = [zero; S];
                        for u in 0..S {
                            column[u] = Vector::load(weights, (u * S + v) * stride + from + at);
                        }
                        low[v] = combine(&F::GT[0], &column);
                        high[v] = combine(&F::GT[1], &column);
                    }
                    combine(&F::GT[0], &low).store(t00, at);
                    combine(&F::GT[1], &low).store(t01, at);
                    combine(&F::GT[0], &high).store(t10, at);
                    combine(&F::GT[1], &high).store(t11, at);
                }
            });
        });
        dw
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
