#![doc = include_str!("../README.md")]
//!
//! # Design
//!
//! The operations are ordinary functions. A forward function returns what its gradient needs; a
//! gradient function returns exactly the requested gradients, so a training step computes nothing
//! that it discards. [`Conv2d`], [`batch_norm`], [`activation`], [`loss`] and [`Adam`] together are
//! all that GANomaly and its variants need.
//!
//! # Layout
//!
//! Activations are channels-last, `[N, H, W, C]`, and convolution weights `[K, K, I, O]`: every
//! inner loop then runs over contiguous channels, and a convolution is a few large matrix products
//! over contiguous copies. [`layout`] converts from and to candle's and PyTorch's `[N, C, H, W]`
//! and `[O, I, K, K]`.
//!
//! # Guarantees
//!
//! * `f32` and `f64` run the same code.
//! * The result does not depend on the number of threads: work is divided by shape alone, and
//!   partial sums are added in a fixed order.
//! * Inputs of the wrong shape, type or device result in errors, never panics.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod activation;
mod adam;
pub mod autograd;
pub mod batch_norm;
mod conv;
pub mod cpu;
mod dense;
mod fold;
mod gemm;
pub mod layout;
pub mod loss;
mod narrow;
pub mod peak;
mod product;
pub mod reference;
mod rows;
mod simd;
mod storage;
mod winograd;

pub use activation::Activation;
pub use adam::{Adam, AdamConfig, move_average};
pub use conv::Conv2d;
pub use fold::Fold;

/// This crate's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
