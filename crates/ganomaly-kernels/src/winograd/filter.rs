//! The transformations of minimal filtering: on single lines, then in both directions on squares.
//!
//! Everything is written out or unrolled by macros: a loop that the compiler does not unroll would
//! keep these squares in memory instead of registers, at ten times the cost. There are no closures
//! around registers either: if not inlined, they would be compiled without the instructions.

use crate::simd::Vector;
use crate::storage::{Real, Shared};

/// Not an index: in the padding, or beyond the edge.
pub(super) const OUTSIDE: usize = usize::MAX;

/// The one-dimensional transformations of F(M, 2), S = M + 1 points, and their transposes.
trait Lines<const M: usize, const S: usize> {
    /// Bᵀ d.
    fn bt<T: Real, V: Vector<T>>(d: [V; S]) -> [V; S];
    /// B e.
    fn b<T: Real, V: Vector<T>>(e: [V; S]) -> [V; S];
    /// Aᵀ m.
    fn at<T: Real, V: Vector<T>>(m: [V; S]) -> [V; M];
    /// A d.
    fn a<T: Real, V: Vector<T>>(d: [V; M]) -> [V; S];
    /// G w.
    fn g<T: Real, V: Vector<T>>(w: [V; 2]) -> [V; S];
    /// Gᵀ e.
    fn gt<T: Real, V: Vector<T>>(e: [V; S]) -> [V; 2];
}

/// F(2, 2) at the points 0, 1 and ∞.
pub(super) struct F2;

impl Lines<2, 3> for F2 {
    #[inline(always)]
    fn bt<T: Real, V: Vector<T>>([d0, d1, d2]: [V; 3]) -> [V; 3] {
        [d0.minus(d1), d1, d2.minus(d1)]
    }
    #[inline(always)]
    fn b<T: Real, V: Vector<T>>([e0, e1, e2]: [V; 3]) -> [V; 3] {
        [e0, e1.minus(e0.plus(e2)), e2]
    }
    #[inline(always)]
    fn at<T: Real, V: Vector<T>>([m0, m1, m2]: [V; 3]) -> [V; 2] {
        [m0.plus(m1), m1.plus(m2)]
    }
    #[inline(always)]
    fn a<T: Real, V: Vector<T>>([d0, d1]: [V; 2]) -> [V; 3] {
        [d0, d0.plus(d1), d1]
    }
    #[inline(always)]
    fn g<T: Real, V: Vector<T>>([w0, w1]: [V; 2]) -> [V; 3] {
        [w0, w0.plus(w1), w1]
    }
    #[inline(always)]
    fn gt<T: Real, V: Vector<T>>([e0, e1, e2]: [V; 3]) -> [V; 2] {
        [e0.plus(e1), e1.plus(e2)]
    }
}

/// F(4, 2) at the points 0, 1, −1, 2 and ∞.
///
/// Bᵀ = [2 −1 −2 1 0; 0 −2 −1 1 0; 0 2 −3 1 0; 0 −1 0 1 0; 0 2 −1 −2 1],
/// G = [½ 0; −½ −½; −⅙ ⅙; ⅙ ⅓; 0 1], Aᵀ = [1 1 1 1 0; 0 1 −1 2 0; 0 1 1 4 0; 0 1 −1 8 1].
pub(super) struct F4;

#[inline(always)]
fn constant<T: Real, V: Vector<T>>(x: f64) -> V {
    V::splat(T::from_f64(x))
}

