//! Plots and images: pure functions from numbers to file contents. `figure` draws the axes, marks
//! and legends of all of them, also those of the report.

mod axis;
pub(crate) mod by_class;
mod canvas;
pub(crate) mod curves;
pub(crate) mod figure;
pub(crate) mod forest;
pub(crate) mod reconstructions;
pub mod run;
pub(crate) mod weight_map;
