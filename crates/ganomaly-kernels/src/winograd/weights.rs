//! Kernels on their way into the transformed domain, and their gradients on the way back.

// Loops over small arrays of known size: by index they stay in registers.
#![allow(clippy::needless_range_loop)]

use super::Plan;
use super::filter::{Filter, LANES, Lanes, combine, lanes, store};
use crate::cpu::vectorised;
use crate::storage::Real;
use rayon::prelude::*;

impl<F: Filter<M, S>, const M: usize, const S: usize> Plan<F, M, S> {
    /// W̃ = G w Gᵀ as [point, phase, I, O].
    pub(super) fn transform_weights<T: Real>(&self, w: &[T]) -> Vec<T> {
        let plane = self.s.i * self.s.o;
        let mut all = vec![T::zero(); S * S * self.weights()];
        all.par_chunks_mut(S * self.weights()).enumerate().for_each(|(u, row)| {
            vectorised(|| {
                for phase in 0..4 {
                    let tap = |a: usize, b: usize| {
                        let (ky, kx) = (2 * a + phase / 2, 2 * b + phase % 2);
                        &w[(ky * 4 + kx) * plane..][..plane]
                    };
                    let taps = [tap(0, 0), tap(1, 0), tap(0, 1), tap(1, 1)];
                    for at in (0..plane).step_by(LANES) {
                        let [w00, w10, w01, w11] = [0, 1, 2, 3].map(|t| lanes(taps[t], at));
                        let down = [combine(&F::G[u], &[w00, w10]), combine(&F::G[u], &[w01, w11])];
                        for v in 0..S {
                            let to = v * self.weights() + phase * plane + at;
                            store(row, to, &combine(&F::G[v], &down));
                        }
                    }
                }
            });
        });
        all
    }

    /// dw = Gᵀ dW̃ G as [K, K, I, O].
    pub(super) fn finish_weights<T: Real>(&self, weights: &[T]) -> Vec<T> {
        let plane = self.s.i * self.s.o;
        let mut dw = vec![T::zero(); 16 * plane];
        dw.par_chunks_mut(4 * plane).enumerate().for_each(|(ky, dw)| {
            let (a, py) = (ky / 2, ky % 2);
            vectorised(|| {
                for px in 0..2 {
                    for at in (0..plane).step_by(LANES) {
                        let from = (2 * py + px) * plane + at;
                        let mut row = [Lanes::zero(); S];
                        for v in 0..S {
                            let mut column = [Lanes::zero(); S];
                            for u in 0..S {
                                column[u] = lanes(weights, (u * S + v) * self.weights() + from);
                            }
                            // Both branches, so that the factors are known where they are used.
                            row[v] = match a {
                                0 => combine(&F::GT[0], &column),
                                _ => combine(&F::GT[1], &column),
                            };
                        }
                        for b in 0..2 {
                            store(dw, (2 * b + px) * plane + at, &combine(&F::GT[b], &row));
                        }
                    }
                }
            });
        });
        dw
    }
}
