//! Why runs failed, kept beside the results until they succeed: `.failed/RUN`.

use anyhow::{Context, Result};
use ganomaly_data::{read_text, shown};
use ganomaly_experiment::files::write_whole;
use ganomaly_experiment::host;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A failed attempt at a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The time, by the clock of the machine that tried.
    pub time_unix_s: u64,
    /// The name of the machine that tried.
    pub host: String,
    /// The process that tried.
    pub pid: u32,
    /// What went wrong.
    pub error: String,
}

/// Stores a run's error in an experiment's folder.
pub(crate) fn keep(folder: &Path, run: &str, error: &str) -> Result<()> {
    let path = path(folder, run);
    fs::create_dir_all(folder.join(".failed"))
        .with_context(|| format!("{}: cannot create its folder", path.display()))?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let failure = Failure {
        time_unix_s: since.map_or(0, |d| d.as_secs()),
        host: host::name(),
        pid: std::process::id(),
        error: error.to_string(),
    };
    write_whole(&path, toml::to_string(&failure).context("an error cannot be written as TOML")?)
}

/// The last failure of a run; none if it never failed, or has succeeded since.
pub(crate) fn last(folder: &Path, run: &str) -> Result<Option<Failure>> {
    let path = path(folder, run);
    if path.symlink_metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
        return Ok(None);
    }
    let text = match read_text(&path, 1 << 20) {
        // Removed in the meantime because the run succeeded.
        Err(ganomaly_data::Error::Io { cause, .. }) if cause.kind() == ErrorKind::NotFound => {
            return Ok(None);
        }
        text => text.context("cannot read why a run failed")?,
    };
    let failure = toml::from_str(&text);
    failure.map(Some).with_context(|| format!("{}: not a record of a failed run", shown(&path)))
}

/// Removes the failures of a run that succeeded.
pub(crate) fn forget(folder: &Path, run: &str) -> Result<()> {
    let path = path(folder, run);
    match fs::remove_file(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("{}: cannot remove", path.display())),
    }
}

fn path(folder: &Path, run: &str) -> PathBuf {
    folder.join(".failed").join(run)
}
