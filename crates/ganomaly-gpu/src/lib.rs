#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod detectors;
mod error;
mod group;
mod layers;
mod machine;

pub use error::{Error, Result};
pub use group::ports::{LOSS_STRIDE, LOSSES, Optimiser, Pass, Ports, Size};
pub use group::program::Program;
pub use group::{Group, Images, Losses};
pub use layers::single::LayerProgram;
pub use layers::tensors::Extent;
pub use machine::cuda;
pub use machine::launch::{self, Args, Buffer, Launch, Work};
pub use machine::precision::Precision;
pub use machine::{Machine, Peak, twin};

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
