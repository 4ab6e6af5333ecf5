//! A mean over runs, and how much it would vary with other test images and other trainings.

use crate::ranking::check_finite;
use crate::{Error, Interval, Result, mean_std, percentile_interval};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Minimum number of seeds for an interval over trainings: with two it would be thirteen standard
/// deviations wide.
const SEEDS: usize = 3;

/// A run's contribution to a mean: its AUROC, or a difference of AUROCs.
#[derive(Clone, Debug, PartialEq)]
pub struct RunValue<'a> {
    /// The run's class.
    pub class: &'a str,
    /// The run's seed.
    pub seed: u64,
    /// The value.
    pub value: f64,
    /// The value in each resample of the test images; empty if the scores are not available.
    pub resampled: Vec<f64>,
}

/// A mean over the runs of each class, then over classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Its confidence interval over test images: other images of the same kind, the same trained
    /// weights. The images are resampled jointly for all runs. `None` if a run's scores are not
    /// available.
    pub over_images: Option<Interval>,
    /// How it varies between trainings.
    pub over_trainings: OverTrainings,
}

/// How a mean over runs varies between trainings.
///
/// Trainings with the same seed are not independent, so the seed is the sampling unit: the values
/// are the means over classes for each seed that has every class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverTrainings {
    /// Number of runs in the mean.
    pub runs: usize,
    /// Number of seeds that have every class.
    pub seeds: usize,
    /// Sample standard deviation, over these seeds, of the mean over classes; `None` with fewer
    /// than two.
    pub std: Option<f64>,
    /// Student's t interval of the mean over these seeds; `None` with fewer than three.
    pub interval: Option<Interval>,
}

/// The mean of the values of one or more runs with its two kinds of uncertainty. Both intervals
/// have the given level, in (0, 1).
pub fn estimate(values: &[RunValue<'_>], level: f64) -> Result<Estimate> {
    let classes = distinct(values.iter().map(|v| v.class));
    let all: Vec<f64> = values.iter().map(|v| v.value).collect();
    check_finite(&all)?;
    // Each class has the same weight, and within a class each run.
    let shares: Vec<f64> = values
        .iter()
        .map(|v| {
            let runs = values.iter().filter(|other| other.class == v.class).count();
            1.0 / (classes.len() * runs) as f64
        })
        .collect();
    let resamples = values.iter().map(|v| v.resampled.len()).min().unwrap_or_default();
    let over_images = if resamples == 0 {
        None
    } else {
        let mean = |i: usize| values.iter().zip(&shares).map(|(v, s)| v.resampled[i] * s).sum();
        Some(percentile_interval(&(0..resamples).map(mean).collect::<Vec<f64>>(), level)?)
    };
    Ok(Estimate {
        value: all.iter().zip(&shares).map(|(value, share)| value * share).sum(),
        over_images,
        over_trainings: over_trainings(values, &classes, level)?,
    })
}

fn over_trainings(values: &[RunValue<'_>], classes: &[&str], level: f64) -> Result<OverTrainings> {
    let mean_of = |class: &str, seed: u64| -> Option<f64> {
        let of = values.iter().filter(|v| v.class == class && v.seed == seed);
        mean_std(&of.map(|v| v.value).collect::<Vec<_>>()).ok().map(|m| m.mean)
    };
    let by_seed: Vec<f64> = distinct(values.iter().map(|v| v.seed))
        .into_iter()
        .filter_map(|seed| classes.iter().map(|class| mean_of(class, seed)).collect())
        .map(|means: Vec<f64>| means.iter().sum::<f64>() / means.len() as f64)
        .collect();
    Ok(OverTrainings {
        runs: values.len(),
        seeds: by_seed.len(),
        std: mean_std(&by_seed).ok().and_then(|m| m.std),
        interval: if by_seed.len() < SEEDS { None } else { Some(t_interval(&by_seed, level)?) },
    })
}

/// Student's t interval of the mean of at least two independent values.
pub fn t_interval(values: &[f64], level: f64) -> Result<Interval> {
    let summary = mean_std(values)?;
    let (Some(std), true) = (summary.std, level > 0.0 && level < 1.0) else {
        return Err(Error::Parameter(format!(
            "{} values at level {level}: use at least 2, and a level in (0, 1)",
            values.len()
        )));
    };
    let student = StudentsT::new(0.0, 1.0, (values.len() - 1) as f64)
        .map_err(|e| Error::Parameter(e.to_string()))?;
    let half = student.inverse_cdf(f64::midpoint(1.0, level)) * std / (values.len() as f64).sqrt();
    Ok(Interval { low: summary.mean - half, high: summary.mean + half })
}

fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}
