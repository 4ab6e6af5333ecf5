//! How far an AUROC, or the difference of two, would move with another draw of test pictures.

use crate::ranking::{Group, Ranking, check_finite};
use crate::{Error, Result, roc};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
    options.check()?;
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
    let areas: Vec<f64> = (0..resamples)
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
    percentile_interval(&areas, level)
}

/// The AUROCs of several lists of scores of the same pictures, resampled with the same draws for all.
#[derive(Clone, Debug, PartialEq)]
pub struct ResampledAurocs {
    /// Each list's AUROC on the pictures as they are.
    pub aurocs: Vec<f64>,
    /// For each list, the AUROC of each resample.
    pub resampled: Vec<Vec<f64>>,
}

/// Resamples test pictures, normal and anomalous ones apart, each with replacement and as many as there are, and takes every
/// list's AUROC on the same draws. `options.level` is not used here.
pub fn resampled_aurocs(
    lists: &[&[f64]],
    anomalous: &[bool],
    options: BootstrapOptions,
) -> Result<ResampledAurocs> {
    options.check()?;
    let rankings: Vec<Ranking> =
        lists.iter().map(|scores| Ranking::new(scores, anomalous)).collect::<Result<_>>()?;
    // Where each picture stands in each list's groups of equal scores.
    let places: Vec<Vec<u32>> = rankings.iter().zip(lists).map(|(r, s)| r.places(s)).collect();
    let of_kind = |kind: bool| -> Vec<u32> {
        (0..anomalous.len() as u32).filter(|&i| anomalous[i as usize] == kind).collect()
    };
    let (normal, anomalies) = (of_kind(false), of_kind(true));
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut resampled = vec![Vec::with_capacity(options.resamples); lists.len()];
    let mut groups: Vec<Group> = Vec::new();
    for _ in 0..options.resamples {
        let mut draws = |from: &[u32]| -> Vec<usize> {
            (0..from.len()).map(|_| draw(&mut rng, from)).collect()
        };
        let (normal, anomalies) = (draws(&normal), draws(&anomalies));
        for ((ranking, places), areas) in rankings.iter().zip(&places).zip(&mut resampled) {
            groups.clear();
            groups.extend(ranking.groups.iter().map(|g| Group { normal: 0, anomalous: 0, ..*g }));
            for &picture in &normal {
                groups[places[picture] as usize].normal += 1;
            }
            for &picture in &anomalies {
                groups[places[picture] as usize].anomalous += 1;
            }
            areas.push(roc::area(groups.iter().copied()));
        }
    }
    let aurocs = rankings.iter().map(|r| roc::area(r.groups.iter().copied())).collect();
    Ok(ResampledAurocs { aurocs, resampled })
}

/// How much higher one AUROC is than another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AurocDifference {
    /// The first list's AUROC minus the second's, in [-1, 1].
    pub difference: f64,
    /// Its percentile interval.
    pub interval: Interval,
}

/// The AUROC of `a` minus that of `b`, two lists of scores of the same pictures, with a paired percentile interval: pictures are
/// resampled as in [`resampled_aurocs`], the same draws for both. It covers the choice of test pictures, not the training's randomness.
pub fn bootstrap_auroc_difference(
    a: &[f64],
    b: &[f64],
    anomalous: &[bool],
    options: BootstrapOptions,
) -> Result<AurocDifference> {
    let ResampledAurocs { aurocs, resampled } = resampled_aurocs(&[a, b], anomalous, options)?;
    let differences: Vec<f64> =
        resampled[0].iter().zip(&resampled[1]).map(|(a, b)| a - b).collect();
    Ok(AurocDifference {
        difference: aurocs[0] - aurocs[1],
        interval: percentile_interval(&differences, options.level)?,
    })
}

/// The interval that holds the share `level` of resampled values, an equal share left out at either end.
pub fn percentile_interval(resampled: &[f64], level: f64) -> Result<Interval> {
    check_finite(resampled)?;
    BootstrapOptions { level, ..Default::default() }.check()?;
    let mut sorted = resampled.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - level) / 2.0;
    Ok(Interval { low: quantile(&sorted, tail), high: quantile(&sorted, 1.0 - tail) })
}

impl BootstrapOptions {
    pub(crate) fn check(&self) -> Result<()> {
        let Self { resamples, level, .. } = *self;
        if resamples == 0 || !(0.0..1.0).contains(&level) || level == 0.0 {
            return Err(Error::Parameter(format!(
                "{resamples} resamples at level {level}: use at least 1, and a level in (0, 1)"
            )));
        }
        Ok(())
    }
}

/// One of the list, by 32 random bits scaled to its length: written out, so that no library's version changes the draws.
fn draw(rng: &mut ChaCha8Rng, list: &[u32]) -> usize {
    list[draw_below(rng, list.len())] as usize
}

pub(crate) fn draw_below(rng: &mut ChaCha8Rng, len: usize) -> usize {
    ((u64::from(rng.random::<u32>()) * len as u64) >> 32) as usize
}

/// NumPy's default quantile: linear between the two nearest of the sorted values.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}
