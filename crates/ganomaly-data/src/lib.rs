#![doc = include_str!("../README.md")]
//!
//! # Data flow
//!
//! A [`Dataset`] loads [`LabeledImages`] (u8, `[N, C, H, W]`), a [`Split`] selects images for
//! training and testing, and [`Batches`] resizes and normalises them into float tensors on a
//! separate thread.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod augment;
mod batches;
mod dataset;
pub mod datasets;
mod download;
mod error;
mod fetch;
mod image_file;
mod image_files;
mod images;
mod limits;
mod numpy;
mod random;
mod read;
mod split;
mod transform;

pub use augment::{Augment, EpochAugment, Flip};
pub use batches::{Batch, BatchOptions, Batches};
pub use dataset::{About, Checksum, Dataset, Part, RemoteFile, Verification, data_dir, folders};
pub use datasets::builtin;
pub use download::fetch;
pub use error::{Error, Result, printable, shown};
pub use fetch::{FetchOptions, Progress};
pub use image_file::{IMAGE_ENDINGS, image_from_bytes, is_image_name, read_image};
pub use image_files::Mask;
pub use images::{Description, LabeledImages};
pub use limits::Limits;
pub use random::{Purpose, shuffled};
pub use read::{open_file, read_bytes, read_text};
pub use split::{Split, SplitKind};
pub use transform::{Normalization, Normalize, Resize, Transform, resize};

/// This crate's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The guide's code is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/adding-a-dataset.md")]
struct AddingADataset;
