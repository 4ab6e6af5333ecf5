//! NumPy's legacy shuffle, for the same splits as the published code.

use rand_mt::Mt;

/// `numpy.random.seed(seed); numpy.random.shuffle(items)`: MT19937 seeded by Knuth's recurrence,
/// then Fisher-Yates from the end, each index drawn by masked rejection (numpy/random/_mt19937.pyx
/// `_legacy_seeding`, mtrand.pyx `shuffle`, distributions.c `random_interval`).
pub(crate) fn shuffle<T>(items: &mut [T], seed: u32) {
    let mut rng = Mt::new(seed);
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