impl Lines<4, 5> for F4 {
    #[inline(always)]
    fn bt<T: Real, V: Vector<T>>([d0, d1, d2, d3, d4]: [V; 5]) -> [V; 5] {
        let outer = d3.minus(d1);
        [
            d0.minus(d2).fma(constant(2.), outer),
            outer.minus(d1.plus(d2)),
            d1.minus(d2).fma(constant(3.), outer),
            outer,
            outer.fma(constant(-2.), d4.minus(d2)),
        ]
    }
    #[inline(always)]
    fn b<T: Real, V: Vector<T>>([e0, e1, e2, e3, e4]: [V; 5]) -> [V; 5] {
        let (outer, inner) = (e0.plus(e3), e1.plus(e2));
        [
            e0.plus(e0),
            e4.plus(e2).minus(e1).fma(constant(2.), V::splat(T::zero()).minus(outer)),
            e0.plus(e2).fma(constant(-2.), V::splat(T::zero()).minus(inner.plus(e4))),
            e4.fma(constant(-2.), outer.plus(inner)),
            e4,
        ]
    }
    #[inline(always)]
    fn at<T: Real, V: Vector<T>>([m0, m1, m2, m3, m4]: [V; 5]) -> [V; 4] {
        let (sum, difference) = (m1.plus(m2), m1.minus(m2));
        [
            m0.plus(sum).plus(m3),
            m3.fma(constant(2.), difference),
            m3.fma(constant(4.), sum),
            m3.fma(constant(8.), difference).plus(m4),
        ]
    }
    #[inline(always)]
    fn a<T: Real, V: Vector<T>>([d0, d1, d2, d3]: [V; 4]) -> [V; 5] {
        let (even, odd) = (d0.plus(d2), d1.plus(d3));
        let high = d3.fma(constant(4.), d1).fma(constant(2.), d2.fma(constant(4.), d0));
        [d0, even.plus(odd), even.minus(odd), high, d3]
    }
    #[inline(always)]
    fn g<T: Real, V: Vector<T>>([w0, w1]: [V; 2]) -> [V; 5] {
        let sixth = constant::<T, V>(1. / 6.);
        [
            w0.times(constant(0.5)),
            w0.plus(w1).times(constant(-0.5)),
            w1.minus(w0).times(sixth),
            w1.plus(w1).plus(w0).times(sixth),
            w1,
        ]
    }
    #[inline(always)]
    fn gt<T: Real, V: Vector<T>>([e0, e1, e2, e3, e4]: [V; 5]) -> [V; 2] {
        let (half, sixth) = (constant::<T, V>(0.5), constant::<T, V>(1. / 6.));
        [
            e0.minus(e1).fma(half, e3.minus(e2).times(sixth)),
            e3.plus(e3).plus(e2).fma(sixth, e1.fma(constant(-0.5), e4)),
        ]
    }
}

/// The transformations P d Pᵀ of squares, and unrolled access to their elements.
pub(super) trait Filter<const M: usize, const S: usize>: Sync {
    /// Loads the register at `at` from each slice of a square.
    fn gather<T: Real, V: Vector<T>>(from: &[[&[T]; S]; S], at: usize) -> [[V; S]; S];
    /// The same for outputs.
    fn gather_outputs<T: Real, V: Vector<T>>(from: &[[&[T]; M]; M], at: usize) -> [[V; M]; M];
    /// Loads the register at `at` from each point; points are `stride` apart.
    fn load<T: Real, V: Vector<T>>(from: &[T], stride: usize, at: usize) -> [[V; S]; S];
    /// Writes the registers there.
    fn store<T: Real, V: Vector<T>>(d: &[[V; S]; S], to: &mut [T], stride: usize, at: usize);
    /// Adds each register to `to` at its place plus `at`, except for places that are [`OUTSIDE`].
    fn add<T: Real, V: Vector<T>>(
        d: &[[V; S]; S],
        to: Shared<'_, T>,
        places: &[[usize; S]; S],
        at: usize,
    );
    /// Writes each output in the same way.
    fn write<T: Real, V: Vector<T>>(
        d: &[[V; M]; M],
        to: Shared<'_, T>,
        places: &[[usize; M]; M],
        at: usize,
    );
    /// Bᵀ d B.
    fn input<T: Real, V: Vector<T>>(d: &[[V; S]; S]) -> [[V; S]; S];
    /// B e Bᵀ.
    fn input_back<T: Real, V: Vector<T>>(e: &[[V; S]; S]) -> [[V; S]; S];
    /// Aᵀ m A.
    fn output<T: Real, V: Vector<T>>(m: &[[V; S]; S]) -> [[V; M]; M];
    /// A d Aᵀ.
    fn output_back<T: Real, V: Vector<T>>(d: &[[V; M]; M]) -> [[V; S]; S];
    /// G w Gᵀ.
    fn kernel<T: Real, V: Vector<T>>(w: &[[V; 2]; 2]) -> [[V; S]; S];
    /// Gᵀ e G.
    fn kernel_back<T: Real, V: Vector<T>>(e: &[[V; S]; S]) -> [[V; 2]; 2];
}

