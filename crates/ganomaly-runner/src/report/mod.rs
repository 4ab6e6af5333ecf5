//! Tables, plots and pictures: pure functions from numbers to the contents of files.

pub mod picture;
pub mod plot;
pub mod published;
pub mod table;
