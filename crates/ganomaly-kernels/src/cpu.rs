//! CPU feature detection, done once, and code compiled for each instruction set.
//!
//! Kernels are compiled three times: for AVX-512, for AVX2 with FMA, and portably. Plain loops over
//! channels are wrapped in [`vectorised!`], which leaves the choice of instructions to the
//! compiler. The hot kernels use registers explicitly through [`Vector`](crate::simd::Vector) and
//! take the instruction set as a type, which [`for_level!`] binds.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only what the compilation target guarantees.
    Portable = 1,
    /// AVX2 and FMA.
    Avx2 = 2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512 = 3,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
        })
    }
}

/// The level in use; 0 until it is first needed.
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// The level in use: the best that the CPU supports, unless [`set_level`] chose another.
pub fn level() -> Level {
    match LEVEL.load(Ordering::Relaxed) {
        1 => Level::Portable,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => {
            let best = best();
            LEVEL.store(best as u8, Ordering::Relaxed);
            best
        }
    }
}

/// The best level that the CPU supports.
pub fn best() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let avx2 = has!("avx2") && has!("fma");
        if avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
            return Level::Avx512;
        }
        if avx2 {
            return Level::Avx2;
        }
    }
    Level::Portable
}

/// Sets the level for the whole process, or the best one if the CPU does not support it; returns
/// the level now in use. For tests and comparisons: results of different levels differ by rounding.
pub fn set_level(wanted: Level) -> Level {
    let level = wanted.min(best());
    LEVEL.store(level as u8, Ordering::Relaxed);
    level
}

/// Evaluates an expression with `$i` bound to the type of the instruction set in use. The
/// expression is compiled for each set.
macro_rules! for_level {
    ($i:ident => $body:expr) => {
        match $crate::cpu::level() {
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::Level::Avx512 => {
                type $i = $crate::simd::Avx512;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::Level::Avx2 => {
                type $i = $crate::simd::Avx2;
                $body
            }
            _ => {
                type $i = $crate::simd::Portable;
                $body
            }
        }
    };
}
pub(crate) use for_level;

/// Evaluates an expression compiled for the level in use. A function that it calls is compiled for
/// that level only if it is inlined. This is a macro so that each level has its own closure: a
/// closure shared by several functions would not be inlined into any.
macro_rules! vectorised {
    ($body:expr) => {
        $crate::cpu::for_level!(I => <I as $crate::simd::Instructions>::vectorise(|| $body))
    };
}
pub(crate) use vectorised;
