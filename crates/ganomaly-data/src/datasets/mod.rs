//! The data sets of this crate.

mod cifar10;
mod mnist;
mod synthetic;

pub use cifar10::Cifar10;
pub use mnist::Mnist;
pub use synthetic::Synthetic;
