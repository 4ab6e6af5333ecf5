//! Further scores of the test images, under running statistics: what a trained network knows beyond
//! its published score.
//!
//! * `*_rel`: a score over the mean of z². A large code has a larger error.
//! * `*_grad`: a score over 1 + the image's gradient, the mean absolute difference of horizontal
//!   neighbours plus that of vertical ones, in grey levels (0 to 255) of the resized image, over
//!   all channels. A busy image is harder to encode.
//! * `*_png`: a score over the bits per value of the resized image as a PNG file. Serrà et al.
//!   (ICLR 2020) subtract such a length from a likelihood's logarithm; this is the same difference
//!   of the logarithms.
//! * `*_res`: what is left of a score's logarithm after a linear regression on the logarithms of
//!   those two properties, fitted on held-out normal images: the corrections above with the powers
//!   that normal images have, instead of 1 and 0.
//! * `z_nn`: the mean Euclidean distance of z to its five nearest among the training images' z. It
//!   does not use the decoder.
//! * `z_maha`: the Mahalanobis distance of z from the training images' z (Lee et al., NeurIPS 2018,
//!   with one class).
//! * `map_max`: the highest error in the image's heat map, [`ganomaly_inference::heat_map`].
//! * `A+B`: the sum of several, each less its mean and over its standard deviation on held-out
//!   normal images.

mod code;
mod image;

use self::code::{LEAST, mahalanobis, nearest};
use self::image::{gradients, png_bits};
use crate::interrupt::Cancel;
use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use ganomaly_experiment::config::{Correction, Further, RunConfig, ScoringMode};
use ganomaly_experiment::run_data::RunData;
use ganomaly_inference::heat_map::{HeatMap, PixelError};
use ganomaly_metrics::{linear_regression, mean_std};
use ganomaly_model::{Detector, Scores};
use std::cell::OnceCell;

/// Adds to the test images' scores the further scores that the config requests in this mode.
/// `held` are the validation images' scores.
pub(crate) fn add(
    mut scores: Scores,
    held: &Scores,
    detector: &dyn Detector,
    data: &RunData,
    config: &RunConfig,
    mode: ScoringMode,
    cancel: &Cancel,
) -> Result<Scores> {
    if mode != ScoringMode::Running || config.further_scores.is_empty() {
        return Ok(scores);
    }
    let held = Images::new(&data.validation, held.clone());
    let run = Run { detector, data, config, cancel, known: OnceCell::new(), held };
    let tested = Images::new(&data.split.test, scores.clone());
    for kind in &config.further_scores {
        let name = kind.0.name();
        let values = run.values(&kind.0.parts().collect::<Vec<_>>(), &tested);
        scores.push(name, values.with_context(|| format!("the further score {name}"))?);
    }
    Ok(scores)
}

/// Images, with what several further scores need of them, computed once.
struct Images<'a> {
    indices: &'a [u32],
    /// The detector's own scores.
    own: Scores,
    codes: OnceCell<Tensor>,
    slopes: OnceCell<Vec<f64>>,
    bits: OnceCell<Vec<f64>>,
}

impl<'a> Images<'a> {
    fn new(indices: &'a [u32], own: Scores) -> Self {
        let (codes, slopes, bits) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { indices, own, codes, slopes, bits }
    }
}

/// A trained run.
struct Run<'a> {
    detector: &'a dyn Detector,
    data: &'a RunData,
    config: &'a RunConfig,
    cancel: &'a Cancel,
    /// The training images' codes.
    known: OnceCell<Tensor>,
    /// The images that are held out.
    held: Images<'a>,
}

