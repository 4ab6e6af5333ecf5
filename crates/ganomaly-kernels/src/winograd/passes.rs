//! The three passes: to the output, to the input's gradient, to the weight's gradient.
//!
//! The larger of transformed weights and transformed images never leaves a core's cache: it is made
//! in pieces, and each piece is multiplied immediately.

use super::filter::Filter;
use super::tiles::{
    FinishInput, FinishOutput, Finished, TransformInput, TransformOutput, point_stride,
};
use super::weights::{FinishWeights, Panels, SIDE, WeightsPart};
use super::{End, Plan, Way};
use crate::fold::apply;
use crate::product::{Piece, Product};
use crate::rows::Rows;
use crate::simd::Instructions;
use crate::storage::{Real, Shared, filled, with_buffer};
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Elements of transformed inputs and outputs that a weight gradient holds at a time, so that they
/// stay in the shared cache.
const HELD: usize = 1 << 20;
/// Minimum number of tiles held, so that the transformation of the weight gradient pays off.
const HELD_TILES: usize = 64;

#[allow(unsafe_code)]
impl<F: Filter<M, S>, const M: usize, const S: usize> Plan<F, M, S> {
    /// The output from the input, or the input's gradient from the output's.
    pub(super) fn pass<I: Instructions, T: Real>(
        &self,
        way: Way,
        from: &[T],
        w: &[T],
        fold: Option<Rows<'_, T>>,
    ) -> Vec<T> {
        let (source, target) = self.ends(way);
        let fill = |to: &mut [MaybeUninit<T>]| {
            let weights = source.columns * target.columns;
            let images = self.rows(self.s.n) * (source.columns + target.columns);
            // SAFETY: tasks differ in their images or in their panels.
            let to = unsafe { Shared::new(to) };
            if 2 * weights > 3 * images {
                self.by_panels::<I, T>(way, from, w, fold, to);
            } else {
                self.by_blocks::<I, T>(way, from, w, fold, to);
            }
        };
        // SAFETY: both methods write every element of every image.
        unsafe { filled(self.s.n * target.image, fill) }
    }

    /// Transforms all weights first, then takes each block of images through the three stages.
    fn by_blocks<I: Instructions, T: Real>(
        &self,
        way: Way,
        from: &[T],
        w: &[T],
        fold: Option<Rows<'_, T>>,
        to: Shared<'_, T>,
    ) {
        let (source, target) = self.ends(way);
        let panels = self.panels::<I, T>(way);
        with_buffer(panels.len(), |weights| {
            weights.par_chunks_mut(panels.panel).enumerate().for_each(|(panel, weights)| {
                for inner in self.parts::<I, T>(way) {
                    let at = inner.start * panels.width;
                    let part = WeightsPart { panel, inner, at, point: panels.point };
                    self.transform_weights::<I, T>(way, w, part, weights);
                }
            });
            let blocks = from.par_chunks(self.block * source.image).enumerate();
            blocks.for_each(|(block, from)| {
                let images = self.images(block);
                let rows = self.rows(images.1 - images.0);
                let strides = [source, target].map(|end| point_stride(rows * end.columns));
                with_buffer(S * S * (strides[0] + strides[1]), |buffer| {
                    let (start, end) = buffer.split_at_mut(S * S * strides[0]);
                    self.enter::<I, T>(way, from, start);
                    let points = start.chunks(strides[0]).zip(end.chunks_mut(strides[1]));
                    for (point, (a, c)) in points.enumerate() {
                        I::multiply(Product {
                            m: rows,
                            n: target.columns,
                            pieces: &[Piece { a: 0, b: point * panels.point, len: source.columns }],
                            a,
                            a_strides: (source.columns, 1),
                            b: weights,
                            b_strides: (panels.width, panels.panel),
                            c,
                            c_stride: target.columns,
                            accumulate: false,
                        });
                    }
                    let columns = (0, target.columns);
                    let finished = Finished { from: end, columns, tile: columns.1, images };
                    let part = self.numbers(block, target);
                    self.prepare(way, to.part(part.clone()));
                    self.leave::<I, T>(way, finished, to);
                    // SAFETY: `leave` has written what `prepare` did not.
                    apply(fold, unsafe { to.part(part).assume_init_mut() });
                });
            });
        });
    }