/// An array of an expression's values for each index below a literal size.
macro_rules! each {
    (2, $i:ident => $e:expr) => { each!(@ $i $e; 0 1) };
    (3, $i:ident => $e:expr) => { each!(@ $i $e; 0 1 2) };
    (4, $i:ident => $e:expr) => { each!(@ $i $e; 0 1 2 3) };
    (5, $i:ident => $e:expr) => { each!(@ $i $e; 0 1 2 3 4) };
    (@ $i:ident $e:expr; $($n:literal)+) => { [$({ const $i: usize = $n; $e }),+] };
}

/// P d Pᵀ: columns first, then rows.
macro_rules! sandwich {
    ($r:tt x $c:tt, $line:path, $d:expr) => {{
        let d = $d;
        let columns = each!($c, C => $line(each!($c, K => d[K][C])));
        each!($r, R => $line(each!($c, C => columns[C][R])))
    }};
}

macro_rules! filter {
    ($name:ident, $m:tt, $s:tt) => {
        impl Filter<$m, $s> for $name {
            #[inline(always)]
            fn gather<T: Real, V: Vector<T>>(from: &[[&[T]; $s]; $s], at: usize) -> [[V; $s]; $s] {
                each!($s, U => each!($s, X => V::load(from[U][X], at)))
            }
            #[inline(always)]
            fn gather_outputs<T: Real, V: Vector<T>>(
                from: &[[&[T]; $m]; $m],
                at: usize,
            ) -> [[V; $m]; $m] {
                each!($m, U => each!($m, X => V::load(from[U][X], at)))
            }
            #[inline(always)]
            fn load<T: Real, V: Vector<T>>(from: &[T], stride: usize, at: usize) -> [[V; $s]; $s] {
                each!($s, U => each!($s, X => V::load(from, (U * $s + X) * stride + at)))
            }
            #[inline(always)]
            fn store<T: Real, V: Vector<T>>(
                d: &[[V; $s]; $s],
                to: &mut [T],
                stride: usize,
                at: usize,
            ) {
                each!($s, U => { each!($s, X => d[U][X].store(to, (U * $s + X) * stride + at)); });
            }
            #[inline(always)]
            fn add<T: Real, V: Vector<T>>(
                d: &[[V; $s]; $s],
                to: Shared<'_, T>,
                places: &[[usize; $s]; $s],
                at: usize,
            ) {
                each!($s, U => { each!($s, X => if places[U][X] != OUTSIDE {
                    to.add(d[U][X], places[U][X] + at);
                }); });
            }
            #[inline(always)]
            fn write<T: Real, V: Vector<T>>(
                d: &[[V; $m]; $m],
                to: Shared<'_, T>,
                places: &[[usize; $m]; $m],
                at: usize,
            ) {
                each!($m, U => { each!($m, X => if places[U][X] != OUTSIDE {
                    to.write(d[U][X], places[U][X] + at);
                }); });
            }
            #[inline(always)]
            fn input<T: Real, V: Vector<T>>(d: &[[V; $s]; $s]) -> [[V; $s]; $s] {
                sandwich!($s x $s, Self::bt, d)
            }
            #[inline(always)]
            fn input_back<T: Real, V: Vector<T>>(e: &[[V; $s]; $s]) -> [[V; $s]; $s] {
                sandwich!($s x $s, Self::b, e)
            }
            #[inline(always)]
            fn output<T: Real, V: Vector<T>>(m: &[[V; $s]; $s]) -> [[V; $m]; $m] {
                sandwich!($m x $s, Self::at, m)
            }
            #[inline(always)]
            fn output_back<T: Real, V: Vector<T>>(d: &[[V; $m]; $m]) -> [[V; $s]; $s] {
                sandwich!($s x $m, Self::a, d)
            }
            #[inline(always)]
            fn kernel<T: Real, V: Vector<T>>(w: &[[V; 2]; 2]) -> [[V; $s]; $s] {
                sandwich!($s x 2, Self::g, w)
            }
            #[inline(always)]
            fn kernel_back<T: Real, V: Vector<T>>(e: &[[V; $s]; $s]) -> [[V; 2]; 2] {
                sandwich!(2 x $s, Self::gt, e)
            }
        }
    };
}
filter!(F2, 2, 3);
filter!(F4, 4, 5);
