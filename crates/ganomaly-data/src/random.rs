//! Seeded random numbers, with one generator per purpose.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The purpose of random numbers. Generators for different purposes are independent streams for
/// every seed: the purpose is part of ChaCha's key. `ganomaly-model` draws weights with `weights `.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose(pub [u8; 8]);

impl Purpose {
    /// The order of the training images; numbered by epoch, from 1.
    pub const EPOCH: Self = Self(*b"epoch   ");
    /// Random changes to training images; numbered by epoch and image.
    pub const AUGMENT: Self = Self(*b"augment ");
    /// The order in which a test set is scored.
    pub const TEST_ORDER: Self = Self(*b"test    ");
    /// Images held out for validation.
    pub const VALIDATION: Self = Self(*b"validate");
    /// Test images kept if their number is limited; 0 for normal ones, 1 for anomalies.
    pub const TEST_LIMIT: Self = Self(*b"limit   ");

    /// The generator for a seed; each `number` gives another stream.
    pub fn generator(self, seed: u64, number: u64) -> ChaCha8Rng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&self.0);
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(number);
        rng
    }
}

/// The indices in random order. Fisher-Yates is implemented here, so that library updates cannot
/// change the order.
pub fn shuffled(indices: &[u32], seed: u64, purpose: Purpose, number: u64) -> Vec<u32> {
    let mut rng = purpose.generator(seed, number);
    let mut order = indices.to_vec();
    for i in (1..order.len()).rev() {
        // 64 random bits scaled to 0..=i: the bias is below i / 2^64.
        let draw = (u128::from(rng.random::<u64>()) * (i as u128 + 1)) >> 64;
        order.swap(i, draw as usize);
    }
    order
}
