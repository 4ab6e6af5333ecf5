//! Seeded random streams: candle's CPU generator takes no seed, so every random number here is ours.

use candle_core::{DType, Device, Result, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// The generator of one purpose. Generators of different purposes never share a number, whatever
/// the seed: the purpose is a part of ChaCha's key, as in `ganomaly_data::Purpose`.
pub fn stream(seed: u64, purpose: &[u8; 8]) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(purpose);
    ChaCha8Rng::from_seed(key)
}

/// Fills a new tensor with draws from N(mean, std²).
pub fn normal(
    rng: &mut ChaCha8Rng,
    (mean, std): (f64, f64),
    shape: &[usize],
    dtype: DType,
) -> Result<Tensor> {
    let draws = (0..shape.iter().product())
        .map(|_| {
            let z: f64 = StandardNormal.sample(rng);
            // Rounded to f32 first, so that a float64 network starts where a float32 one does.
            f64::from((mean + std * z) as f32)
        })
        .collect::<Vec<f64>>();
    Tensor::from_vec(draws, shape, &Device::Cpu)?.to_dtype(dtype)
}
