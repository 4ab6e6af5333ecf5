//! This CPU's peak multiply-add rate: the upper bound for a training step.

use crate::cpu::for_level;
use crate::simd::{Instructions, Kernel, Register, Vector};
use std::hint::black_box;
use std::time::Instant;

/// Parallel sums: enough to hide an addition's latency, few enough for the registers of every
/// level.
const SUMS: usize = 12;
/// Additions to each sum per attempt.
const ROUNDS: usize = 1 << 20;
/// Attempts, of which the fastest counts.
const ATTEMPTS: usize = 5;

/// f32 multiply-adds per second of all threads together, using registers only.
pub fn multiply_adds_per_second() -> f64 {
    let attempt = |_| {
        let rates = rayon::broadcast(|_| {
            let start = Instant::now();
            let lanes = for_level!(I => I::run(Peak));
            (SUMS * ROUNDS * lanes) as f64 / start.elapsed().as_secs_f64()
        });
        rates.into_iter().sum::<f64>()
    };
    (0..ATTEMPTS).map(attempt).fold(0.0, f64::max)
}

/// Multiplies and adds in registers; returns the number of lanes.
struct Peak;

impl Kernel for Peak {
    type Output = usize;

    #[inline(always)]
    fn run<I: Instructions>(self) -> usize {
        let factor = Register::<I, f32>::splat(black_box(0.999));
        let mut sums = [Register::<I, f32>::splat(1.0); SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = sum.fma(factor, factor);
            }
        }
        let mut out = [0.0; 64];
        for sum in sums {
            sum.store(&mut out, 0);
            black_box(&out);
        }
        Register::<I, f32>::LANES
    }
}
