//! Winograd's minimal filtering for the 4×4 convolution of stride 2, the one that these networks are made of.
//!
//! The even and the odd rows and columns of the padded input are its four phases, and of the kernel likewise: the
//! convolution is the sum over phases of 2×2 convolutions of stride 1 (kernel row 2a + p meets input row 2(y + a) + p). An M×M tile of such
//! an output needs (M + 1)² products a channel pair instead of 4·M²: 0.56 of the arithmetic for M = 2, 0.39 for M = 4.
//! The phases are summed in the transformed domain, as 4·I channels.
//!
//! With X̃ = Bᵀ x B, W̃ = G w Gᵀ and ỹ = Σ X̃ W̃, a tile is y = Aᵀ ỹ A (Lavin & Gray, Fast Algorithms for Convolutional Neural
//! Networks, 2015). Both gradients are this program transposed, with the same three matrices:
//! dỹ = A dy Aᵀ, dX̃ = dỹ W̃ᵀ, dx = B dX̃ Bᵀ, dW̃ = X̃ᵀ dỹ, dw = Gᵀ dW̃ G.

mod filter;
mod tiles;
mod weights;

use crate::conv::Shape;
use crate::cpu::vectorised;
use crate::gemm::{Threads, View, matmul};
use crate::storage::Real;
use filter::{F2, F4, Filter, LANES};
use rayon::prelude::*;
use std::marker::PhantomData;

/// Tiles that a block of pictures should have: enough rows for a matrix product, few enough for the cache.
const ROWS: usize = 64;
/// What the transformation of the weights costs, in rows of the products: measured on the paper's layers.
const WEIGHT_ROWS: usize = 40;

/// How to compute a convolution of this shape, chosen by arithmetic alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Method {
    Direct,
    Tiles2,
    Tiles4,
}

impl Method {
    pub fn of(s: &Shape) -> Self {
        let c = s.conv;
        let fits = (c.kernel, c.stride) == (4, 2)
            && s.i.is_multiple_of(LANES)
            && s.o.is_multiple_of(LANES);
        if !fits || s.n == 0 {
            return Self::Direct;
        }
        let cost = |m: usize| {
            let tiles = s.n * s.oh.div_ceil(m) * s.ow.div_ceil(m);
            (m + 1) * (m + 1) * (tiles + WEIGHT_ROWS)
        };
        let direct = 4 * s.n * s.oh * s.ow;
        [(direct, Self::Direct), (cost(2), Self::Tiles2), (cost(4), Self::Tiles4)]
            .into_iter()
            .min_by_key(|(cost, _)| *cost)
            .map_or(Self::Direct, |(_, method)| method)
    }
}

/// The forward pass, where a method other than the direct one is chosen.
pub(crate) fn forward<T: Real>(s: Shape, x: &[T], w: &[T]) -> Option<Vec<T>> {
    match Method::of(&s) {
        Method::Direct => None,
        Method::Tiles2 => Some(Plan::<F2, 2, 3>::new(s).forward(x, w)),
        Method::Tiles4 => Some(Plan::<F4, 4, 5>::new(s).forward(x, w)),
    }
}

/// The input's gradient, likewise.
pub(crate) fn backward_input<T: Real>(s: Shape, dy: &[T], w: &[T]) -> Option<Vec<T>> {
    match Method::of(&s) {
        Method::Direct => None,
        Method::Tiles2 => Some(Plan::<F2, 2, 3>::new(s).backward_input(dy, w)),
        Method::Tiles4 => Some(Plan::<F4, 4, 5>::new(s).backward_input(dy, w)),
    }
}

/// The weight's gradient, likewise.
pub(crate) fn backward_weight<T: Real>(s: Shape, x: &[T], dy: &[T]) -> Option<Vec<T>> {
    match Method::of(&s) {
        Method::Direct => None,
        Method::Tiles2 => Some(Plan::<F2, 2, 3>::new(s).backward_weight(x, dy)),
        Method::Tiles4 => Some(Plan::<F4, 4, 5>::new(s).backward_weight(x, dy)),
    }
}

/// One convolution cut into tiles.
struct Plan<F, const M: usize, const S: usize> {
    s: Shape,
    filter: PhantomData<F>,
    /// Tiles down and across a picture.
    tiles: (usize, usize),
    /// Pictures in a block.
    block: usize,
}

