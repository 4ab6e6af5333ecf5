//! A finished run's AUROC with its test images resampled, so that means over runs get both kinds of
//! uncertainty.

use crate::checksums;
use crate::config::RunConfig;
use crate::measures::Metrics;
use crate::record::SCORES;
use anyhow::{Context, Result, bail};
use ganomaly_metrics::{BootstrapOptions, Estimate, RunValue, resampled_aurocs};
use std::path::Path;

/// Coverage of the intervals, by resamples or by Student's t distribution.
pub const LEVEL: f64 = 0.95;

/// Explains intervals of means over runs; shown below every table that has them.
pub const LEGEND: &str = "Square brackets: 95 % interval over test images, which are resampled jointly for all runs, the trained weights as they are. \
     ±: over trainings, the standard deviation over seeds of each seed's mean over classes. Round brackets: over trainings, the 95 % t interval over \
     seeds, where there are three or more. The two kinds answer different questions and neither holds the other.";

/// Explains the two columns of uncertainty, in tables that separate them.
pub const MEANING: &str = "Over test images: where the value would lie with other images of the same kind, the trained weights as they are; the images \
     are resampled jointly for all runs. Over trainings: the standard deviation over seeds of each seed's mean over classes and, from three seeds on, \
     the 95 % t interval over seeds. The two answer different questions and neither holds the other.";

/// How test images are resampled in everything that covers several runs: one seed, so that an image
/// has the same weight everywhere.
pub fn resampling(config: &RunConfig) -> BootstrapOptions {
    BootstrapOptions { resamples: config.bootstrap, level: LEVEL, seed: 0 }
}

/// `scores.csv`: the score that counts, for each test image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TestScores {
    /// The images' indices in the data set.
    pub images: Vec<u32>,
    /// Which of them are anomalous.
    pub anomalous: Vec<bool>,
    /// Their scores, in the mode and kind that count.
    pub scores: Vec<f64>,
}

impl TestScores {
    /// Reads the file of a finished run.
    pub fn read(folder: &Path, config: &RunConfig) -> Result<Self> {
        let bytes = checksums::read(folder, SCORES)?;
        let column = format!("{}_{}", config.score.0, config.scoring.0);
        Self::parse(&bytes, &column).with_context(|| format!("{}", folder.join(SCORES).display()))
    }

    fn parse(bytes: &[u8], column: &str) -> Result<Self> {
        let mut reader = csv::Reader::from_reader(bytes);
        let headers = reader.headers()?.clone();
        let at = |name: &str| {
            let at = headers.iter().position(|h| h == name);
            at.with_context(|| format!("there is no column {name}"))
        };
        let (image, anomalous, score) = (at("picture")?, at("anomalous")?, at(column)?);
        let mut all = Self::default();
        for (number, row) in reader.records().enumerate() {
            let row = row?;
            let cell = |at: usize| row.get(at).unwrap_or_default();
            let line = || format!("row {}", number + 1);
            all.images.push(cell(image).parse().with_context(line)?);
            all.anomalous.push(match cell(anomalous) {
                "0" => false,
                "1" => true,
                other => bail!("row {}: anomalous is {other:?}, neither 0 nor 1", number + 1),
            });
            all.scores.push(cell(score).parse().with_context(line)?);
        }
        Ok(all)
    }
}

/// A run's AUROC.
#[derive(Clone, Debug)]
pub struct RunAuroc {
    /// The run's class.
    pub class: String,
    /// The run's seed.
    pub seed: u64,
    /// Its AUROC, in [0, 1].
    pub auroc: f64,
    /// The indices of its test images, and which are anomalous; empty if its scores are not
    /// available.
    pub tested_on: (Vec<u32>, Vec<bool>),
    /// Its AUROC in each resample; empty if its scores are not available.
    pub resampled: Vec<f64>,
}

