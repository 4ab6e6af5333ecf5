//! Commands for those who change this program: timing, kills, comparison with the published code.

pub(crate) mod bench;
pub mod chaos;
pub mod parity;
