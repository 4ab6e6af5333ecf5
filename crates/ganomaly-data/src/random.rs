//! Seeded random numbers, a generator for each purpose.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What random numbers are for. Generators of different purposes never share a number, whatever
/// the seed: the purpose is a part of ChaCha's key. `ganomaly-model` draws weights from `weights `.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose(pub [u8; 8]);

impl Purpose {
    /// The order of the training images; numbered by epoch, from 1.
    pub const EPOCH: Self = Self(*b"epoch   ");
    /// The order in which a test set is scored.
    pub const TEST_ORDER: Self = Self(*b"test    ");
    /// Images held out for validation.
    pub const VALIDATION: Self = Self(*b"validate");
    /// Test images kept where their number is limited; 0 for normal ones, 1 for anomalies.
    pub const TEST_LIMIT: Self = Self(*b"limit   ");

    /// The generator of a seed; each `number` gives another.
    pub fn generator(self, seed: u64, number: u64) -> ChaCha8Rng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&self.0);
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(number);
        rng
    }
}

/// The indices in a random order. Fisher-Yates written out, so that no version of a library
/// changes it.
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
