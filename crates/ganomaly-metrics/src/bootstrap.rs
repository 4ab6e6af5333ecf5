//! How far an AUROC would move with another draw of test pictures.

use crate::ranking::{Group, Ranking};
use crate::{Error, Result, roc};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// How the bootstrap is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BootstrapOptions {
    /// Resamples drawn, at least 1.
    pub resamples: usize,
    /// Share of the resampled values that the interval holds, in (0, 1).
    pub level: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for BootstrapOptions {
    fn default() -> Self {
        Self { resamples: 1000, level: 0.95, seed: 0 }
    }
}

/// A percentile interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The percentile interval of the AUROC over stratified resamples: normal and anomalous scores are each drawn with replacement,
/// as many as there are. It covers the choice of test pictures, not the training's randomness.
pub fn bootstrap_auroc(
    scores: &[f64],
    anomalous: &[bool],
    options: BootstrapOptions,
) -> Result<Interval> {
    let BootstrapOptions { resamples, level, seed } = options;
    if resamples == 0 || !(0.0..1.0).contains(&level) || level == 0.0 {
        return Err(Error::Parameter(format!(
            "{resamples} resamples at level {level}: use at least 1, and a level in (0, 1)"
        )));
    }
    let ranking = Ranking::new(scores, anomalous)?;
    // The group that each score of a kind belongs to: a resample is a new count for each group, and needs no sorting.
    let groups_of = |count: fn(&Group) -> usize| -> Vec<u32> {
        let groups = ranking.groups.iter().enumerate();
        groups.flat_map(|(i, g)| std::iter::repeat_n(i as u32, count(g))).collect()
    };
    let (normal, anomalies) = (groups_of(|g| g.normal), groups_of(|g| g.anomalous));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let empty: Vec<Group> =
        ranking.groups.iter().map(|g| Group { normal: 0, anomalous: 0, ..*g }).collect();
    let mut areas: Vec<f64> = (0..resamples)
        .map(|_| {
            let mut groups = empty.clone();
            for _ in 0..normal.len() {
                groups[draw(&mut rng, &normal)].normal += 1;
            }
            for _ in 0..anomalies.len() {
                groups[draw(&mut rng, &anomalies)].anomalous += 1;
            }
            roc::area(groups.into_iter())
        })
        .collect();
    areas.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - level) / 2.0;
    Ok(Interval { low: quantile(&areas, tail), high: quantile(&areas, 1.0 - tail) })
}

/// One of the list, by 32 random bits scaled to its length: written out, so that no library's version changes the draws.
fn draw(rng: &mut ChaCha8Rng, list: &[u32]) -> usize {
    let at = (u64::from(rng.random::<u32>()) * list.len() as u64) >> 32;
    list[at as usize] as usize
}

/// NumPy's default quantile: linear between the two nearest of the sorted values.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}
