//! Tables, plots and images: pure functions from numbers to file contents; and the page that shows
//! them all.

mod canvas;
pub mod forest;
pub mod heat;
pub mod html;
pub mod marks;
pub mod picture;
pub mod plot;
pub mod published;
pub mod table;
