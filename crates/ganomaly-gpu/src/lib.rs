#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod chain;
#[cfg(feature = "cuda")]
pub mod cuda;
mod error;
mod group;
pub mod launch;
mod layer;
mod layers;
mod machine;
mod once;
mod precision;
mod program;
mod step;
mod transfer;
pub mod twin;

pub use chain::Extent;
pub use error::{Error, Result};
pub use group::{Group, Losses, Pictures};
pub use launch::{Args, Buffer, Launch, Work};
pub use layer::LayerProgram;
pub use machine::{Limits, Machine};
pub use precision::Precision;
pub use program::{LOSS_STRIDE, LOSSES, Optimiser, Pass, Ports, Program, Size};

/// This crate's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The source of every kernel, valid both as CUDA and as C.
pub const KERNELS: &str = concat!(
    include_str!("kernels/common.cu"),
    include_str!("kernels/tiles.cu"),
    include_str!("kernels/products.cu"),
    include_str!("kernels/normalisation.cu"),
    include_str!("kernels/pointwise.cu"),
    include_str!("kernels/updates.cu"),
);
