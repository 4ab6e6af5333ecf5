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
use crate::cpu::for_level;
use crate::fold::apply;
use crate::product::{Piece, Product};
use crate::rows::Rows;
use crate::simd::{Instructions, LANES};
use crate::storage::{Real, filled, with_buffer, zeroed};
use filter::{F2, F4, Filter};
use rayon::prelude::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use tiles::{FinishInput, FinishOutput, TransformInput, TransformOutput, point_stride};
use weights::{Panels, Way, transposed};

/// Tiles that a block of pictures should have: enough rows for a matrix product, few enough for the cache.
const ROWS: usize = 32;
/// Numbers of transformed inputs and outputs that a weight's gradient holds at a time.
const CHUNK: usize = 1 << 22;
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

/// Methods of [`Plan`] as kernels.
macro_rules! kernels {
    ($($name:ident = $method:ident($($arg:ident: $type:ty),*);)*) => {$(
        pub(super) struct $name<'a, T, F, const M: usize, const S: usize> {
            pub plan: &'a Plan<F, M, S>,
            $(pub $arg: $type),*
        }

        impl<T: Real, F: Filter<M, S>, const M: usize, const S: usize> crate::simd::Kernel
            for $name<'_, T, F, M, S>
        {
            type Output = ();
            #[inline(always)]
            fn run<I: Instructions>(self) {
                self.plan.$method::<I, T>($(self.$arg),*);
            }
        }
    )*};
}
use kernels;

/// The forward pass, where a method other than the direct one is chosen.
pub(crate) fn forward<T: Real>(
    s: Shape,
    x: &[T],
    w: &[T],
    fold: Option<Rows<'_, T>>,
) -> Option<Vec<T>> {
    for_level!(I => match Method::of(&s) {
        Method::Direct => None,
        Method::Tiles2 => Some(Plan::<F2, 2, 3>::new(s).forward::<I, T>(x, w, fold)),
        Method::Tiles4 => Some(Plan::<F4, 4, 5>::new(s).forward::<I, T>(x, w, fold)),
    })
}

/// The input's gradient, likewise.
pub(crate) fn backward_input<T: Real>(
    s: Shape,
    dy: &[T],
    w: &[T],
    fold: Option<Rows<'_, T>>,
) -> Option<Vec<T>> {
    for_level!(I => match Method::of(&s) {
        Method::Direct => None,
        Method::Tiles2 => Some(Plan::<F2, 2, 3>::new(s).backward_input::<I, T>(dy, w, fold)),
        Method::Tiles4 => Some(Plan::<F4, 4, 5>::new(s).backward_input::<I, T>(dy, w, fold)),
    })
}

