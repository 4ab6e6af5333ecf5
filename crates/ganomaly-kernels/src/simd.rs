//! SIMD registers, for the kernels whose speed depends on what stays in them.

use crate::cpu::for_level;
use crate::product::Product;
use crate::storage::Real;
use std::mem::MaybeUninit;

/// A multiple of every register's lanes.
pub(crate) const LANES: usize = 16;

/// One register of adjacent values. It may be used only in a [`Kernel`] run by the same instruction
/// set.
pub(crate) trait Vector<T>: Copy {
    /// Values in a register.
    const LANES: usize;
    fn splat(x: T) -> Self;
    /// Reads values starting at `at`.
    fn load(from: &[T], at: usize) -> Self;
    /// Writes the values starting at `at`.
    fn store(self, to: &mut [T], at: usize);
    /// As [`Self::store`], to memory that may be uninitialised.
    fn write(self, to: &mut [MaybeUninit<T>], at: usize);
    /// # Safety
    /// `from` is readable for [`Self::LANES`] values.
    #[allow(unsafe_code)]
    unsafe fn load_at(from: *const T) -> Self;
    /// # Safety
    /// `to` is writable for [`Self::LANES`] values.
    #[allow(unsafe_code)]
    unsafe fn store_at(self, to: *mut T);
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// `yes` where this is above zero, `no` elsewhere.
    fn where_positive(self, yes: Self, no: Self) -> Self;
    /// `self · factor + addend`, rounded once if the CPU supports it.
    fn fma(self, factor: Self, addend: Self) -> Self;
}

/// An instruction set. Its types are bound only by [`for_level!`](crate::cpu::for_level), which
/// checks the CPU.
pub(crate) trait Instructions: Copy + Send + Sync + 'static {
    type F32: Vector<f32>;
    type F64: Vector<f64>;

    /// Runs a kernel compiled for these instructions.
    fn run<K: Kernel>(kernel: K) -> K::Output;

    /// Runs a plain loop compiled for these instructions, as far as the compiler inlines it. Not
    /// for code that uses registers explicitly: such a closure is not inlined.
    fn vectorise<R>(f: impl FnOnce() -> R) -> R;

    /// Runs a matrix product in blocks that fit this set's registers.
    fn multiply<T: Real>(product: Product<'_, T>);

    /// Adjacent columns of a packed factor: those of one block.
    fn panel<T: Real>() -> usize;
}

/// Code on registers. Everything it calls, down to the registers themselves, must be
/// `#[inline(always)]`: what is not inlined is compiled without the instructions.
pub(crate) trait Kernel {
    type Output;
    fn run<I: Instructions>(self) -> Self::Output;
}

/// Runs a kernel compiled for the level in use.
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    for_level!(I => I::run(kernel))
}

/// Calls a method that is generic in its register for `$len` values: with whole registers, then
/// with single values for the rest. Its last argument is the index of the register's first value.
/// For use in a [`Kernel`]: the method is `#[inline(always)]`.
macro_rules! each_register {
    ($i:ty, $t:ty, $len:expr => $($path:ident).+ ($($argument:expr),*)) => {{
        let (len, lanes) = ($len, $crate::simd::Register::<$i, $t>::LANES);
        let whole = len - len % lanes;
        for at in (0..whole).step_by(lanes) {
            $($path).+::<$crate::simd::Register<$i, $t>>($($argument,)* at);
        }
        for at in whole..len {
            $($path).+::<[$t; 1]>($($argument,)* at);
        }
    }};
}
pub(crate) use each_register;

/// The register type of an element type in an instruction set.
pub(crate) type Register<I, T> = <T as Real>::Register<I>;

macro_rules! instructions {
    ($(#[$doc:meta])* $name:ident, $f32:ty, $f64:ty, $rows:literal by $vectors:literal, $features:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Instructions for $name {
            type F32 = $f32;
            type F64 = $f64;

            #[allow(unsafe_code)]
            fn run<K: Kernel>(kernel: K) -> K::Output {
                #[target_feature(enable = $features)]
                fn with_features<K: Kernel>(kernel: K) -> K::Output {
                    kernel.run::<$name>()
                }
                // SAFETY: this type is bound only if the CPU has the features.
                unsafe { with_features(kernel) }
            }

            #[inline(always)]
            #[allow(unsafe_code)]
            fn vectorise<R>(f: impl FnOnce() -> R) -> R {
                // In the caller's compilation unit, so that `f`, called only from here, is inlined.
                #[inline]
                #[target_feature(enable = $features)]
                fn with_features<R>(f: impl FnOnce() -> R) -> R {
                    f()
                }
                // SAFETY: as above.
                unsafe { with_features(f) }
            }

            #[allow(unsafe_code)]
            fn multiply<T: Real>(product: Product<'_, T>) {
                #[target_feature(enable = $features)]
                fn with_features<T: Real>(product: Product<'_, T>) {
                    product.run::<Register<$name, T>, $rows, $vectors>();
                }
                // SAFETY: as above.
                unsafe { with_features(product) }
            }

            fn panel<T: Real>() -> usize {
                $vectors * Register::<Self, T>::LANES
            }
        }
    };
}

