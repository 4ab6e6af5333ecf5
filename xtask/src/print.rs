//! Printing that ignores failures, as in `cargo xtask ... | head`.

use std::fmt::Display;
use std::io::{Write, stderr, stdout};

/// Prints a line to standard output.
pub fn out(line: impl Display) {
    let _ = stdout().write_all(format!("{line}\n").as_bytes());
}

/// Prints a line to standard error.
pub fn say(line: impl Display) {
    let _ = stderr().write_all(format!("{line}\n").as_bytes());
}
