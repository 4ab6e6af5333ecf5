//! Products with few rows, as for one or a few images. Reading the weights dominates here, so each
//! thread takes some of them and reads those once.

use crate::cpu::{self, Level, for_level};
use crate::product::{Piece, Product};
use crate::simd::{Instructions, LANES};
use crate::storage::{Real, Shared, with_buffer};
use rayon::prelude::*;

/// Up to this many rows, these are faster than the general product.
pub(crate) const ROWS_MAX: usize = 64;

/// Whether [`product`] supports these sizes.
pub(crate) fn suits(m: usize, n: usize) -> bool {
    m <= ROWS_MAX && n.is_multiple_of(LANES)
}

/// `y = rows · w` for few rows; each thread takes some columns of `w`. n is a multiple of
/// [`LANES`].
#[allow(unsafe_code)]
pub(crate) fn product<T: Real>((m, n, k): (usize, usize, usize), y: &mut [T], rows: &[T], w: &[T]) {
    let panel = for_level!(I => I::panel::<T>());
    // SAFETY: tasks write different columns of `y`.
    let y = unsafe { Shared::from_slice(y) };
    (0..n.div_ceil(panel)).into_par_iter().for_each(|task| {
        let (first, width) = (task * panel, panel.min(n - task * panel));
        with_buffer(k * width + m * width, |buffer| {
            let (columns, c) = buffer.split_at_mut(k * width);
            // Contiguous, so that each block of rows reads them in order.
            for (to, from) in columns.chunks_exact_mut(width).zip(w.chunks_exact(n)) {
                to.copy_from_slice(&from[first..first + width]);
            }
            for_level!(I => I::multiply(Product {
                m,
                n: width,
                pieces: &[Piece { a: 0, b: 0, len: k }],
                a: rows,
                a_strides: (k, 1),
                b: columns,
                b_strides: (width, 0),
                c,
                c_stride: width,
                accumulate: false,
            }));
            for (row, c) in c.chunks_exact(width).enumerate() {
                y.part(row * n + first..row * n + first + width).write_copy_of_slice(c);
            }
        });
    });
}

/// Whether [`product_transposed`] is faster than the general product and sums in the same order.
/// The general product picks its instructions itself, regardless of the level, and splits longer
/// sums.
pub(crate) fn suits_transposed(m: usize, k: usize) -> bool {
    cpu::level() > Level::Portable && (LANES / 2..=ROWS_MAX).contains(&m) && k <= 512
}

/// `rows = dy · wᵀ` for up to [`ROWS_MAX`] rows, computed as `rowsᵀ = w · dyᵀ`; each thread takes
/// some rows of `w`. `w` is n × k. An element of the result does not depend on m.
#[allow(unsafe_code)]
pub(crate) fn product_transposed<T: Real>(
    (m, n, k): (usize, usize, usize),
    rows: &mut [T],
    dy: &[T],
    w: &[T],
) {
    /// Rows of `w` per task.
    const ROWS: usize = 96;
    /// Terms in a partial sum: a panel of that many columns stays in the first-level cache.
    const TERMS: usize = 512;
    let (width, panel) = (m.next_multiple_of(LANES), for_level!(I => I::panel::<T>()));
    let mut turned = vec![T::zero(); k * width.next_multiple_of(panel)];
    turned.par_chunks_mut(k * panel).zip(dy.par_chunks(k * panel)).for_each(|(turned, dy)| {
        for (row, dy) in dy.chunks_exact(k).enumerate() {
            for (to, &dy) in turned[row..].iter_mut().step_by(panel).zip(dy) {
                *to = dy;
            }
        }
    });
    // SAFETY: tasks write different columns of `rows`.
    let rows = unsafe { Shared::from_slice(rows) };
    w.par_chunks(ROWS * k).enumerate().for_each(|(task, w)| {
        let (first, len) = (task * ROWS, w.len() / k);
        let mut c = [T::zero(); ROWS * ROWS_MAX];
        for term in (0..k).step_by(TERMS) {
            for_level!(I => I::multiply(Product {
                m: len,
                n: width,
                pieces: &[Piece { a: term, b: term * panel, len: TERMS.min(k - term) }],
                a: w,
                a_strides: (k, 1),
                b: &turned,
                b_strides: (panel, k * panel),
                c: &mut c,
                c_stride: width,
                accumulate: term > 0,
            }));
        }
        for row in 0..m {
            let to = rows.part(row * n + first..row * n + first + len);
            for (to, c) in to.iter_mut().zip(c[row..].iter().step_by(width)) {
                to.write(*c);
            }
        }
    });
}