    /// Transforms all images first, then takes each panel of the weights through the three stages.
    fn by_panels<I: Instructions, T: Real>(
        &self,
        way: Way,
        from: &[T],
        w: &[T],
        fold: Option<Rows<'_, T>>,
        to: Shared<'_, T>,
    ) {
        let (source, target) = self.ends(way);
        let Panels { width, .. } = self.panels::<I, T>(way);
        let blocks = self.s.n.div_ceil(self.block);
        let rows = self.rows(self.block);
        let [from_stride, to_stride] =
            [source.columns, width].map(|columns| point_stride(rows * columns));
        let part_stride = point_stride(self.part_rows::<I, T>() * width);
        with_buffer(blocks * S * S * from_stride, |entered| {
            entered
                .par_chunks_mut(S * S * from_stride)
                .zip(from.par_chunks(self.block * source.image))
                .enumerate()
                .for_each(|(block, (to_points, from))| {
                    self.enter::<I, T>(way, from, to_points);
                    self.prepare(way, to.part(self.numbers(block, target)));
                });
            (0..target.columns.div_ceil(width)).into_par_iter().for_each(|panel| {
                let columns = (panel * width, target.columns.min((panel + 1) * width));
                with_buffer(S * S * (part_stride + blocks * to_stride), |buffer| {
                    let (weights, results) = buffer.split_at_mut(S * S * part_stride);
                    for (index, inner) in self.parts::<I, T>(way).into_iter().enumerate() {
                        let (first, len) = (inner.start, inner.len());
                        let part = WeightsPart { panel, inner, at: 0, point: part_stride };
                        self.transform_weights::<I, T>(way, w, part, weights);
                        for point in 0..S * S {
                            for block in 0..blocks {
                                let (start, end) = self.images(block);
                                let piece = Piece {
                                    a: (block * S * S + point) * from_stride + first,
                                    b: point * part_stride,
                                    len,
                                };
                                I::multiply(Product {
                                    m: self.rows(end - start),
                                    n: columns.1 - columns.0,
                                    pieces: &[piece],
                                    a: entered,
                                    a_strides: (source.columns, 1),
                                    b: weights,
                                    b_strides: (width, 0),
                                    c: &mut results[(block * S * S + point) * to_stride..],
                                    c_stride: width,
                                    accumulate: index > 0,
                                });
                            }
                        }
                    }
                    for (block, from) in results.chunks(S * S * to_stride).enumerate() {
                        let images = self.images(block);
                        let finished = Finished { from, columns, tile: width, images };
                        self.leave::<I, T>(way, finished, to);
                    }
                });
            });
        });
        if fold.is_some() {
            (0..blocks).into_par_iter().for_each(|block| {
                let part = to.part(self.numbers(block, target));
                // SAFETY: all have been written.
                apply(fold, unsafe { part.assume_init_mut() });
            });
        }
    }

    /// A block's first image, and the one after its last.
    fn images(&self, block: usize) -> (usize, usize) {
        (block * self.block, self.s.n.min((block + 1) * self.block))
    }

    /// The range of a block's images at one end.
    fn numbers(&self, block: usize, end: End) -> Range<usize> {
        let (first, last) = self.images(block);
        first * end.image..last * end.image
    }

    /// Transforms a block's images.
    fn enter<I: Instructions, T: Real>(&self, way: Way, from: &[T], to: &mut [T]) {
        match way {
            Way::Forward => I::run(TransformInput { plan: self, x: from, to }),
            Way::Backward => I::run(TransformOutput { plan: self, dy: from, to }),
        }
    }