impl<F: Filter<M, S>, const M: usize, const S: usize> Plan<F, M, S> {
    fn new(s: Shape) -> Self {
        let tiles = (s.oh.div_ceil(M), s.ow.div_ceil(M));
        let block = ROWS.div_ceil(tiles.0 * tiles.1).min(s.n.div_ceil(2)).max(1);
        Self { s, filter: PhantomData, tiles, block }
    }

    /// Numbers in one point's transformed weights: [phase, I, O].
    fn weights(&self) -> usize {
        4 * self.s.i * self.s.o
    }

    /// Tiles of so many pictures.
    fn rows(&self, pictures: usize) -> usize {
        pictures * self.tiles.0 * self.tiles.1
    }

    fn forward<T: Real>(&self, x: &[T], w: &[T]) -> Vec<T> {
        let Shape { n, i, o, .. } = self.s;
        let (picture, out) = (self.s.picture(), self.s.patches() * o);
        let weights = self.transform_weights(w);
        let mut y = vec![T::zero(); n * out];
        y.par_chunks_mut(self.block * out).zip(x.par_chunks(self.block * picture)).for_each(
            |(y, x)| {
                let rows = self.rows(x.len() / picture);
                T::with_scratch(S * S * rows * (4 * i + o), |scratch| {
                    let (xt, yt) = scratch.split_at_mut(S * S * rows * 4 * i);
                    vectorised(|| self.transform_input(x, xt));
                    self.each_product(rows, (xt, 4 * i), yt, (&weights, View::rows(o)));
                    vectorised(|| self.finish_output(yt, y));
                });
            },
        );
        y
    }

    fn backward_input<T: Real>(&self, dy: &[T], w: &[T]) -> Vec<T> {
        let Shape { n, i, o, .. } = self.s;
        let (picture, out) = (self.s.picture(), self.s.patches() * o);
        let weights = self.transform_weights(w);
        let mut dx = vec![T::zero(); n * picture];
        dx.par_chunks_mut(self.block * picture).zip(dy.par_chunks(self.block * out)).for_each(
            |(dx, dy)| {
                let rows = self.rows(dx.len() / picture);
                T::with_scratch(S * S * rows * (4 * i + o), |scratch| {
                    let (xt, yt) = scratch.split_at_mut(S * S * rows * 4 * i);
                    vectorised(|| self.transform_output(dy, yt));
                    self.each_product(rows, (yt, o), xt, (&weights, View::transposed(o)));
                    vectorised(|| self.finish_input(xt, dx));
                });
            },
        );
        dx
    }

    /// `to[point] = from[point] · weights[point]` for a block of `rows` tiles.
    fn each_product<T: Real>(
        &self,
        rows: usize,
        (from, inner): (&[T], usize),
        to: &mut [T],
        (weights, view): (&[T], View),
    ) {
        let outer = self.weights() / inner;
        let points = to.chunks_mut(rows * outer).zip(from.chunks(rows * inner));
        for ((to, from), w) in points.zip(weights.chunks(self.weights())) {
            let sizes = (rows, outer, inner);
            matmul(sizes, to, (from, View::rows(inner)), (w, view), false, Threads::One);
        }
    }

    fn backward_weight<T: Real>(&self, x: &[T], dy: &[T]) -> Vec<T> {
        let Shape { n, i, o, .. } = self.s;
        let (picture, out) = (self.s.picture(), self.s.patches() * o);
        let block = self.rows(self.block) * S * S;
        let all = self.rows(n) * S * S;
        let (mut xt, mut yt) = (vec![T::zero(); all * 4 * i], vec![T::zero(); all * o]);
        xt.par_chunks_mut(block * 4 * i)
            .zip(yt.par_chunks_mut(block * o))
            .zip(x.par_chunks(self.block * picture).zip(dy.par_chunks(self.block * out)))
            .for_each(|((xt, yt), (x, dy))| {
                vectorised(|| self.transform_input(x, xt));
                vectorised(|| self.transform_output(dy, yt));
            });
        let mut weights = vec![T::zero(); S * S * self.weights()];
        weights.par_chunks_mut(self.weights()).enumerate().for_each(|(point, dw)| {
            for (index, (xt, yt)) in xt.chunks(block * 4 * i).zip(yt.chunks(block * o)).enumerate()
            {
                let rows = xt.len() / (S * S * 4 * i);
                let (xt, yt) = (&xt[point * rows * 4 * i..], &yt[point * rows * o..]);
                let (a, b) = ((xt, View::transposed(4 * i)), (yt, View::rows(o)));
                matmul((4 * i, o, rows), dw, a, b, index > 0, Threads::One);
            }
        });
        self.finish_weights(&weights)
    }
}
