//! NumPy's legacy shuffle, for the same splits as the published code.

use rand_mt::Mt;

/// `numpy.random.RandomState(seed)`: MT19937 seeded by Knuth's recurrence
/// (numpy/random/_mt19937.pyx `_legacy_seeding`).
pub(crate) fn generator(seed: u32) -> Mt {
    Mt::new(seed)
}

/// `shuffle`, and `permutation` of a range: Fisher-Yates from the end, each index drawn by masked
/// rejection (mtrand.pyx `shuffle`, distributions.c `random_interval`).
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut Mt) {
    for i in (1..items.len()).rev() {
        let max = i as u32;
        let mask = u32::MAX >> max.leading_zeros();
        let j = loop {
            let draw = rng.next_u32() & mask;
            if draw <= max {
                break draw;
            }
        };
        items.swap(i, j as usize);
    }
}
