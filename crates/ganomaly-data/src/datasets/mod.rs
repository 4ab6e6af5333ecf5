//! The data sets of this crate.

mod cifar10;
pub mod folder;
mod mnist;
mod synthetic;

pub use cifar10::Cifar10;
pub use folder::Folder;
pub use mnist::Mnist;
pub use synthetic::Synthetic;

use crate::Dataset;

/// The data sets of this crate.
pub fn builtin() -> Vec<Box<dyn Dataset>> {
    vec![
        Box::new(Mnist::digits()),
        Box::new(Cifar10),
        Box::new(Mnist::fashion()),
        Box::new(Synthetic::grey()),
        Box::new(Synthetic::colour()),
        Box::new(Folder::default()),
    ]
}