impl Run<'_> {
    /// A score, or the sum of several, each by its distribution over the held-out images.
    fn values(&self, parts: &[Further], images: &Images<'_>) -> Result<Vec<f64>> {
        if let [part] = parts {
            return self.part(*part, images);
        }
        let mut sums = vec![0.0; images.indices.len()];
        for &part in parts {
            let held = mean_std(&self.part(part, &self.held)?)?;
            let spread = held.std.unwrap_or_default().max(LEAST);
            let values = self.part(part, images)?;
            sums.iter_mut().zip(values).for_each(|(sum, v)| *sum += (v - held.mean) / spread);
        }
        Ok(sums)
    }

    fn part(&self, part: Further, images: &Images<'_>) -> Result<Vec<f64>> {
        Ok(match part {
            Further::Own(score) => images.own.of(score).to_vec(),
            Further::Corrected(score, correction) => {
                let squares: Vec<f64>;
                let divisors = match correction {
                    Correction::Rel => {
                        let means = self.codes(images)?.sqr()?.mean(1)?.to_vec1::<f64>()?;
                        squares = means.into_iter().map(|square| square.max(LEAST)).collect();
                        &squares
                    }
                    Correction::Grad => self.slopes(images)?,
                    Correction::Png => self.bits(images)?,
                };
                images.own.of(score).iter().zip(divisors).map(|(score, by)| score / by).collect()
            }
            Further::Residual(score) => {
                let rows = self.busyness(&self.held)?;
                let level = 0.95; // Of intervals that nobody reads.
                let fit = linear_regression(&rows, &logarithms(&self.held, score), level)
                    .context("the regression on the held-out images")?;
                let by: Vec<f64> = fit.coefficients.iter().map(|c| c.value).collect();
                let rows = self.busyness(images)?.into_iter().zip(logarithms(images, score));
                rows.map(|(row, log)| log - by[0] - by[1] * row[0] - by[2] * row[1]).collect()
            }
            Further::Nearest => nearest(self.codes(images)?, self.known()?, self.cancel)?,
            Further::Mahalanobis => mahalanobis(self.codes(images)?, self.known()?)?,
            Further::MapMax => self.highest_errors(images.indices)?,
        })
    }

    fn known(&self) -> Result<&Tensor> {
        once(&self.known, || self.encode(&self.data.split.train))
    }

    fn codes<'b>(&self, images: &'b Images<'_>) -> Result<&'b Tensor> {
        once(&images.codes, || self.encode(images.indices))
    }

    fn slopes<'b>(&self, images: &'b Images<'_>) -> Result<&'b Vec<f64>> {
        once(&images.slopes, || gradients(images.indices, self.data))
    }

    fn bits<'b>(&self, images: &'b Images<'_>) -> Result<&'b Vec<f64>> {
        once(&images.bits, || png_bits(images.indices, self.data))
    }

    /// The logarithms of each image's two properties.
    fn busyness(&self, images: &Images<'_>) -> Result<Vec<Vec<f64>>> {
        let pairs = self.slopes(images)?.iter().zip(self.bits(images)?);
        Ok(pairs.map(|(slope, bits)| vec![slope.ln(), bits.ln()]).collect())
    }

    /// The highest error in each image's heat map.
    fn highest_errors(&self, images: &[u32]) -> Result<Vec<f64>> {
        let sees = self.config.network_input().side;
        let mut all = Vec::new();
        for batch in self.data.batches(images.to_vec(), self.config.score_batch_size)? {
            self.cancel.check()?;
            let x = batch?.images;
            let (transform, error) = (&self.data.transform, PixelError::Absolute);
            let maps = HeatMap::of(self.detector, &x, transform, sees, error)?;
            all.extend(maps.iter().map(|map| f64::from(map.highest())));
        }
        Ok(all)
    }

    /// The images' codes, f64 `[N, D]`.
    fn encode(&self, images: &[u32]) -> Result<Tensor> {
        let mut all = Vec::new();
        for batch in self.data.batches(images.to_vec(), self.config.score_batch_size)? {
            self.cancel.check()?;
            all.push(self.detector.code(&batch?.images)?.to_dtype(DType::F64)?);
        }
        Ok(Tensor::cat(&all, 0)?)
    }
}

/// The logarithms of one of the detector's scores.
fn logarithms(images: &Images<'_>, score: &str) -> Vec<f64> {
    images.own.of(score).iter().map(|score| score.max(LEAST).ln()).collect()
}

/// The value, which the first caller makes.
fn once<T>(there: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(value) = there.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(there.get_or_init(|| value))
}
