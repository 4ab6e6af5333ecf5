//! Runs the `ganomaly` binary, building it first if needed.

use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

/// Cargo, as it was called, without what it told this program of itself: build scripts that read
/// such variables would run again, and what needs them be compiled again.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// The workspace root.
pub fn root() -> Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .context("CARGO_MANIFEST_DIR is not set: run this as cargo xtask")?;
    let manifest = PathBuf::from(manifest);
    Ok(manifest.parent().context("the xtask folder has no parent")?.to_path_buf())
}

/// Builds the binary and runs `ganomaly ARGS...` in the current folder; returns its exit code.
pub fn run(args: &[String]) -> Result<ExitCode> {
    let binary = built()?;
    let child = Command::new(&binary).args(args).spawn();
    let mut child = child.with_context(|| format!("{} cannot be run", binary.display()))?;
    // A terminal asks both processes to end. The binary ends with a checkpoint, and this process
    // waits for it. Set after the start, so that the binary begins with the original signal
    // settings.
    for signal in [
        signal_hook::consts::SIGINT,
        #[cfg(unix)]
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    let status = child.wait().context("the end of ganomaly cannot be waited for")?;
    Ok(ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)))
}

/// Builds the binary with the features that `GANOMALY_FEATURES` names; returns its path. The
/// profile is this program's own: `cargo xtask` is an alias that builds for release.
pub fn built() -> Result<PathBuf> {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let what = ["build", "--profile", profile, "--package", "ganomaly", "--bin", "ganomaly"];
    let features = std::env::var("GANOMALY_FEATURES").unwrap_or_default();
    let built = executables(&[&what[..], &["--features", &features]].concat())?;
    built.into_iter().next().context("cargo did not say where it put ganomaly")
}

/// Runs cargo with these arguments in the workspace, and returns the programs that it built.
pub fn executables(args: &[&str]) -> Result<Vec<PathBuf>> {
    let mut build = cargo();
    build.args(args).args(["--message-format", "json-render-diagnostics"]);
    build.arg("--manifest-path").arg(root()?.join("Cargo.toml"));
    let output = build.stderr(Stdio::inherit()).output().context("cargo cannot be run")?;
    ensure!(output.status.success(), "cargo {}: failed", args.join(" "));
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    };
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(executable).collect())
}
