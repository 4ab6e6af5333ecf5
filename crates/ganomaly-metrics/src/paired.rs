//! Effect sizes of paired differences.

use crate::wilcoxon::{differences, wilcoxon_signed_rank};
use crate::{Result, mean_std};
use serde::{Deserialize, Serialize};

/// The differences of two paired lists, first minus second, in the unit of the values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedEffect {
    /// Number of pairs.
    pub count: usize,
    /// Mean difference.
    pub mean: f64,
    /// Sample standard deviation of the differences; `None` for a single pair.
    pub std: Option<f64>,
    /// Hodges-Lehmann estimate: the median of the means of all pairs of differences, including each
    /// with itself.
    pub pseudo_median: f64,
    /// Matched-pairs rank-biserial correlation in [-1, 1]: (W⁺ − W⁻) / (W⁺ + W⁻) of the Wilcoxon
    /// test; 0 if no pair differs.
    pub rank_biserial: f64,
}

/// The effect of `a` over `b`, from the differences `a[i] - b[i]`.
pub fn paired_effect(a: &[f64], b: &[f64]) -> Result<PairedEffect> {
    let differences = differences(a, b)?;
    let summary = mean_std(&differences)?;
    let test = wilcoxon_signed_rank(a, b)?;
    let ranks = test.positive + test.negative;
    Ok(PairedEffect {
        count: differences.len(),
        mean: summary.mean,
        std: summary.std,
        pseudo_median: pseudo_median(&differences),
        rank_biserial: if ranks > 0.0 { (test.positive - test.negative) / ranks } else { 0.0 },
    })
}

fn pseudo_median(values: &[f64]) -> f64 {
    let mut means: Vec<f64> = (0..values.len())
        .flat_map(|i| values[i..].iter().map(move |v| f64::midpoint(values[i], *v)))
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    f64::midpoint(means[(means.len() - 1) / 2], means[means.len() / 2])
}
