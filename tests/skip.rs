//! What every crate's tests say when they cannot be done here.

#![allow(dead_code, reason = "each test uses a part")]

use std::path::PathBuf;

/// Skips for want of something that continuous integration has. With `GANOMALY_NO_SKIP=1`, which it
/// sets, that is a failure.
pub fn missing(why: &str) {
    let no_skip = std::env::var_os("GANOMALY_NO_SKIP").is_some_and(|v| !v.is_empty() && v != "0");
    assert!(!no_skip, "with GANOMALY_NO_SKIP no test may be skipped, but {why}");
    println!("skipped: {why}");
}

/// Skips for want of something that not every machine can have, e.g. a GPU.
pub fn allowed(why: &str) {
    println!("skipped: {why}");
}

/// The folder with the published code's traces and the real data.
pub fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("GANOMALY_SHARED").map(PathBuf::from);
    if folder.is_none() {
        missing("GANOMALY_SHARED is not set");
    }
    folder
}
