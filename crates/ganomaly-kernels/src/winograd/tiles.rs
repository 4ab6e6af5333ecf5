//! Tiles of pictures on their way into the transformed domain and back.

// Loops over small arrays of known size: by index they stay in registers.
#![allow(clippy::needless_range_loop)]

use super::Plan;
use super::filter::{Filter, LANES, Lanes, lanes, sandwich, store};
use crate::storage::Real;

/// No place.
const OUTSIDE: usize = usize::MAX;

impl<F: Filter<M, S>, const M: usize, const S: usize> Plan<F, M, S> {
    /// Visits each tile of a block with its number, picture, and place among the picture's tiles.
    #[inline(always)]
    fn each_tile(&self, pictures: usize, mut visit: impl FnMut(usize, usize, usize, usize)) {
        let mut tile = 0;
        for picture in 0..pictures {
            for ty in 0..self.tiles.0 {
                for tx in 0..self.tiles.1 {
                    visit(tile, picture, ty, tx);
                    tile += 1;
                }
            }
        }
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
    pub(super) fn transform_input<T: Real>(&self, x: &[T], to: &mut [T]) {
        let i = self.s.i;
        let rows = to.len() / (S * S * 4 * i);
        self.each_tile(x.len() / self.s.picture(), |tile, picture, ty, tx| {
            for phase in 0..4 {
                let places = self.places(picture, ty, tx, phase);
                for c in (0..i).step_by(LANES) {
                    let mut d = [[Lanes::zero(); S]; S];
                    for u in 0..S {
                        for v in 0..S {
                            if places[u][v] != OUTSIDE {
                                d[u][v] = lanes(x, places[u][v] + c);
                            }
                        }
                    }
                    let t = sandwich(&F::BT, &d);
                    for u in 0..S {
                        for v in 0..S {
                            let at = (((u * S + v) * rows + tile) * 4 + phase) * i + c;
                            store(to, at, &t[u][v]);
                        }
                    }
                }
            }
        });
    }

    /// dx = B dX̃ Bᵀ; neighbouring tiles overlap, so that dx starts as zeros and is added to.
    #[inline(always)]
    pub(super) fn finish_input<T: Real>(&self, from: &[T], dx: &mut [T]) {
        let i = self.s.i;
        let rows = from.len() / (S * S * 4 * i);
        self.each_tile(dx.len() / self.s.picture(), |tile, picture, ty, tx| {
            for phase in 0..4 {
                let places = self.places(picture, ty, tx, phase);
                for c in (0..i).step_by(LANES) {
                    let mut d = [[Lanes::zero(); S]; S];
                    for u in 0..S {
                        for v in 0..S {
                            d[u][v] =
                                lanes(from, (((u * S + v) * rows + tile) * 4 + phase) * i + c);
                        }
                    }
                    let t = sandwich(&F::B, &d);
                    for u in 0..S {
                        for v in 0..S {
                            if places[u][v] != OUTSIDE {
                                let at = places[u][v] + c;
                                let sum = lanes(dx, at).plus(&t[u][v]);
                                store(dx, at, &sum);
                            }
                        }
                    }
                }
            }
        });
    }

    /// dỹ = A dy Aᵀ as [point, tile, O].
    #[inline(always)]
    pub(super) fn transform_output<T: Real>(&self, dy: &[T], to: &mut [T]) {
        let o = self.s.o;
        let rows = to.len() / (S * S * o);
        self.each_tile(dy.len() / (self.s.patches() * o), |tile, picture, ty, tx| {
            let places = self.output_places(picture, ty, tx);
            for c in (0..o).step_by(LANES) {
                let mut d = [[Lanes::zero(); M]; M];
                for j in 0..M {
                    for k in 0..M {
                        if places[j][k] != OUTSIDE {
                            d[j][k] = lanes(dy, places[j][k] + c);
                        }
                    }
                }
                let t = sandwich(&F::A, &d);
                for u in 0..S {
                    for v in 0..S {
                        store(to, ((u * S + v) * rows + tile) * o + c, &t[u][v]);
                    }
                }
            }
        });
    }

    /// y = Aᵀ ỹ A.
    #[inline(always)]
    pub(super) fn finish_output<T: Real>(&self, from: &[T], y: &mut [T]) {
        let o = self.s.o;
        let rows = from.len() / (S * S * o);
        self.each_tile(y.len() / (self.s.patches() * o), |tile, picture, ty, tx| {
            let places = self.output_places(picture, ty, tx);
            for c in (0..o).step_by(LANES) {
                let mut d = [[Lanes::zero(); S]; S];
                for u in 0..S {
                    for v in 0..S {
                        d[u][v] = lanes(from, ((u * S + v) * rows + tile) * o + c);
                    }
                }
                let t = sandwich(&F::AT, &d);
                for j in 0..M {
                    for k in 0..M {
                        if places[j][k] != OUTSIDE {
                            store(y, places[j][k] + c, &t[j][k]);
                        }
                    }
                }
            }
        });
    }
}