impl RunAuroc {
    /// Reads a finished run from its folder. Results that were passed on without `scores.csv` have
    /// no resamples.
    pub fn read(folder: &Path, config: &RunConfig, metrics: &Metrics) -> Result<Self> {
        if folder.join(SCORES).is_file() {
            let scores = TestScores::read(folder, config)?;
            return Self::of(config, metrics, scores)
                .with_context(|| format!("{}", folder.join(SCORES).display()));
        }
        Ok(Self {
            class: config.class().to_string(),
            seed: config.seed(),
            auroc: metrics.auroc,
            tested_on: Default::default(),
            resampled: Vec::new(),
        })
    }

    /// Computes it from the scores of its test images.
    pub fn of(config: &RunConfig, metrics: &Metrics, scores: TestScores) -> Result<Self> {
        let TestScores { images, anomalous, scores } = scores;
        let mut all = resampled_aurocs(&[&scores], &anomalous, &images, resampling(config))?;
        Ok(Self {
            class: config.class().to_string(),
            seed: config.seed(),
            auroc: metrics.auroc,
            tested_on: (images, anomalous),
            resampled: all.resampled.remove(0),
        })
    }

    /// The AUROC as a value to average.
    pub fn value(&self) -> RunValue<'_> {
        let resampled = self.resampled.clone();
        RunValue { class: &self.class, seed: self.seed, value: self.auroc, resampled }
    }

    /// The AUROC minus the mean of others', resample by resample.
    pub fn minus(&self, others: &[&Self]) -> RunValue<'_> {
        let mean = |of: &dyn Fn(&Self) -> f64| {
            others.iter().map(|other| of(other)).sum::<f64>() / others.len() as f64
        };
        let resamples = others.iter().map(|o| o.resampled.len()).min().unwrap_or_default();
        let own = self.resampled.iter().take(resamples).enumerate();
        RunValue {
            class: &self.class,
            seed: self.seed,
            value: self.auroc - mean(&|other| other.auroc),
            resampled: own.map(|(i, own)| own - mean(&|other| other.resampled[i])).collect(),
        }
    }
}

/// A mean in [0, 1] with its known uncertainty, in the format of [`LEGEND`].
pub fn shown(estimate: &Estimate) -> String {
    with_uncertainty(estimate, plain)
}

/// An AUROC, or an end of its interval, clipped to [0, 1], which a t interval may exceed.
pub fn plain(value: f64) -> String {
    format!("{:.3}", value.clamp(0.0, 1.0))
}

/// A difference in [-1, 1] with its known uncertainty.
pub fn shown_difference(estimate: &Estimate) -> String {
    with_uncertainty(estimate, |v| format!("{v:+.3}"))
}

fn with_uncertainty(estimate: &Estimate, number: impl Fn(f64) -> String) -> String {
    let mut text = number(estimate.value);
    if let Some(i) = estimate.over_images {
        text += &format!(" [{}, {}]", number(i.low), number(i.high));
    }
    if let Some(std) = estimate.over_trainings.std {
        text += &format!(" ± {std:.3}");
    }
    if let Some(i) = estimate.over_trainings.interval {
        text += &format!(" ({}, {})", number(i.low), number(i.high));
    }
    text
}

/// How many trainings a mean is taken over: "6 trainings (2 seeds)".
pub fn trainings(estimate: &Estimate) -> String {
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let t = estimate.over_trainings;
    format!("{} ({})", counted(t.runs, "training"), counted(t.seeds, "seed"))
}

/// The columns of an estimate in a CSV file.
pub fn columns(what: &str) -> [String; 6] {
    ["", "_images_low", "_images_high", "_std", "_trainings_low", "_trainings_high"]
        .map(|part| format!("{what}{part}"))
}

/// The cells of these columns: the value, its interval over test images, its standard deviation and
/// its interval over trainings.
pub fn cells(estimate: &Estimate) -> [String; 6] {
    let (images, trainings) = (estimate.over_images, estimate.over_trainings);
    [
        Some(estimate.value),
        images.map(|i| i.low),
        images.map(|i| i.high),
        trainings.std,
        trainings.interval.map(|i| i.low),
        trainings.interval.map(|i| i.high),
    ]
    .map(|v| v.map(|v| v.to_string()).unwrap_or_default())
}
