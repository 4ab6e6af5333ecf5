//! The receiver operating characteristic.

use crate::Result;
use crate::ranking::Ranking;
use serde::Serialize;

/// A ROC curve from (0, 0) to (1, 1) with one point per distinct score, as in scikit-learn's
/// `roc_curve(..., drop_intermediate=False)`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RocCurve {
    /// Share of normal scores at or above the threshold, rising.
    pub fpr: Vec<f64>,
    /// Share of anomalous scores at or above the threshold, rising.
    pub tpr: Vec<f64>,
    /// Thresholds, falling; the first is infinite.
    pub thresholds: Vec<f64>,
}

/// The ROC curve of scores, where `anomalous` marks the anomalies.
pub fn roc_curve(scores: &[f64], anomalous: &[bool]) -> Result<RocCurve> {
    Ok(curve(&Ranking::new(scores, anomalous)?))
}

pub(crate) fn curve(ranking: &Ranking) -> RocCurve {
    let mut roc = RocCurve { fpr: vec![0.0], tpr: vec![0.0], thresholds: vec![f64::INFINITY] };
    for (score, normal, anomalous) in ranking.cumulative() {
        roc.fpr.push(normal as f64 / ranking.normal as f64);
        roc.tpr.push(anomalous as f64 / ranking.anomalous as f64);
        roc.thresholds.push(score);
    }
    roc
}

/// Area under the ROC curve: the probability that an anomaly scores above a normal image, with ties
/// counted as half. In [0, 1], 0.5 for chance.
pub fn auroc(scores: &[f64], anomalous: &[bool]) -> Result<f64> {
    Ok(area(Ranking::new(scores, anomalous)?.counts()))
}

/// The area from the normal and anomalous counts of groups of equal scores, highest scores first.
/// Counts are integers below 2⁵³ / 2, so the sum is exact.
pub(crate) fn area(counts: impl Iterator<Item = (usize, usize)>) -> f64 {
    let (mut above, mut normal, mut twice_wins) = (0u64, 0u64, 0u128);
    for (n, a) in counts {
        let (n, a) = (n as u64, a as u64);
        // Every normal score of this group loses to the anomalies above and ties with those in the
        // group.
        twice_wins += u128::from(n) * u128::from(2 * above + a);
        above += a;
        normal += n;
    }
    twice_wins as f64 / (2.0 * above as f64 * normal as f64)
}
