//! The matrices of minimal filtering, and arithmetic with them on neighbouring channels.

// Loops over small arrays of known size: by index they stay in registers.
#![allow(clippy::needless_range_loop)]

use crate::storage::Real;

/// Channels that are transformed together.
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

/// Neighbouring channels, in registers where all around is inlined.
#[derive(Clone, Copy)]
pub(super) struct Lanes<T>([T; LANES]);

impl<T: Real> Lanes<T> {
    #[inline(always)]
    pub fn zero() -> Self {
        Self([T::zero(); LANES])
    }

    #[inline(always)]
    pub fn plus(mut self, other: &Self) -> Self {
        for l in 0..LANES {
            self.0[l] += other.0[l];
        }
        self
    }
}

#[inline(always)]
pub(super) fn lanes<T: Real>(x: &[T], at: usize) -> Lanes<T> {
    let mut out = Lanes::zero();
    out.0.copy_from_slice(&x[at..at + LANES]);
    out
}

#[inline(always)]
pub(super) fn store<T: Real>(to: &mut [T], at: usize, value: &Lanes<T>) {
    to[at..at + LANES].copy_from_slice(&value.0);
}

/// Σ factors[k] · values[k]. The factors are known at compile time where this is inlined: zeros cost nothing.
#[inline(always)]
pub(super) fn combine<T: Real, const K: usize>(
    factors: &[f64; K],
    values: &[Lanes<T>; K],
) -> Lanes<T> {
    let mut sum = Lanes::zero();
    for k in 0..K {
        if factors[k] != 0.0 {
            let factor = T::from_f64(factors[k]);
            for l in 0..LANES {
                sum.0[l] += factor * values[k].0[l];
            }
        }
    }
    sum
}

/// P d Pᵀ: columns first, one at a time, then rows.
#[inline(always)]
pub(super) fn sandwich<T: Real, const R: usize, const C: usize>(
    p: &[[f64; C]; R],
    d: &[[Lanes<T>; C]; C],
) -> [[Lanes<T>; R]; R] {
    let mut down = [[Lanes::zero(); C]; R];
    for c in 0..C {
        let mut column = [Lanes::zero(); C];
        for k in 0..C {
            column[k] = d[k][c];
        }
        for r in 0..R {
            down[r][c] = combine(&p[r], &column);
        }
    }
    let mut out = [[Lanes::zero(); R]; R];
    for r in 0..R {
        for c in 0..R {
            out[r][c] = combine(&p[c], &down[r]);
        }
    }
    out
}
