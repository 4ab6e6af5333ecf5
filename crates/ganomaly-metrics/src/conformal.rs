//! Thresholds with a promised rate of false alarms, from the scores of held-out normal images
//! (split conformal prediction), and how certain a measured rate is.
//!
//! What is promised holds if the held-out images and the later normal images are exchangeable, as
//! independent images from one source are, and if no held-out image was trained on.

use crate::ranking::check_finite;
use crate::{Error, Interval, Result};
use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF};

/// The scores of held-out normal images.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    sorted: Vec<f64>,
}

impl Calibration {
    /// Takes the scores of at least one normal image, in any order.
    pub fn new(normal: &[f64]) -> Result<Self> {
        check_finite(normal)?;
        let mut sorted = normal.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Ok(Self { sorted })
    }

    /// The scores, rising.
    pub fn scores(&self) -> &[f64] {
        &self.sorted
    }

    /// The threshold above which the score of a new normal image lies with a probability of at most
    /// `false_alarms`, in (0, 1).
    ///
    /// With n images it is the k-th lowest score, k = ⌈(n + 1)(1 − `false_alarms`)⌉ (Vovk,
    /// Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; Lei et al.,
    /// Distribution-Free Predictive Inference for Regression, JASA 2018, theorem 2.2). An image at
    /// the threshold is no alarm, so the promise holds with ties too. If k > n, there is no such
    /// threshold: an error says how many images it takes, and which rate these can promise.
    pub fn threshold(&self, false_alarms: f64) -> Result<Threshold> {
        if !(false_alarms > 0.0 && false_alarms < 1.0) {
            let given = format!("a rate of {false_alarms} was given: use a number in (0, 1)");
            return Err(Error::Parameter(given));
        }
        let images = self.sorted.len();
        // Of a new image's n + 1 equally likely ranks, those that raise an alarm. A rate like 1/49
        // is no exact double: rounding must not cost a rank.
        let rounding = 1.0 + 4.0 * f64::EPSILON;
        let alarms = ((images + 1) as f64 * false_alarms * rounding) as usize;
        if alarms == 0 {
            let needed = (1.0 / (false_alarms * rounding)).ceil() - 1.0;
            return Err(Error::Parameter(format!(
                "a false-alarm rate of {false_alarms} takes at least {needed} normal images: \
                 {images} can promise no less than 1/{}",
                images + 1
            )));
        }
        let rank = images + 1 - alarms.min(images);
        Ok(Threshold { value: self.sorted[rank - 1], promised: false_alarms, images, rank })
    }

    /// How unusual a score is: the share of the normal images, counting the new one, that score at
    /// least as high. In [1/(n + 1), 1]; NaN for NaN.
    ///
    /// For a new normal image, the probability of a value of at most p is at most p (Bates et al.,
    /// Testing for Outliers with Conformal p-values, Annals of Statistics 2023). Ties count as
    /// higher, so with them the value is larger than it need be.
    pub fn p_value(&self, score: f64) -> f64 {
        if score.is_nan() {
            return f64::NAN;
        }
        let n = self.sorted.len();
        let below = self.sorted.partition_point(|&s| s < score);
        (1 + n - below) as f64 / (n + 1) as f64
    }
}

/// A threshold with a promised rate of false alarms. An image is anomalous if its score is above
/// the threshold, not at it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The threshold, in the unit of the scores.
    pub value: f64,
    /// The promised rate: a bound on the probability of a false alarm, over the choice of the
    /// held-out images and of the new one. In (0, 1).
    pub promised: f64,
    /// Number of held-out images.
    pub images: usize,
    /// The threshold's rank among their scores, from 1 for the lowest.
    pub rank: usize,
}

impl Threshold {
    /// The expected rate of false alarms if no scores are equal, (n + 1 − k) / (n + 1). At most the
    /// promised rate.
    pub fn expected(&self) -> f64 {
        self.alarms() / (self.images as f64 + 1.0)
    }

    /// Where the rate of false alarms of this one threshold on later normal images lies with
    /// probability `level`, in (0, 1); equal shares are left out at both ends.
    ///
    /// Over the choice of the held-out images, the rate has the distribution Beta(n + 1 − k, k) if
    /// the images are independent and no scores are equal (Vovk, Conditional Validity of Inductive
    /// Conformal Predictors, ACML 2012). With equal scores it is stochastically no
    /// larger: the upper end still holds, the lower one need not.
    pub fn band(&self, level: f64) -> Result<Interval> {
        let tail = tail(level)?;
        let (a, b) = (self.alarms(), self.rank as f64);
        Ok(Interval { low: beta_quantile(a, b, tail)?, high: 1.0 - beta_quantile(b, a, tail)? })
    }

    fn alarms(&self) -> f64 {
        self.images as f64 + 1.0 - self.rank as f64
    }
}

/// The Clopper-Pearson interval (Biometrika 1934) of a share of which `detected` of `of`
/// independent images is a sample: for the recall, or for any other rate. It contains the true
/// share with a probability of at least `level`, in (0, 1). To 1e-9 for up to a million images.
pub fn recall_interval(detected: usize, of: usize, level: f64) -> Result<Interval> {
    let tail = tail(level)?;
    if of == 0 || detected > of {
        return Err(Error::Parameter(format!("{detected} of {of} images is not a share")));
    }
    let (hits, misses) = (detected as f64, (of - detected) as f64);
    Ok(Interval {
        low: if detected == 0 { 0.0 } else { beta_quantile(hits, misses + 1.0, tail)? },
        high: if detected == of { 1.0 } else { 1.0 - beta_quantile(misses, hits + 1.0, tail)? },
    })
}

/// The share left out at each end of an interval.
fn tail(level: f64) -> Result<f64> {
    if level > 0.0 && level < 1.0 {
        return Ok((1.0 - level) / 2.0);
    }
    Err(Error::Parameter(format!("a level of {level} was given: use a number in (0, 1)")))
}

/// By bisection: statrs' own inverse is off by 1e-4 for a few hits among 10⁶, and never ends for
/// some numbers of images near 10⁸.
fn beta_quantile(a: f64, b: f64, q: f64) -> Result<f64> {
    let beta = Beta::new(a, b).map_err(|e| Error::Parameter(e.to_string()))?;
    let (mut low, mut high) = (0.0, 1.0);
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return Ok(middle);
        }
        *(if beta.cdf(middle) < q { &mut low } else { &mut high }) = middle;
    }
}
