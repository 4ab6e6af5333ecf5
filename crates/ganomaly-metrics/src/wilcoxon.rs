//! The Wilcoxon signed-rank test.

use crate::ranking::check_finite;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

/// Up to this many pairs, the p value is exact if no difference is zero and no two have the same
/// size.
const EXACT: usize = 50;
/// Up to this many pairs, it is exact even with zeros and ties.
const EXACT_WITH_TIES: usize = 13;

/// How the p value was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WilcoxonMethod {
    /// From the distribution over all assignments of signs to the ranks.
    Exact,
    /// From a normal distribution with its variance corrected for ties, without a continuity
    /// correction.
    Normal,
}

/// The two-sided test of whether paired differences are symmetric around zero.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wilcoxon {
    /// The smaller of the sums of the ranks of positive and of negative differences.
    pub statistic: f64,
    /// Sum of the ranks of the differences in favour of the first list.
    pub positive: f64,
    /// Sum of the ranks of the differences in favour of the second list.
    pub negative: f64,
    /// Two-sided p value, in (0, 1]; 1 if all differences are zero.
    pub p: f64,
    /// Number of pairs that differ.
    pub count: usize,
    /// How p was computed.
    pub method: WilcoxonMethod,
}

/// Tests the differences `a[i] - b[i]`. The conventions are those of SciPy's `wilcoxon(a, b)` with
/// its defaults: `zero_method="wilcox"` (pairs that do not differ are left out), average ranks for
/// ties, `method="auto"` (exact up to 50 pairs, or 13 with zeros or ties; otherwise a normal
/// approximation), `correction=False`.
pub fn wilcoxon_signed_rank(a: &[f64], b: &[f64]) -> Result<Wilcoxon> {
    let all = differences(a, b)?;
    let nonzero: Vec<f64> = all.iter().copied().filter(|&d| d != 0.0).collect();
    let ranks = twice_ranks(&nonzero);
    let signed = |positive: bool| -> u64 {
        let of = nonzero.iter().zip(&ranks.twice).filter(|(d, _)| (**d > 0.0) == positive);
        of.map(|(_, rank)| rank).sum()
    };
    let (positive, negative) = (signed(true), signed(false));
    let clean = nonzero.len() == all.len() && ranks.ties.is_empty();
    let exact = all.len() <= if clean { EXACT } else { EXACT_WITH_TIES };
    let p = if nonzero.is_empty() {
        1.0
    } else if exact {
        exact_p(&ranks.twice, positive.min(negative))
    } else {
        normal_p(nonzero.len() as f64, &ranks.ties, positive as f64 / 2.0)?
    };
    Ok(Wilcoxon {
        statistic: positive.min(negative) as f64 / 2.0,
        positive: positive as f64 / 2.0,
        negative: negative as f64 / 2.0,
        p,
        count: nonzero.len(),
        method: if exact || nonzero.is_empty() {
            WilcoxonMethod::Exact
        } else {
            WilcoxonMethod::Normal
        },
    })
}

/// `a[i] - b[i]` of two lists that are paired.
pub(crate) fn differences(a: &[f64], b: &[f64]) -> Result<Vec<f64>> {
    if a.len() != b.len() {
        return Err(Error::Unpaired { a: a.len(), b: b.len() });
    }
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    check_finite(&differences)?;
    Ok(differences)
}

struct Ranks {
    /// Twice the rank of each difference by size, with average ranks for ties, so integers.
    twice: Vec<u64>,
    /// Sizes of the groups of ties, without single values.
    ties: Vec<f64>,
}

fn twice_ranks(differences: &[f64]) -> Ranks {
    let mut order: Vec<usize> = (0..differences.len()).collect();
    order.sort_unstable_by(|&i, &j| differences[i].abs().total_cmp(&differences[j].abs()));
    let mut ranks = Ranks { twice: vec![0; differences.len()], ties: Vec::new() };
    let mut before = 0;
    for tied in order.chunk_by(|&i, &j| differences[i].abs() == differences[j].abs()) {
        // The mean of before + 1, …, before + n, doubled.
        let rank = 2 * before + tied.len() + 1;
        tied.iter().for_each(|&i| ranks.twice[i] = rank as u64);
        if tied.len() > 1 {
            ranks.ties.push(tied.len() as f64);
        }
        before += tied.len();
    }
    ranks
}

/// Twice the share of all assignments of signs whose sum of positive ranks is at most `statistic`;
/// all ranks are doubled. The distribution is symmetric, so this is twice the smaller tail.
fn exact_p(ranks: &[u64], statistic: u64) -> f64 {
    let total: u64 = ranks.iter().sum();
    // ways[s]: the number of ways in which ranks sum to s. At most 2⁵⁰ in total, so exact in a
    // double.
    let mut ways = vec![0.0; total as usize + 1];
    ways[0] = 1.0;
    for &rank in ranks {
        for sum in (rank as usize..ways.len()).rev() {
            ways[sum] += ways[sum - rank as usize];
        }
    }
    let tail: f64 = ways[..=statistic as usize].iter().sum();
    (2.0 * tail / 2f64.powi(ranks.len() as i32)).min(1.0)
}

fn normal_p(n: f64, ties: &[f64], positive: f64) -> Result<f64> {
    let tied: f64 = ties.iter().map(|t| t * t * t - t).sum();
    let variance = (n * (n + 1.0) * (2.0 * n + 1.0) - tied / 2.0) / 24.0;
    let z = (positive - n * (n + 1.0) / 4.0) / variance.sqrt();
    let normal = Normal::new(0.0, 1.0).map_err(|e| Error::Parameter(e.to_string()))?;
    Ok((2.0 * normal.cdf(-z.abs())).min(1.0))
}
