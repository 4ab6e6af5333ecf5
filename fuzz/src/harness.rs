//! What libFuzzer runs: a target with its memory checked.

#[path = "alloc.rs"]
mod alloc;

use ganomaly_fuzz::TARGETS;
use std::sync::OnceLock;

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

/// Runs an input through the target of that name.
pub fn check(name: &str, data: &[u8]) {
    // On a file system in memory, where there is one: fuzz/run names it.
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    let dir = DIR.get_or_init(|| tempfile::tempdir().unwrap()).path();
    let target = TARGETS.iter().find(|t| t.name == name).unwrap();
    let peak = alloc::peak_of(|| (target.run)(dir, data));
    assert!(peak <= target.most_bytes, "{peak} bytes at once, more than {}", target.most_bytes);
}
