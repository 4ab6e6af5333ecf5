#![doc = include_str!("../README.md")]
//!
//! [`Detector`] is the interface of every detector; [`ganomaly::Ganomaly`] is the paper's.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod anogan;
mod bigan;
mod detector;
pub mod egbad;
mod error;
pub mod ganomaly;
pub mod graph;
pub mod layers;
pub mod net;
pub mod published;
pub mod random;
pub mod reference;
pub mod skip_ganomaly;
pub mod tiles;
pub mod vae;
pub mod variables;
pub mod weights;

pub use detector::{BatchNormMode, Detector, Input, NamedTensors, Names, Scores, Settings};
pub use error::{Error, Result};
pub use ganomaly_kernels as kernels;

/// This crate's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
