//! Matrix products whose factors are already in register order, so nothing is copied.
//!
//! The transformed images and weights of [`winograd`](crate::winograd) are written once and
//! multiplied immediately. A general product would first copy both factors, which took a quarter of
//! its time here.

use crate::simd::Vector;
use crate::storage::Real;

/// A section of the inner dimension: where it starts in both factors, and its length.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    pub a: usize,
    pub b: usize,
    pub len: usize,
}

/// `c = a · b` or `c += a · b`, m × k times k × n; n is a multiple of the register's lanes.
pub(crate) struct Product<'a, T> {
    pub m: usize,
    pub n: usize,
    /// The inner dimension, in one or more sections.
    pub pieces: &'a [Piece],
    pub a: &'a [T],
    /// Distances between rows and between columns of `a`.
    pub a_strides: (usize, usize),
    /// Panels, one after another. Each row of a panel is as long as a block is wide.
    pub b: &'a [T],
    /// Distances between rows of a panel, and between panels.
    pub b_strides: (usize, usize),
    pub c: &'a mut [T],
    /// Distance between rows of `c`.
    pub c_stride: usize,
    pub accumulate: bool,
}

impl<T: Real> Product<'_, T> {
    /// Computes the product in blocks of `ROWS` rows and `VECTORS` registers.
    ///
    /// # Panics
    /// If a factor is shorter than its sizes say; callers check shapes first.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub fn run<V: Vector<T>, const ROWS: usize, const VECTORS: usize>(mut self) {
        let width = VECTORS * V::LANES;
        self.check(width, V::LANES);
        for from in (0..self.n).step_by(width) {
            let (panel, to) = (from / width * self.b_strides.1, from);
            if self.n - from >= width {
                // SAFETY: `check` has bounded every index that is read or written.
                unsafe { self.columns::<V, ROWS, VECTORS>(panel, to) };
            } else {
                for more in (0..self.n - from).step_by(V::LANES) {
                    // SAFETY: as above.
                    unsafe { self.columns::<V, ROWS, 1>(panel + more, to + more) };
                }
            }
        }
    }

    fn check(&self, width: usize, lanes: usize) {
        let Self { m, n, pieces, a_strides, b_strides, .. } = *self;
        assert!(n.is_multiple_of(lanes), "{n} columns are not whole registers of {lanes}");
        if m == 0 || n == 0 {
            return;
        }
        for piece in pieces.iter().filter(|p| p.len > 0) {
            let a = piece.a + (m - 1) * a_strides.0 + (piece.len - 1) * a_strides.1;
            assert!(a < self.a.len(), "the left factor is shorter than its sizes");
            for from in (0..n).step_by(width) {
                let row = piece.b + from / width * b_strides.1 + (piece.len - 1) * b_strides.0;
                let end = row + (n - from).min(width);
                assert!(end <= self.b.len(), "the right factor is shorter than its sizes");
            }
        }
        let end = (m - 1) * self.c_stride + n;
        assert!(end <= self.c.len(), "the product does not fit its destination");
    }

    /// All rows of one panel's columns.
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn columns<V: Vector<T>, const ROWS: usize, const VECTORS: usize>(
        &mut self,
        panel: usize,
        to: usize,
    ) {
        // Blocks of nearly equal height: a low block has few sums and would wait for each
        // addition's result.
        let blocks = self.m.div_ceil(ROWS);
        let (height, higher) = (self.m / blocks.max(1), self.m % blocks.max(1));
        let mut row = 0;
        for block in 0..blocks {
            let height = height + usize::from(block < higher);
            // SAFETY (each call): as the caller promises, and the rows are below `m`.
            unsafe {
                match height {
                    1 => self.block::<V, 1, VECTORS>(row, panel, to),
                    2 => self.block::<V, 2, VECTORS>(row, panel, to),
                    3 => self.block::<V, 3, VECTORS>(row, panel, to),
                    4 => self.block::<V, 4, VECTORS>(row, panel, to),
                    5 => self.block::<V, 5, VECTORS>(row, panel, to),
                    6 => self.block::<V, 6, VECTORS>(row, panel, to),
                    7 => self.block::<V, 7, VECTORS>(row, panel, to),
                    _ => self.block::<V, 8, VECTORS>(row, panel, to),
                }
            }
            row += height;
        }
    }

    /// `ROWS` rows of `VECTORS` registers: sums that stay in registers over the whole inner
    /// dimension.
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn block<V: Vector<T>, const ROWS: usize, const VECTORS: usize>(
        &mut self,
        row: usize,
        panel: usize,
        to: usize,
    ) {
        let (a_row, a_column) = self.a_strides;
        let mut sums = [[V::splat(T::zero()); VECTORS]; ROWS];
        // SAFETY (whole block): `check` has bounded all indices, and `c` is borrowed mutably.
        unsafe {
            for piece in self.pieces {
                let mut a = self.a.as_ptr().add(piece.a + row * a_row);
                let mut b = self.b.as_ptr().add(piece.b + panel);
                for _ in 0..piece.len {
                    let mut columns = [V::splat(T::zero()); VECTORS];
                    for (j, column) in columns.iter_mut().enumerate() {
                        *column = V::load_at(b.add(j * V::LANES));
                    }
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let factor = V::splat(*a.add(r * a_row));
                        for (sum, column) in sums.iter_mut().zip(&columns) {
                            *sum = factor.fma(*column, *sum);
                        }
                    }
                    a = a.wrapping_add(a_column);
                    b = b.wrapping_add(self.b_strides.0);
                }
            }
            let c = self.c.as_mut_ptr();
            for (r, sums) in sums.iter().enumerate() {
                for (j, sum) in sums.iter().enumerate() {
                    let at = c.add((row + r) * self.c_stride + to + j * V::LANES);
                    let value = if self.accumulate { sum.plus(V::load_at(at)) } else { *sum };
                    value.store_at(at);
                }
            }
        }
    }
}
