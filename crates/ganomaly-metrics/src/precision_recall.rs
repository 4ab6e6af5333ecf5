//! Precision against recall.

use crate::Result;
use crate::ranking::Ranking;
use serde::Serialize;

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
    Ok(average(&Ranking::new(scores, anomalous)?))
}

pub(crate) fn average(ranking: &Ranking) -> f64 {
    let mut before = 0;
    let mut sum = 0.0;
    for (_, normal, anomalous) in ranking.cumulative() {
        sum += (anomalous - before) as f64 * anomalous as f64 / (normal + anomalous) as f64;
        before = anomalous;
    }
    sum / ranking.anomalous as f64
}
