//! Matrix products on slices, through the `gemm` crate (which picks AVX-512, AVX2 or portable code
//! at run time).

use crate::storage::Real;
use std::ops::Range;

/// A matrix inside a slice: element (r, c) is at `start + r * row + c * col`.
#[derive(Clone, Copy)]
pub(crate) struct View {
    pub start: usize,
    pub row: usize,
    pub col: usize,
}

impl View {
    /// A row-major matrix with `cols` columns.
    pub fn rows(cols: usize) -> Self {
        Self { start: 0, row: cols, col: 1 }
    }

    /// The transpose of a row-major matrix with `cols` columns.
    pub fn transposed(cols: usize) -> Self {
        Self { start: 0, row: 1, col: cols }
    }

    fn span(self, rows: usize, cols: usize) -> Range<usize> {
        if rows == 0 || cols == 0 {
            return 0..0;
        }
        self.start..self.start + (rows - 1) * self.row + (cols - 1) * self.col + 1
    }
}

/// Whether a product may use all threads, or runs inside work that is already parallel. The sums
/// are the same either way: only rows and columns of the result are distributed.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Threads {
    One,
    All,
}

/// `dst = a · b`, or `dst += a · b` with `accumulate`; `a` is m × k, `b` is k × n, `dst` row-major
/// m × n.
///
/// # Panics
/// If a view does not fit its slice; callers check shapes first.
#[allow(clippy::too_many_arguments, unsafe_code)]
pub(crate) fn matmul<T: Real>(
    (m, n, k): (usize, usize, usize),
    dst: &mut [T],
    a: (&[T], View),
    b: (&[T], View),
    accumulate: bool,
    threads: Threads,
) {
    let out = View::rows(n);
    assert!(out.span(m, n).end <= dst.len(), "the product does not fit its destination");
    assert!(a.1.span(m, k).end <= a.0.len(), "the left factor is shorter than its view");
    assert!(b.1.span(k, n).end <= b.0.len(), "the right factor is shorter than its view");
    let parallelism = match threads {
        Threads::One => gemm::Parallelism::None,
        Threads::All => gemm::Parallelism::Rayon(0),
    };
    // SAFETY: the three assertions above bound every element that gemm touches, `dst` is borrowed
    // mutably and so overlaps neither factor, and T is f32 or f64, which gemm supports.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.0.as_ptr().add(a.1.start),
            a.1.col as isize,
            a.1.row as isize,
            b.0.as_ptr().add(b.1.start),
            b.1.col as isize,
            b.1.row as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            parallelism,
        );
    }
}
