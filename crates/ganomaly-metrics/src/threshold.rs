//! Metrics at one threshold.

use crate::ranking::{Ranking, check_finite};
use crate::roc::{self, RocCurve};
use crate::{Error, Result, precision_recall};
use serde::Serialize;

/// The rate at which the share of normal images flagged equals the share of anomalies missed, by
/// linear interpolation between the points of the ROC curve. In [0, 1].
pub fn equal_error_rate(scores: &[f64], anomalous: &[bool]) -> Result<f64> {
    Ok(eer(&roc::curve(&Ranking::new(scores, anomalous)?)))
}

pub(crate) fn eer(curve: &RocCurve) -> f64 {
    let points: Vec<(f64, f64)> =
        curve.fpr.iter().copied().zip(curve.tpr.iter().copied()).collect();
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        // The line 1 − x − y falls from 1 at (0, 0) to −1 at (1, 1).
        let (before, after) = (1.0 - x0 - y0, 1.0 - x1 - y1);
        if after <= 0.0 {
            return x0 + (x1 - x0) * before / (before - after);
        }
    }
    1.0
}

/// F1 when scores at or above `threshold` count as anomalous; 0 if nothing is detected.
pub fn f1_at(scores: &[f64], anomalous: &[bool], threshold: f64) -> Result<f64> {
    check_finite(scores)?;
    if scores.len() != anomalous.len() {
        return Err(Error::LengthMismatch { scores: scores.len(), labels: anomalous.len() });
    }
    let count = |flagged: bool, kind: bool| {
        let pairs = scores.iter().zip(anomalous);
        pairs.filter(|&(&s, &a)| (s >= threshold) == flagged && a == kind).count() as f64
    };
    let (hits, false_alarms, misses) = (count(true, true), count(true, false), count(false, true));
    Ok(if hits == 0.0 { 0.0 } else { 2.0 * hits / (2.0 * hits + false_alarms + misses) })
}

/// The best F1 and where it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BestF1 {
    /// F1 in (0, 1].
    pub f1: f64,
    /// The lowest score that reaches it as a threshold.
    pub threshold: f64,
}

/// The best F1 over all scores as thresholds. The threshold is chosen on the same labels, so this
/// is an upper bound, not a performance estimate.
pub fn best_f1(scores: &[f64], anomalous: &[bool]) -> Result<BestF1> {
    Ok(best(&Ranking::new(scores, anomalous)?))
}

pub(crate) fn best(ranking: &Ranking) -> BestF1 {
    let curve = precision_recall::curve(ranking);
    let mut best = BestF1 { f1: -1.0, threshold: f64::NAN };
    for ((p, r), &threshold) in curve.precision.iter().zip(&curve.recall).zip(&curve.thresholds) {
        let f1 = if p + r == 0.0 { 0.0 } else { 2.0 * p * r / (p + r) };
        if f1 > best.f1 {
            best = BestF1 { f1, threshold };
        }
    }
    best
}

/// The lowest share of normal images flagged when at least `tpr` of the anomalies are. `tpr` is in
/// [0, 1].
pub fn fpr_at_tpr(scores: &[f64], anomalous: &[bool], tpr: f64) -> Result<f64> {
    check_rate(tpr)?;
    Ok(lowest_fpr(&roc::curve(&Ranking::new(scores, anomalous)?), tpr))
}

pub(crate) fn lowest_fpr(curve: &RocCurve, tpr: f64) -> f64 {
    curve.tpr.iter().position(|&t| t >= tpr).map_or(1.0, |i| curve.fpr[i])
}

/// The highest share of anomalies found when at most `fpr` of the normal images are flagged. `fpr`
/// is in [0, 1].
pub fn tpr_at_fpr(scores: &[f64], anomalous: &[bool], fpr: f64) -> Result<f64> {
    check_rate(fpr)?;
    Ok(highest_tpr(&roc::curve(&Ranking::new(scores, anomalous)?), fpr))
}

pub(crate) fn highest_tpr(curve: &RocCurve, fpr: f64) -> f64 {
    curve.fpr.iter().rposition(|&f| f <= fpr).map_or(0.0, |i| curve.tpr[i])
}

fn check_rate(rate: f64) -> Result<()> {
    if (0.0..=1.0).contains(&rate) {
        return Ok(());
    }
    Err(Error::Parameter(format!("a rate of {rate} was given: use a number in [0, 1]")))
}
