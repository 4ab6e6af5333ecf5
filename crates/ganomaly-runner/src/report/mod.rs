//! Tables, plots and pictures: pure functions from numbers to the contents of files; and the page that shows them all.

mod canvas;
pub mod forest;
pub mod heat;
pub mod html;
pub mod marks;
pub mod picture;
pub mod plot;
pub mod published;
pub mod table;
