//! A trained detector in use: scores images from files.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod calibrate;
pub mod explain;
pub mod heat_map;
pub mod images;
pub mod model_file;
pub mod onnx;
pub mod scorer;
