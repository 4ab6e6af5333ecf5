//! The matrices of minimal filtering, and arithmetic with them on neighbouring channels.

// Loops over small arrays of known size: by index they stay in registers.
#![allow(clippy::needless_range_loop)]

use crate::simd::Vector;
use crate::storage::Real;

/// Channels must be a multiple of this: of every register's lanes.
pub(crate) const LANES: usize = 16;

/// The matrices of F(M, 2), S = M + 1 points.
pub(super) trait Filter<const M: usize, const S: usize>: Sync {
    const BT: [[f64; S]; S];
    const G: [[f64; 2]; S];
    const AT: [[f64; S]; M];
    const B: [[f64; S]; S] = transposed(&Self::BT);
    const GT: [[f64; S]; 2] = transposed(&Self::G);
    const A: [[f64; M]; S] = transposed(&Self::AT);
}

/// F(2, 2) from the points 0, 1 and ∞.
pub(super) struct F2;

impl Filter<2, 3> for F2 {
    const BT: [[f64; 3]; 3] = [[1., -1., 0.], [0., 1., 0.], [0., -1., 1.]];
    const G: [[f64; 2]; 3] = [[1., 0.], [1., 1.], [0., 1.]];
    const AT: [[f64; 3]; 2] = [[1., 1., 0.], [0., 1., 1.]];
}

/// F(4, 2) from the points 0, 1, −1, 2 and ∞.
pub(super) struct F4;

impl Filter<4, 5> for F4 {
    const BT: [[f64; 5]; 5] = [
        [2., -1., -2., 1., 0.],
        [0., -2., -1., 1., 0.],
        [0., 2., -3., 1., 0.],
        [0., -1., 0., 1., 0.],
        [0., 2., -1., -2., 1.],
    ];
    const G: [[f64; 2]; 5] =
        [[0.5, 0.], [-0.5, -0.5], [-1. / 6., 1. / 6.], [1. / 6., 1. / 3.], [0., 1.]];
    const AT: [[f64; 5]; 4] =
        [[1., 1., 1., 1., 0.], [0., 1., -1., 2., 0.], [0., 1., 1., 4., 0.], [0., 1., -1., 8., 1.]];
}

const fn transposed<const R: usize, const C: usize>(p: &[[f64; C]; R]) -> [[f64; R]; C] {
    let mut t = [[0.0; R]; C];
    let mut at = 0;
    while at < R * C {
        t[at % C][at / C] = p[at / C][at % C];
        at += 1;
    }
    t
}

/// Σ factors[k] · values[k]. The factors are known at compile time where this is inlined: zeros and ones cost nothing.
#[inline(always)]
pub(super) fn combine<T: Real, V: Vector<T>, const K: usize>(
    factors: &[f64; K],
    values: &[V; K],
) -> V {
    let mut sum = None;
    for k in 0..K {
        let (factor, value) = (factors[k], values[k]);
        if factor == 0.0 {
            continue;
        }
        sum = Some(match sum {
            None if factor == 1.0 => value,
            None => V::splat(T::from_f64(factor)).times(value),
            Some(sum) if factor == 1.0 => value.plus(sum),
            Some(sum) if factor == -1.0 => V::minus(sum, value),
            Some(sum) => V::splat(T::from_f64(factor)).fma(value, sum),
        });
    }
    sum.unwrap_or_else(|| V::splat(T::zero()))
}

/// P d Pᵀ: columns first, one at a time, then rows.
#[inline(always)]
pub(super) fn sandwich<T: Real, V: Vector<T>, const R: usize, const C: usize>(
    p: &[[f64; C]; R],
    d: &[[V; C]; C],
) -> [[V; R]; R] {
    let zero = V::splat(T::zero());
    let mut down = [[zero; C]; R];
    for c in 0..C {
        let mut column = [zero; C];
        for k in 0..C {
            column[k] = d[k][c];
        }
        for r in 0..R {
            down[r][c] = combine(&p[r], &column);
        }
    }
    let mut out = [[zero; R]; R];
    for r in 0..R {
        for c in 0..R {
            out[r][c] = combine(&p[c], &down[r]);
        }
    }
    out
}
