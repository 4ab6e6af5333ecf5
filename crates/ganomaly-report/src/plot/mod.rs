//! Plots and images: pure functions from numbers to file contents.

mod canvas;
pub mod curves;
pub(crate) mod figure;
pub mod forest;
pub mod marks;
pub mod reconstructions;
pub mod run;
pub mod weight_map;
