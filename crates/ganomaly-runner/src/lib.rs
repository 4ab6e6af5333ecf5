//! Does the runs of experiments: training, scoring, checkpoints, sweeps on CPUs and GPUs.
//!
//! [`sweep::run`] does every missing run of an experiment; [`train::train`] does one.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod checkpoint;
pub mod device;
pub mod interrupt;
mod machine;
pub mod progress;
#[cfg(test)]
#[path = "../../../tests/skip.rs"]
mod skip;
pub mod sweep;
pub mod terminal;
pub mod train;
