#![doc = include_str!("../README.md")]

mod chain;
#[cfg(feature = "cuda")]
pub mod cuda;
mod error;
mod group;
pub mod launch;
mod layers;
mod machine;
mod program;
mod step;
pub mod twin;

pub use error::{Error, Result};
pub use group::{Group, Losses, Pictures};
pub use launch::{Args, Buffer, Launch};
pub use machine::Machine;
pub use program::{LOSS_STRIDE, LOSSES, Pass, Ports, Program, Size};

/// The source of every kernel, in the language that CUDA and C share.
pub const KERNELS: &str = include_str!("kernels.cu");