/// Implements [`Vector`] with intrinsics.
macro_rules! vector {
    ($v:ty, $t:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident, $mul:ident, $fma:ident, $positive:tt) => {
        // SAFETY (every block below): the CPU has the instructions, by the contract of [`Vector`].
        #[allow(unsafe_code)]
        impl Vector<$t> for $v {
            const LANES: usize = $lanes;
            #[inline(always)]
            fn splat(x: $t) -> Self {
                unsafe { $splat(x) }
            }
            #[inline(always)]
            fn load(from: &[$t], at: usize) -> Self {
                let from = &from[at..at + $lanes];
                // SAFETY: the slice is as long as the register.
                unsafe { $load(from.as_ptr()) }
            }
            #[inline(always)]
            fn store(self, to: &mut [$t], at: usize) {
                let to = &mut to[at..at + $lanes];
                // SAFETY: as above.
                unsafe { $store(to.as_mut_ptr(), self) }
            }
            #[inline(always)]
            fn write(self, to: &mut [MaybeUninit<$t>], at: usize) {
                let to = &mut to[at..at + $lanes];
                // SAFETY: as above.
                unsafe { $store(to.as_mut_ptr().cast(), self) }
            }
            #[inline(always)]
            unsafe fn load_at(from: *const $t) -> Self {
                // SAFETY: as the caller promises.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store_at(self, to: *mut $t) {
                // SAFETY: as the caller promises.
                unsafe { $store(to, self) }
            }
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                unsafe { $add(self, other) }
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                unsafe { $sub(self, other) }
            }
            #[inline(always)]
            fn times(self, other: Self) -> Self {
                unsafe { $mul(self, other) }
            }
            #[inline(always)]
            fn where_positive(self, yes: Self, no: Self) -> Self {
                unsafe { where_positive!($positive, self, yes, no) }
            }
            #[inline(always)]
            fn fma(self, factor: Self, addend: Self) -> Self {
                unsafe { $fma(self, factor, addend) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Instructions, Kernel, MaybeUninit, Product, Real, Register, Vector};
    use std::arch::x86_64::*;

    instructions!(
        /// AVX-512: 32 registers of 64 bytes.
        Avx512, __m512, __m512d, 8 by 2, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"
    );
    instructions!(
        /// AVX2 with FMA: 16 registers of 32 bytes.
        Avx2, __m256, __m256d, 6 by 2, "avx2,fma"
    );

    // No closures: code that holds registers must be inlined. AVX-512 compares into a mask, AVX2
    // into a register.
    macro_rules! where_positive {
        ([$zero:ident $compare:ident mask $blend:ident], $sign:expr, $yes:expr, $no:expr) => {
            $blend($compare::<_CMP_GT_OQ>($sign, $zero()), $no, $yes)
        };
        ([$zero:ident $compare:ident $blend:ident], $sign:expr, $yes:expr, $no:expr) => {
            $blend($no, $yes, $compare::<_CMP_GT_OQ>($sign, $zero()))
        };
    }

    #[rustfmt::skip]
    vector!(__m512, f32, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps, _mm512_fmadd_ps, [_mm512_setzero_ps _mm512_cmp_ps_mask mask _mm512_mask_blend_ps]);
    #[rustfmt::skip]
    vector!(__m512d, f64, 8, _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_add_pd, _mm512_sub_pd, _mm512_mul_pd, _mm512_fmadd_pd, [_mm512_setzero_pd _mm512_cmp_pd_mask mask _mm512_mask_blend_pd]);
    #[rustfmt::skip]
    vector!(__m256, f32, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps, _mm256_fmadd_ps, [_mm256_setzero_ps _mm256_cmp_ps _mm256_blendv_ps]);
    #[rustfmt::skip]
    vector!(__m256d, f64, 4, _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_add_pd, _mm256_sub_pd, _mm256_mul_pd, _mm256_fmadd_pd, [_mm256_setzero_pd _mm256_cmp_pd _mm256_blendv_pd]);
}

/// Only what the compilation target guarantees.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Instructions for Portable {
    type F32 = [f32; 4];
    type F64 = [f64; 2];

    fn run<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Self>()
    }

    #[inline(always)]
    fn vectorise<R>(f: impl FnOnce() -> R) -> R {
        f()
    }

    fn multiply<T: Real>(product: Product<'_, T>) {
        product.run::<Register<Self, T>, 4, 2>();
    }

    fn panel<T: Real>() -> usize {
        2 * Register::<Self, T>::LANES
    }
}

impl<T: Real, const N: usize> Vector<T> for [T; N] {
    const LANES: usize = N;
    #[inline(always)]
    fn splat(x: T) -> Self {
        [x; N]
    }
    #[inline(always)]
    fn load(from: &[T], at: usize) -> Self {
        let mut v = [T::zero(); N];
        v.copy_from_slice(&from[at..at + N]);
        v
    }
    #[inline(always)]
    fn store(self, to: &mut [T], at: usize) {
        to[at..at + N].copy_from_slice(&self);
    }
    #[inline(always)]
    fn write(self, to: &mut [MaybeUninit<T>], at: usize) {
        to[at..at + N].write_copy_of_slice(&self);
    }
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn load_at(from: *const T) -> Self {
        // SAFETY: as the caller promises; an array has the alignment of its elements.
        unsafe { from.cast::<Self>().read() }
    }
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn store_at(self, to: *mut T) {
        // SAFETY: as above.
        unsafe { to.cast::<Self>().write(self) }
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        std::array::from_fn(|l| self[l] + other[l])
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        std::array::from_fn(|l| self[l] - other[l])
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        std::array::from_fn(|l| self[l] * other[l])
    }
    #[inline(always)]
    fn where_positive(self, yes: Self, no: Self) -> Self {
        std::array::from_fn(|l| if self[l] > T::zero() { yes[l] } else { no[l] })
    }
    #[inline(always)]
    fn fma(self, factor: Self, addend: Self) -> Self {
        std::array::from_fn(|l| self[l] * factor[l] + addend[l])
    }
}
