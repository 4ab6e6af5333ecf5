//! Transforms kernels, and their gradients back.

use super::filter::Filter;
use super::tiles::point_stride;
use super::{Plan, Way, kernels};
use crate::simd::{Instructions, Register, Vector};
use crate::storage::{Real, Shared, with_buffer};
use std::ops::Range;

/// Transformed weights as [panel, point, inner, columns of a block], as
/// [`Product`](crate::product::Product) reads them.
pub(super) struct Panels {
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

/// Rows of a panel that are made at once.
pub(super) struct WeightsPart {
    pub panel: usize,
    pub inner: Range<usize>,
    /// Where in each point the rows are written.
    pub at: usize,
    /// Distance between points.
    pub point: usize,
}

/// Some input and some output channels of one phase.
pub(super) struct Square {
    pub phase: usize,
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

/// Side of the largest [`Square`]: all points of its products stay in a core's cache.
pub(super) const SIDE: usize = 64;
/// Elements of a [`WeightsPart`] at each point, for the same reason.
const PART: usize = 1 << 12;

kernels! {
    TransformColumns = transform_columns(
        taps: [&'a [T]; 4], row: usize, size: (usize, usize), to: &'a mut [T],
        place: (usize, usize, usize)
    );
    Turn = turn(plane: &'a [T], row: usize, size: (usize, usize), to: &'a mut [T]);
    FinishWeights = finish_weights(square: Square, from: &'a [T], dw: Shared<'a, T>, add: bool);
}

/// Row and column of a phase's four taps.
const TAPS: [(usize, usize); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

/// The planes (of a kernel's 16) of a phase's four taps.
fn planes(phase: usize) -> [usize; 4] {
    TAPS.map(|(y, x)| 4 * (2 * y + phase / 2) + 2 * x + phase % 2)
}

impl<F: Filter<M, S>, const M: usize, const S: usize> Plan<F, M, S> {
    pub(super) fn panels<I: Instructions, T: Real>(&self, way: Way) -> Panels {
        let (source, target) = self.ends(way);
        let width = I::panel::<T>();
        let point = point_stride(source.columns * width);
        Panels { outer: target.columns, width, point, panel: S * S * point }
    }

    /// Rows in a whole [`WeightsPart`].
    pub(super) fn part_rows<I: Instructions, T: Real>(&self) -> usize {
        PART / I::panel::<T>()
    }

    /// A panel's rows in parts, each with rows of one phase only.
    pub(super) fn parts<I: Instructions, T: Real>(&self, way: Way) -> Vec<Range<usize>> {
        let (phases, len) = if way == Way::Forward { (4, self.s.i) } else { (1, self.s.o) };
        let step = self.part_rows::<I, T>();
        let part = |phase: usize, row: usize| phase * len + row..phase * len + len.min(row + step);
        (0..phases)
            .flat_map(|phase| (0..len).step_by(step).map(move |row| part(phase, row)))
            .collect()
    }

    /// W̃ = G w Gᵀ for some rows of a panel; w is [K, K, I, O].
    pub(super) fn transform_weights<I: Instructions, T: Real>(
        &self,
        way: Way,
        w: &[T],
        WeightsPart { panel, inner, at, point }: WeightsPart,
        to: &mut [T],
    ) {
        let (i, o) = (self.s.i, self.s.o);
        let plane = |p: usize| &w[p * i * o..][..i * o];
        let width = I::panel::<T>();
        let first = panel * width;
        if way == Way::Forward {
            let (phase, row) = (inner.start / i, inner.start % i);
            let taps = planes(phase).map(|p| &plane(p)[row * o + first..]);
            let size = (inner.len(), width.min(o - first));
            let place = (at, width, point);
            I::run(TransformColumns { plan: self, taps, row: o, size, to, place });
            return;
        }
        // A panel may hold columns of several phases, and w's planes are transposed.
        let end = (4 * i).min(first + width);
        for phase in first / i..end.div_ceil(i) {
            let channels = first.max(phase * i)..end.min((phase + 1) * i);
            let size = (inner.len(), channels.len());
            let place = (at + channels.start - first, width, point);
            let len = size.0 * size.1;
            with_buffer(4 * len, |turned| {
                for (p, to) in planes(phase).into_iter().zip(turned.chunks_mut(len)) {
                    let plane = &plane(p)[(channels.start - phase * i) * o + inner.start..];
                    I::run(Turn { plan: self, plane, row: o, size, to });
                }
                let [t0, t1, t2, t3] = [0, 1, 2, 3].map(|tap| &turned[tap * len..][..len]);
                let taps = [t0, t1, t2, t3];
                I::run(TransformColumns { plan: self, taps, row: size.1, size, to, place });
            });
        }
    }

    /// Transforms rows and columns of four taps, whose rows are `row` apart, into each point of
    /// `to`. The last argument is where they start, the distance between rows, and the distance
    /// between points. Works row by row, so that each point is written in order.
    #[inline(always)]
    fn transform_columns<I: Instructions, T: Real>(
        &self,
        [t00, t01, t10, t11]: [&[T]; 4],
        row: usize,
        (rows, columns): (usize, usize),
        to: &mut [T],
        (at, width, point): (usize, usize, usize),
    ) {
        for r in 0..rows {
            for column in (0..columns).step_by(Register::<I, T>::LANES) {
                let from = r * row + column;
                let w = [
                    [Register::<I, T>::load(t00, from), Vector::load(t01, from)],
                    [Vector::load(t10, from), Vector::load(t11, from)],
                ];
                F::store(&F::kernel(&w), to, point, at + r * width + column);
            }
        }
    }

    /// `to[r][c] = plane[c][r]`; both sizes are multiples of 4.
    #[inline(always)]
    fn turn<I: Instructions, T: Real>(
        &self,
        plane: &[T],
        row: usize,
        (rows, columns): (usize, usize),
        to: &mut [T],
    ) {
        for r in (0..rows).step_by(4) {
            for c in (0..columns).step_by(4) {
                let [a, b, d, e]: [[T; 4]; 4] = std::array::from_fn(|k| {
                    let from = &plane[(c + k) * row + r..][..4];
                    [from[0], from[1], from[2], from[3]]
                });
                for k in 0..4 {
                    to[(r + k) * columns + c..][..4].copy_from_slice(&[a[k], b[k], d[k], e[k]]);
                }
            }
        }
    }

    /// The channels in squares of at most [`SIDE`], phase by phase.
    pub(super) fn squares(&self) -> Vec<Square> {
        let cut = |len: usize| (0..len).step_by(SIDE).map(move |at| at..len.min(at + SIDE));
        let rows = (0..4).flat_map(|phase| cut(self.s.i).map(move |rows| (phase, rows)));
        rows.flat_map(|(phase, rows)| {
            cut(self.s.o).map(move |columns| Square { phase, rows: rows.clone(), columns })
        })
        .collect()
    }

    /// dw (+)= Gᵀ dW̃ G as [K, K, I, O] from dW̃ as [point, I, O] of a square.
    #[inline(always)]
    fn finish_weights<I: Instructions, T: Real>(
        &self,
        square: Square,
        from: &[T],
        dw: Shared<'_, T>,
        add: bool,
    ) {
        let (i, o) = (self.s.i, self.s.o);
        let [p00, p01, p10, p11] = planes(square.phase).map(|p| p * i * o);
        let stride = from.len() / (S * S);
        for (r, row) in square.rows.enumerate() {
            for (c, column) in square.columns.clone().enumerate().step_by(Register::<I, T>::LANES) {
                let e = F::load::<T, Register<I, T>>(from, stride, r * SIDE + c);
                let [[w00, w01], [w10, w11]] = F::kernel_back(&e);
                let at = row * o + column;
                for (w, plane) in [(w00, p00), (w01, p01), (w10, p10), (w11, p11)] {
                    if add { dw.add(w, plane + at) } else { dw.write(w, plane + at) }
                }
            }
        }
    }
}
