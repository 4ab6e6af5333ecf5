//! Seeded random streams. Candle's CPU generator cannot be seeded, so none of its random numbers
//! are used.

use candle_core::{DType, Device, Result, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// The generator for one purpose. Generators for different purposes are independent streams for
/// every seed: the purpose is part of ChaCha's key, as in `ganomaly_data::Purpose`.
pub fn stream(seed: u64, purpose: &[u8; 8]) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(purpose);
    ChaCha8Rng::from_seed(key)
}

/// A new tensor of draws from N(mean, std²).
pub fn normal(
    rng: &mut ChaCha8Rng,
    (mean, std): (f64, f64),
    shape: &[usize],
    dtype: DType,
) -> Result<Tensor> {
    let draws = (0..shape.iter().product())
        .map(|_| {
            let z: f64 = StandardNormal.sample(rng);
            // Rounded to f32 first, so that a float64 network starts from the same weights as a
            // float32 one.
            f64::from((mean + std * z) as f32)
        })
        .collect::<Vec<f64>>();
    Tensor::from_vec(draws, shape, &Device::Cpu)?.to_dtype(dtype)
}
