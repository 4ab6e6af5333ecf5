//! `cargo xtask ci`.

use crate::ganomaly::{cargo, root};
use crate::print::{out, say};
use anyhow::{Context, Result};
use std::process::ExitCode;

/// Every check, in order of cost.
const CHECKS: &[&[&str]] = &[
    &["fmt", "--all", "--check"],
    &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
    &["test", "--workspace"],
];

pub fn run() -> Result<ExitCode> {
    for check in CHECKS {
        out(format!("$ cargo {}", check.join(" ")));
        let status =
            cargo().args(*check).current_dir(root()?).status().context("cargo cannot be run")?;
        if !status.success() {
            say(format!("failed: cargo {}", check.join(" ")));
            return Ok(ExitCode::FAILURE);
        }
    }
    out("all checks passed");
    Ok(ExitCode::SUCCESS)
}
