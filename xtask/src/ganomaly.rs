//! Running the `ganomaly` binary, built first where it is not.

use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// cargo, as it was called.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The workspace's top folder.
pub fn root() -> Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .context("CARGO_MANIFEST_DIR is not set: run this as cargo xtask")?;
    let manifest = PathBuf::from(manifest);
    Ok(manifest.parent().context("the xtask folder has no parent")?.to_path_buf())
}

/// Builds the binary and runs `ganomaly COMMAND ARGS...` in the current folder; its exit code is passed on.
pub fn run(command: &str, args: &[String]) -> Result<ExitCode> {
    let manifest = root()?.join("Cargo.toml");
    let build = |cargo: &mut Command, verb: &str| {
        cargo.args([verb, "--release", "--quiet", "--manifest-path"]).arg(&manifest);
        cargo.args(["--package", "ganomaly-runner", "--bin", "ganomaly"]);
    };
    let mut first = cargo();
    build(&mut first, "build");
    ensure!(first.status().context("cargo cannot be run")?.success(), "ganomaly does not build");
    let mut then = cargo();
    build(&mut then, "run");
    // The binary catches Ctrl-C itself; this process only waits for it.
    let status = then.arg("--").arg(command).args(args).status().context("cargo cannot be run")?;
    Ok(ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)))
}
