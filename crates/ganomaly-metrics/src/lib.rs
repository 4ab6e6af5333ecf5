#![doc = include_str!("../README.md")]
//!
//! Scores in, numbers out: metrics for anomaly detection.
//!
//! Every function takes `scores` (higher is more anomalous, any finite numbers) and `anomalous`
//! (true for anomalies), of equal length, with at least one of each kind; anything else results in
//! an [`Error`] that says so. Paired comparisons take two lists of values of equal length instead, a
//! [`Calibration`] the scores of normal images, [`localisation`] the scores of pixels. Definitions
//! are scikit-learn's: an image counts as detected if its score is at or above the threshold. Only
//! for a conformal [`Threshold`] must it be above.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod bootstrap;
mod conformal;
mod error;
mod estimate;
mod localisation;
mod paired;
mod precision_recall;
mod ranking;
mod regression;
mod roc;
mod summary;
mod threshold;
mod wilcoxon;

pub use bootstrap::{
    BootstrapOptions, Interval, ResampledAurocs, bootstrap_auroc, percentile_interval,
    resampled_aurocs,
};
pub use conformal::{Calibration, Threshold, recall_interval};
pub use error::{Error, Result};
pub use estimate::{Estimate, OverTrainings, RunValue, estimate, t_interval};
pub use localisation::{Localisation, Map, PRO_LIMIT, localisation};
pub use paired::{PairedEffect, paired_effect};
pub use precision_recall::{
    PrecisionRecallCurve, average_precision, average_precision_interval, precision_recall_curve,
};
pub use regression::{Coefficient, LinearFit, linear_regression};
pub use roc::{RocCurve, auroc, roc_curve};
pub use summary::{AnomalyMetrics, MeanStd, evaluate, mean_std, min_max_scale};
pub use threshold::{BestF1, best_f1, equal_error_rate, f1_at, fpr_at_tpr, tpr_at_fpr};
pub use wilcoxon::{Wilcoxon, WilcoxonMethod, wilcoxon_signed_rank};

/// This crate's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
