//! From a trained detector to verdicts: a threshold from held-out normal images, and how it does on
//! images that had no part in it.

use crate::heat_map::{HeatMap, MAP_MAX, Masked, PixelError, judge};
use crate::model_file::{Calibrated, Tested, TestedClass};
use anyhow::{Context, Result};
use candle_core::Tensor;
use ganomaly_data::Split;
use ganomaly_experiment::record::auroc::LEVEL;
use ganomaly_experiment::run_data::RunData;
use ganomaly_metrics::{BootstrapOptions, Calibration, auroc, best_f1, bootstrap_auroc};
use ganomaly_model::{BatchNormMode, Detector};

/// Resamples of the AUROC's interval.
const RESAMPLES: usize = 1000;

/// A trained detector and the images of its run.
pub struct Trained<'a> {
    /// The detector.
    pub detector: &'a dyn Detector,
    /// Its images; the validation images calibrate it.
    pub data: &'a RunData,
    /// Side of what its network sees.
    pub sees: usize,
    /// The split whose test images test it; none if there are none.
    pub split: Option<&'a Split>,
}

/// A test image.
struct Seen {
    class: usize,
    anomalous: bool,
    score: f64,
    /// Its heat map and mask; none if there are no masks, or not this one's.
    pixels: Option<Masked>,
}

impl Trained<'_> {
    /// Takes the threshold for a rate of false alarms, in (0, 1), from the validation images, and
    /// tests it on the test images if there are any. `score` is one of the detector's or
    /// [`MAP_MAX`]. Fails if the rate takes more validation images.
    pub fn calibrate(&self, score: &str, false_alarms: f64) -> Result<Calibrated> {
        let (mut scores, mut highest_error) = (Vec::new(), 0.0_f32);
        for batch in self.data.batches(self.data.validation.clone(), 1)? {
            let (of_image, map) = self.look(&batch?.images, score)?;
            scores.push(of_image);
            highest_error = highest_error.max(map.highest());
        }
        let calibration = Calibration::new(&scores)?;
        let threshold = calibration.threshold(false_alarms)?;
        let tested = self.split.map(|split| self.test(split, score, threshold.value));
        let normal_scores = calibration.scores().to_vec();
        Ok(Calibrated {
            score: score.into(),
            threshold,
            normal_scores,
            highest_error,
            tested: tested.transpose()?,
        })
    }

    /// The score and heat map of an image by itself, exactly as a scorer does it.
    fn look(&self, x: &Tensor, score: &str) -> Result<(f64, HeatMap)> {
        let maps =
            HeatMap::of(self.detector, x, &self.data.transform, self.sees, PixelError::Absolute)?;
        let map = maps.into_iter().next().context("no image")?;
        if score == MAP_MAX {
            return Ok((f64::from(map.highest()), map));
        }
        let scores = self.detector.score(x, BatchNormMode::Running)?;
        let score = scores.of(score).first().with_context(|| format!("no score {score}"))?;
        Ok((*score, map))
    }

    fn test(&self, split: &Split, score: &str, threshold: f64) -> Result<Tested> {
        let (of, mode) = (&self.data.images, self.data.transform.resize);
        let mut seen = Vec::new();
        let images = split.test.iter().zip(&split.test_is_anomaly);
        for ((&index, &anomalous), batch) in images.zip(self.data.batches(split.test.clone(), 1)?) {
            let (score, map) = self.look(&batch?.images, score)?;
            let pixels = Masked::of(&map, of, index as usize, anomalous, mode)?;
            let class = of.labels()[index as usize].into();
            seen.push(Seen { class, anomalous, score, pixels });
        }
        let names = self.data.images.class_names();
        let against = |class: &str, of: &dyn Fn(&Seen) -> bool| {
            let part: Vec<&Seen> = seen.iter().filter(|s| !s.anomalous || of(s)).collect();
            tested(class, &part, threshold).with_context(|| format!("class {class}"))
        };
        let there = |class: usize| seen.iter().any(|s| s.anomalous && s.class == class);
        let classes = (0..names.len()).filter(|&class| there(class));
        let classes = classes.map(|class| against(&names[class], &|s: &Seen| s.class == class));
        let normal = || seen.iter().filter(|s| !s.anomalous);
        let scores: Vec<f64> = seen.iter().map(|s| s.score).collect();
        Ok(Tested {
            normal: normal().count(),
            false_alarms: normal().filter(|s| s.score > threshold).count(),
            best_f1: best_f1(&scores, &split.test_is_anomaly)?.f1,
            all: against("all", &|_: &Seen| true)?,
            classes: classes.collect::<Result<_>>()?,
        })
    }
}

/// Anomalous images against normal ones.
fn tested(class: &str, images: &[&Seen], threshold: f64) -> Result<TestedClass> {
    let scores: Vec<f64> = images.iter().map(|s| s.score).collect();
    let anomalous: Vec<bool> = images.iter().map(|s| s.anomalous).collect();
    let options = BootstrapOptions { resamples: RESAMPLES, level: LEVEL, seed: 0 };
    let interval = bootstrap_auroc(&scores, &anomalous, options)?;
    let found = images.iter().filter(|s| s.anomalous);
    Ok(TestedClass {
        class: class.into(),
        images: found.clone().count(),
        detected: found.filter(|s| s.score > threshold).count(),
        auroc: auroc(&scores, &anomalous)?,
        auroc_interval: [interval.low, interval.high],
        pixels: judge(images.iter().filter_map(|s| s.pixels.as_ref()))?,
    })
}
