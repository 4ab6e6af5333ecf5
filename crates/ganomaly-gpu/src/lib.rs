#![doc = include_str!("../README.md")]

mod chain;
#[cfg(feature = "cuda")]
pub mod cuda;
mod error;
pub mod launch;
mod step;

pub use error::{Error, Result};
pub use launch::{Args, Buffer, Launch};
pub use step::{LOSS_STRIDE, LOSSES, Ports, Program, Size};

/// The source of every kernel, in the language that CUDA and C share.
pub const KERNELS: &str = include_str!("kernels.cu");
