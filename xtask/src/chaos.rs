//! `cargo xtask chaos`: kills at random moments.

use crate::ganomaly;
use anyhow::Result;
use std::process::ExitCode;

/// Without an experiment, uses the quick one.
pub fn run(mut args: Vec<String>) -> Result<ExitCode> {
    let is_file = |arg: &String| arg.ends_with(".toml");
    if !args.iter().any(|arg| is_file(arg) || arg == "--help") {
        let quick = ganomaly::root()?.join("experiments").join("quick.toml");
        args.insert(0, quick.display().to_string());
    }
    ganomaly::run("chaos", &args)
}