    /// Zeroes the images that [`Self::leave`] adds to.
    fn prepare<T: Real>(&self, way: Way, images: &mut [MaybeUninit<T>]) {
        if way == Way::Backward {
            images.fill(MaybeUninit::new(T::zero()));
        }
    }

    /// Transforms results back.
    fn leave<I: Instructions, T: Real>(
        &self,
        way: Way,
        results: Finished<'_, T>,
        to: Shared<'_, T>,
    ) {
        match way {
            Way::Forward => I::run(FinishOutput { plan: self, results, y: to }),
            Way::Backward => I::run(FinishInput { plan: self, results, dx: to }),
        }
    }

    /// dw = Gᵀ (X̃ᵀ dỹ) G.
    pub(super) fn backward_weight<I: Instructions, T: Real>(&self, x: &[T], dy: &[T]) -> Vec<T> {
        let (input, output) = self.input_and_output();
        let rows = self.rows(self.block);
        let strides = [input, output].map(|end| point_stride(rows * end.columns));
        let blocks = (HELD / (S * S * (strides[0] + strides[1]))).max(HELD_TILES.div_ceil(rows));
        let images = blocks * self.block;
        let fill = |dw: &mut [MaybeUninit<T>]| {
            // SAFETY: tasks write different squares, and the first chunk writes what later ones add
            // to.
            let dw = unsafe { Shared::new(dw) };
            let chunks = x.chunks(images * input.image).zip(dy.chunks(images * output.image));
            for (chunk, (x, dy)) in chunks.enumerate() {
                self.add_products::<I, T>(x, dy, strides, (dw, chunk > 0));
            }
        };
        // SAFETY: there is at least one chunk, and the first writes every element.
        unsafe { filled(16 * self.s.i * self.s.o, fill) }
    }

    /// Adds the contribution of some images to the weight gradient, one square of channels per
    /// task.
    fn add_products<I: Instructions, T: Real>(
        &self,
        x: &[T],
        dy: &[T],
        [xs, ys]: [usize; 2],
        (dw, add): (Shared<'_, T>, bool),
    ) {
        let (input, output) = self.input_and_output();
        let (x_block, dy_block) = (self.block * input.image, self.block * output.image);
        let blocks = x.len().div_ceil(x_block);
        with_buffer(blocks * S * S * (xs + ys), |buffer| {
            let (xt, yt) = buffer.split_at_mut(blocks * S * S * xs);
            let images = x.par_chunks(x_block).zip(dy.par_chunks(dy_block));
            xt.par_chunks_mut(S * S * xs).zip(yt.par_chunks_mut(S * S * ys)).zip(images).for_each(
                |((xt, yt), (x, dy))| {
                    self.enter::<I, T>(Way::Forward, x, xt);
                    self.enter::<I, T>(Way::Backward, dy, yt);
                },
            );
            let stride = point_stride(SIDE * SIDE);
            self.squares().into_par_iter().for_each(|square| {
                with_buffer(S * S * stride, |products| {
                    let (m, n) = (square.rows.len(), square.columns.len());
                    for (point, c) in products.chunks_mut(stride).enumerate() {
                        let first = square.phase * self.s.i + square.rows.start;
                        let piece = |(block, x): (usize, &[T])| Piece {
                            a: (block * S * S + point) * xs + first,
                            b: (block * S * S + point) * ys + square.columns.start,
                            len: self.rows(x.len() / input.image),
                        };
                        let pieces: Vec<Piece> = x.chunks(x_block).enumerate().map(piece).collect();
                        I::multiply(Product {
                            m,
                            n,
                            pieces: &pieces,
                            a: xt,
                            a_strides: (1, input.columns),
                            b: yt,
                            b_strides: (output.columns, I::panel::<T>()),
                            c,
                            c_stride: SIDE,
                            accumulate: false,
                        });
                    }
                    // Only this task writes the square's channels.
                    I::run(FinishWeights { plan: self, square, from: products, dw, add });
                });
            });
        });
    }
}
