//! Reconstruction-GAN anomaly detectors on [candle](candle_core).
//!
//! A [`Detector`] learns from batches of normal pictures and then gives each picture anomaly scores.
//! [`ganomaly::Ganomaly`] is the detector of Akcay et al., *GANomaly: Semi-Supervised Anomaly Detection via
//! Adversarial Training* (ACCV 2018), step for step as in the authors' published code.
//!
//! The crate knows no files of data, no metrics and no clocks: pictures come in as tensors, numbers
//! go out.

mod detector;
mod error;
pub mod ganomaly;
pub mod layers;
pub mod random;
pub mod weights;

pub use detector::{BatchNormMode, Detector, NamedTensors, Scores};
pub use error::{Error, Result};
pub use ganomaly_kernels as kernels;