/// The weight's gradient, likewise.
pub(crate) fn backward_weight<T: Real>(s: Shape, x: &[T], dy: &[T]) -> Option<Vec<T>> {
    for_level!(I => match Method::of(&s) {
        Method::Direct => None,
        Method::Tiles2 => Some(Plan::<F2, 2, 3>::new(s).backward_weight::<I, T>(x, dy)),
        Method::Tiles4 => Some(Plan::<F4, 4, 5>::new(s).backward_weight::<I, T>(x, dy)),
    })
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

#[allow(unsafe_code)]
impl<F: Filter<M, S>, const M: usize, const S: usize> Plan<F, M, S> {
    fn new(s: Shape) -> Self {
        let tiles = (s.oh.div_ceil(M), s.ow.div_ceil(M));
        let block = ROWS.div_ceil(tiles.0 * tiles.1).min(s.n.div_ceil(2)).max(1);
        Self { s, filter: PhantomData, tiles, block }
    }

    /// Tiles of so many pictures.
    fn rows(&self, pictures: usize) -> usize {
        pictures * self.tiles.0 * self.tiles.1
    }

    /// Distances between points of `rows` transformed tiles: inputs and outputs.
    fn strides(&self, rows: usize) -> (usize, usize) {
        (point_stride(rows * 4 * self.s.i), point_stride(rows * self.s.o))
    }

    fn forward<I: Instructions, T: Real>(
        &self,
        x: &[T],
        w: &[T],
        fold: Option<Rows<'_, T>>,
    ) -> Vec<T> {
        let (picture, out) = (self.s.picture(), self.s.patches() * self.s.o);
        let panels = self.panels::<I, T>(Way::Forward);
        with_buffer(panels.len(), |weights| {
            self.transform_weights::<I, T>(Way::Forward, w, &panels, weights);
            let block = |(y, x): (&mut [MaybeUninit<T>], &[T])| {
                let rows = self.rows(x.len() / picture);
                let (xs, ys) = self.strides(rows);
                with_buffer(S * S * (xs + ys), |buffer| {
                    let (xt, yt) = buffer.split_at_mut(S * S * xs);
                    I::run(TransformInput { plan: self, x, to: xt });
                    self.each_product::<I, T>(rows, (xt, xs), (yt, ys), weights, &panels);
                    I::run(FinishOutput { plan: self, from: yt, y: &mut *y });
                    // SAFETY: `finish_output` has written each number of the block.
                    apply(fold, unsafe { y.assume_init_mut() });
                });
            };
            let fill = |y: &mut [MaybeUninit<T>]| {
                y.par_chunks_mut(self.block * out)
                    .zip(x.par_chunks(self.block * picture))
                    .for_each(block);
            };
            // SAFETY: the blocks cover y, and `finish_output` writes each number of a block.
            unsafe { filled(self.s.n * out, fill) }
        })
    }

    fn backward_input<I: Instructions, T: Real>(
        &self,
        dy: &[T],
        w: &[T],
        fold: Option<Rows<'_, T>>,
    ) -> Vec<T> {
        let (picture, out) = (self.s.picture(), self.s.patches() * self.s.o);
        let panels = self.panels::<I, T>(Way::Backward);
        with_buffer(panels.len(), |weights| {
            with_buffer(w.len(), |turned| {
                transposed(w, (self.s.i, self.s.o), turned);
                self.transform_weights::<I, T>(Way::Backward, turned, &panels, weights);
            });
            let block = |(dx, dy): (&mut [MaybeUninit<T>], &[T])| {
                let rows = self.rows(dx.len() / picture);
                let (xs, ys) = self.strides(rows);
                with_buffer(S * S * (xs + ys), |buffer| {
                    let (xt, yt) = buffer.split_at_mut(S * S * xs);
                    I::run(TransformOutput { plan: self, dy, to: yt });
                    self.each_product::<I, T>(rows, (yt, ys), (xt, xs), weights, &panels);
                    let dx = zeroed(dx);
                    I::run(FinishInput { plan: self, from: xt, dx: &mut *dx });
                    apply(fold, dx);
                });
            };
            let fill = |dx: &mut [MaybeUninit<T>]| {
                dx.par_chunks_mut(self.block * picture)
                    .zip(dy.par_chunks(self.block * out))
                    .for_each(block);
            };
            // SAFETY: the blocks cover dx, and each is zeroed before it is added to.
            unsafe { filled(self.s.n * picture, fill) }
        })
    }

    /// `to[point] = from[point] · weights[point]` for a block of `rows` tiles.
    fn each_product<I: Instructions, T: Real>(
        &self,
        rows: usize,
        (from, from_stride): (&[T], usize),
        (to, to_stride): (&mut [T], usize),
        weights: &[T],
        panels: &Panels,
    ) {
        let points = from.chunks(from_stride).zip(to.chunks_mut(to_stride));
        for (point, (a, c)) in points.enumerate() {
            I::multiply(Product {
                m: rows,
                n: panels.outer,
                pieces: &[Piece { a: 0, b: point * panels.point, len: panels.inner }],
                a,
                a_strides: (panels.inner, 1),
                b: weights,
                b_strides: (panels.width, panels.panel),
                c,
                c_stride: panels.outer,
                accumulate: false,
            });
        }
    }

    fn backward_weight<I: Instructions, T: Real>(&self, x: &[T], dy: &[T]) -> Vec<T> {
        let Shape { i, o, .. } = self.s;
        let (picture, out) = (self.s.picture(), self.s.patches() * o);
        let stride = point_stride(4 * i * o);
        with_buffer(S * S * stride, |weights| {
            // As many blocks at a time as fit the buffer, so that large pictures do not ask for all memory at once.
            let (xs, ys) = self.strides(self.rows(self.block));
            let blocks = (CHUNK / (S * S * (xs + ys))).max(1);
            let pictures = blocks * self.block;
            let chunks = x.chunks(pictures * picture).zip(dy.chunks(pictures * out));
            for (chunk, (x, dy)) in chunks.enumerate() {
                self.add_products::<I, T>(x, dy, (weights, stride), chunk > 0);
            }
            self.finish_weights::<I, T>(weights)
        })
    }

    /// `weights[point] (+)= X̃ᵀ dỹ` over some pictures.
    fn add_products<I: Instructions, T: Real>(
        &self,
        x: &[T],
        dy: &[T],
        (weights, stride): (&mut [T], usize),
        accumulate: bool,
    ) {
        let Shape { i, o, .. } = self.s;
        let (picture, out) = (self.s.picture(), self.s.patches() * o);
        let blocks = (x.len() / picture).div_ceil(self.block);
        let (xs, ys) = self.strides(self.rows(self.block));
        with_buffer(blocks * S * S * (xs + ys), |buffer| {
            let (xt, yt) = buffer.split_at_mut(blocks * S * S * xs);
            let pictures = x.par_chunks(self.block * picture).zip(dy.par_chunks(self.block * out));
            xt.par_chunks_mut(S * S * xs)
                .zip(yt.par_chunks_mut(S * S * ys))
                .zip(pictures)
                .for_each(|((xt, yt), (x, dy))| {
                    I::run(TransformInput { plan: self, x, to: xt });
                    I::run(TransformOutput { plan: self, dy, to: yt });
                });
            weights.par_chunks_mut(stride).enumerate().for_each(|(point, c)| {
                let piece = |(block, x): (usize, &[T])| Piece {
                    a: block * S * S * xs + point * xs,
                    b: block * S * S * ys + point * ys,
                    len: self.rows(x.len() / picture),
                };
                let pieces: Vec<Piece> =
                    x.chunks(self.block * picture).enumerate().map(piece).collect();
                I::multiply(Product {
                    m: 4 * i,
                    n: o,
                    pieces: &pieces,
                    a: xt,
                    a_strides: (1, 4 * i),
                    b: yt,
                    b_strides: (o, I::panel::<T>()),
                    c,
                    c_stride: o,
                    accumulate,
                });
            });
        });
    }
}
