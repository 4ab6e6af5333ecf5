//! Precision against recall.

use crate::ranking::Ranking;
use crate::{Error, Interval, Result};
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal};

/// A precision-recall curve with one point per distinct score, from the lowest threshold to the
/// highest, then (recall 0, precision 1), as in scikit-learn's `precision_recall_curve`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrecisionRecallCurve {
    /// Share of anomalies among the scores at or above the threshold.
    pub precision: Vec<f64>,
    /// Share of the anomalies at or above the threshold, falling.
    pub recall: Vec<f64>,
    /// Thresholds, rising; one fewer than points.
    pub thresholds: Vec<f64>,
}

/// The precision-recall curve.
pub fn precision_recall_curve(scores: &[f64], anomalous: &[bool]) -> Result<PrecisionRecallCurve> {
    Ok(curve(&Ranking::new(scores, anomalous)?))
}

pub(crate) fn curve(ranking: &Ranking) -> PrecisionRecallCurve {
    let (mut precision, mut recall, mut thresholds) = (vec![1.0], vec![0.0], Vec::new());
    for (score, normal, anomalous) in ranking.cumulative() {
        precision.push(anomalous as f64 / (normal + anomalous) as f64);
        recall.push(anomalous as f64 / ranking.anomalous as f64);
        thresholds.push(score);
    }
    precision.reverse();
    recall.reverse();
    thresholds.reverse();
    PrecisionRecallCurve { precision, recall, thresholds }
}

/// Average precision (AUPRC): the precision at each recall, weighted by the increase in recall,
/// without interpolation. In (0, 1].
pub fn average_precision(scores: &[f64], anomalous: &[bool]) -> Result<f64> {
    Ok(average(Ranking::new(scores, anomalous)?.counts()))
}

/// The average from the normal and anomalous counts of groups of equal scores, highest scores first.
pub(crate) fn average(counts: impl Iterator<Item = (usize, usize)>) -> f64 {
    let (mut above, mut anomalous, mut sum) = (0, 0, 0.0);
    for (n, a) in counts {
        anomalous += a;
        above += n + a;
        sum += a as f64 * anomalous as f64 / above as f64;
    }
    sum / anomalous as f64
}

/// A confidence interval for an average precision of a test set with this many anomalies: the
/// normal approximation on the scale of logits, which Boyd, Eng and Page (ECML PKDD 2013,
/// equation 9) recommend. `level` is its coverage, in (0, 1).
pub fn average_precision_interval(average: f64, anomalies: usize, level: f64) -> Result<Interval> {
    if !(0.0..=1.0).contains(&average) || anomalies == 0 || !(level > 0.0 && level < 1.0) {
        let given = format!("average precision {average}, {anomalies} anomalies, level {level}");
        return Err(Error::Parameter(given));
    }
    let n = anomalies as f64;
    // Half an anomaly away from both ends, where a logit is infinite.
    let inside = average.clamp(0.5 / n, 1.0 - 0.5 / n);
    let logit = (inside / (1.0 - inside)).ln();
    let width = Normal::standard().inverse_cdf(f64::midpoint(1.0, level))
        / (n * inside * (1.0 - inside)).sqrt();
    let at = |logit: f64| 1.0 / (1.0 + (-logit).exp());
    Ok(Interval { low: at(logit - width).min(average), high: at(logit + width).max(average) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_that_of_the_formula() {
        // ln(0.8 / 0.2) ± 1.959964 · 0.25, back by 1 / (1 + e⁻ˣ).
        let found = average_precision_interval(0.8, 100, 0.95).unwrap();
        let expected = [0.710_189, 0.867_184];
        assert!((found.low - expected[0]).abs() < 1e-5, "{found:?}");
        assert!((found.high - expected[1]).abs() < 1e-5, "{found:?}");
        let perfect = average_precision_interval(1.0, 10, 0.95).unwrap();
        assert!(perfect.high == 1.0 && perfect.low < 0.8, "{perfect:?}");
        for (average, anomalies, level) in [(f64::NAN, 5, 0.95), (0.5, 0, 0.95), (0.5, 5, 1.0)] {
            assert!(average_precision_interval(average, anomalies, level).is_err());
        }
    }
}
