//! All metrics for one list of scores, and averages over several.

use crate::ranking::{Ranking, check_finite};
use crate::{Error, Result, f1_at, precision_recall, roc, threshold};
use serde::{Deserialize, Serialize};

/// The metrics for one list of scores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnomalyMetrics {
    /// Area under the ROC curve.
    pub auroc: f64,
    /// Average precision.
    pub auprc: f64,
    /// Equal error rate.
    pub eer: f64,
    /// F1 at threshold 0.2 of the scores scaled to [0, 1], as in the published code. `None` if all
    /// scores are equal.
    pub f1_at_0_2_of_minmax: Option<f64>,
    /// Best F1 over all thresholds.
    pub best_f1: f64,
    /// The lowest threshold that reaches it, in the unit of the scores.
    pub best_f1_threshold: f64,
    /// Share of normal images flagged when 95 % of the anomalies are.
    pub fpr_at_95_tpr: f64,
    /// Share of anomalies found when 5 % of the normal images are flagged.
    pub tpr_at_5_fpr: f64,
}

/// Computes all metrics.
pub fn evaluate(scores: &[f64], anomalous: &[bool]) -> Result<AnomalyMetrics> {
    let ranking = Ranking::new(scores, anomalous)?;
    let curve = roc::curve(&ranking);
    let best = threshold::best(&ranking);
    let scaled_f1 = match min_max_scale(scores) {
        Ok(scaled) => Some(f1_at(&scaled, anomalous, 0.2)?),
        Err(Error::Constant { .. }) => None,
        Err(e) => return Err(e),
    };
    Ok(AnomalyMetrics {
        auroc: roc::area(ranking.counts()),
        auprc: precision_recall::average(ranking.counts()),
        eer: threshold::eer(&curve),
        f1_at_0_2_of_minmax: scaled_f1,
        best_f1: best.f1,
        best_f1_threshold: best.threshold,
        fpr_at_95_tpr: threshold::lowest_fpr(&curve, 0.95),
        tpr_at_5_fpr: threshold::highest_tpr(&curve, 0.05),
    })
}

/// Scores shifted and scaled to [0, 1]. If all scores are equal, this is an error: the published
/// code divides by zero there.
pub fn min_max_scale(scores: &[f64]) -> Result<Vec<f64>> {
    check_finite(scores)?;
    let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low == high {
        return Err(Error::Constant { value: low });
    }
    // Halved first, so that the range of huge scores does not overflow.
    let range = high / 2.0 - low / 2.0;
    Ok(scores.iter().map(|s| (s / 2.0 - low / 2.0) / range).collect())
}

/// Mean and sample standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeanStd {
    /// The mean.
    pub mean: f64,
    /// The standard deviation with n − 1 in the denominator; `None` for a single value.
    pub std: Option<f64>,
    /// Number of values.
    pub count: usize,
}

/// Mean and sample standard deviation of at least one finite value.
pub fn mean_std(values: &[f64]) -> Result<MeanStd> {
    check_finite(values)?;
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    let std = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
    Ok(MeanStd { mean, std, count: values.len() })
}
