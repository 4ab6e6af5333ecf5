//! Claims as files.

use anyhow::{Context, Result};
use ganomaly_data::{Error, open_file};
use ganomaly_experiment::files::names_in;
use ganomaly_experiment::host;
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Without a heartbeat for this long, a claim is stale.
pub const STALE_AFTER: Duration = Duration::from_secs(60);

/// What a claim records about its owner and the run's progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Owner {
    /// The name of the owner's machine.
    pub host: String,
    /// The owner's process.
    pub pid: u32,
    /// The machine whose process numbers `pid` belongs to.
    pub(super) machine: String,
    /// Unique to this claim.
    pub(super) id: String,
    /// When it was claimed, by the owner's clock.
    pub started_unix_s: u64,
    /// How long the owner has been running.
    pub running_s: f64,
    /// Without a heartbeat for this long, others may take over.
    pub(super) stale_after_s: f64,
    /// The epoch of the last step; 0 before the first.
    pub epoch: u64,
    /// Training steps taken.
    pub steps_done: u64,
    /// Those of them that were taken earlier, by whoever left the checkpoint it resumed from.
    #[serde(default)]
    pub steps_before: u64,
    /// Training steps in all; 0 before they are known.
    pub steps: u64,
    /// Seconds since its machine started, at the last heartbeat. Unlike the time of day, nobody
    /// sets that clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uptime_s: Option<f64>,
}

/// A run's claim as found on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub(super) number: u64,
    /// None if the file cannot be read as a claim: its owner is writing it, or died while doing so.
    pub owner: Option<Owner>,
    pub(super) modified: SystemTime,
}

impl Found {
    /// Whether its owner was a process of this machine that no longer exists.
    pub(super) fn owner_is_dead(&self, machine: &str) -> bool {
        self.owner.as_ref().is_some_and(|o| o.machine == machine && !host::is_alive(o.pid))
    }

    pub(super) fn stale_after(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.owner.as_ref()?.stale_after_s).ok()
    }

    /// Time since its last heartbeat, by the machine's own clock if the owner is on this machine,
    /// else by the clock that `now` reads.
    pub(super) fn age(
        &self,
        machine: &str,
        now: impl FnOnce() -> Result<SystemTime>,
    ) -> Result<Duration> {
        let here = self.owner.as_ref().filter(|owner| owner.machine == machine);
        if let (Some(then), Some(now)) = (here.and_then(|owner| owner.uptime_s), host::uptime_s()) {
            return Ok(Duration::try_from_secs_f64(now - then).unwrap_or_default());
        }
        Ok(now()?.duration_since(self.modified).unwrap_or_default())
    }
}

/// Maximum size of a claim in bytes.
const MAX_BYTES: u64 = 1 << 16;

/// The folder of all claims in an experiment's results.
pub const FOLDER: &str = ".claims";

pub(super) fn claims_folder(results: &Path) -> PathBuf {
    results.join(FOLDER)
}

pub(super) fn path_of(folder: &Path, run: &str, number: u64) -> PathBuf {
    folder.join(format!("{run}.{number}"))
}

/// The numbers of a run's claims.
pub(super) fn numbers(folder: &Path, run: &str) -> Result<Vec<u64>> {
    let number = |name: String| {
        let (of, digits) = name.rsplit_once('.')?;
        let number: u64 = digits.parse().ok().filter(|_| of == run)?;
        // 007 would be another file's number.
        (number.to_string() == digits).then_some(number)
    };
    Ok(names_in(folder)?.into_iter().filter_map(number).collect())
}

/// The claim that counts.
pub(super) fn newest(folder: &Path, run: &str) -> Result<Option<Found>> {
    loop {
        let Some(number) = numbers(folder, run)?.into_iter().max() else { return Ok(None) };
        let path = path_of(folder, run, number);
        // If it is gone, it was given back or taken over since the folder was read.
        if let Some((owner, modified)) = read(&path)? {
            return Ok(Some(Found { number, owner, modified }));
        }
    }
}

/// None if it does not exist. The file is reopened each time: a shared file system checks on
/// opening whether its copy is up to date.
pub(super) fn read(path: &Path) -> Result<Option<(Option<Owner>, SystemTime)>> {
    let read = || -> ganomaly_data::Result<_> {
        let (file, _) = open_file(path, MAX_BYTES)?;
        let io = |cause| Error::Io { path: path.to_path_buf(), cause };
        let mut bytes = Vec::new();
        let modified = file.metadata().and_then(|m| m.modified()).map_err(io)?;
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(io)?;
        Ok((toml::from_str(&String::from_utf8_lossy(&bytes)).ok(), modified))
    };
    match read() {
        Err(Error::Io { cause, .. }) if cause.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some).context("cannot read a claim; remove it if no process has the run"),
    }
}

/// A run's claim and whether it is stale by this machine's own clock; writes nothing.
pub(crate) fn look(results: &Path, run: &str) -> Result<Option<(Found, bool)>> {
    let Some(found) = newest(&claims_folder(results), run)? else { return Ok(None) };
    let limit = found.stale_after().unwrap_or(STALE_AFTER);
    let machine = host::machine();
    let stale =
        found.owner_is_dead(&machine) || found.age(&machine, || Ok(SystemTime::now()))? > limit;
    Ok(Some((found, stale)))
}
