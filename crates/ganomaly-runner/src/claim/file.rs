//! Claims as files.

use super::STALE_AFTER;
use crate::files::names_in;
use crate::host;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What a claim says of its owner and of how far the run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Owner {
    /// The owner's machine, by its name.
    pub host: String,
    /// The owner's process.
    pub pid: u32,
    /// Whose process numbers `pid` is one of.
    pub(super) machine: String,
    /// Unlike any other claim's.
    pub(super) id: String,
    /// When it was claimed, by the owner's clock.
    pub started_unix_s: u64,
    /// How long the owner has been at it.
    pub running_s: f64,
    /// Without a heartbeat for so long, others may take over.
    pub(super) stale_after_s: f64,
    /// The epoch of the last step; 0 before the first.
    pub epoch: u64,
    /// Training steps taken.
    pub steps_done: u64,
    /// Those of them that were taken before, by whoever left the checkpoint that it went on from.
    #[serde(default)]
    pub steps_before: u64,
    /// Training steps in all; 0 before they are known.
    pub steps: u64,
}

/// A run's claim as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub(super) number: u64,
    /// None where the file cannot be read as a claim: its owner is writing it, or died while doing so.
    pub owner: Option<Owner>,
    pub(super) modified: SystemTime,
}

impl Found {
    /// Whether its owner was a process of this machine that is no more.
    pub(super) fn owner_is_dead(&self, machine: &str) -> bool {
        self.owner.as_ref().is_some_and(|o| o.machine == machine && !host::is_alive(o.pid))
    }

    pub(super) fn stale_after(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.owner.as_ref()?.stale_after_s).ok()
    }

    pub(super) fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.modified).unwrap_or_default()
    }
}

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
        let (of, number) = name.rsplit_once('.')?;
        if of == run { number.parse().ok() } else { None }
    };
    Ok(names_in(folder)?.into_iter().filter_map(number).collect())
}

/// The claim that counts.
pub(super) fn newest(folder: &Path, run: &str) -> Result<Option<Found>> {
    loop {
        let Some(number) = numbers(folder, run)?.into_iter().max() else { return Ok(None) };
        let path = path_of(folder, run, number);
        match read(&path) {
            Ok((owner, modified)) => return Ok(Some(Found { number, owner, modified })),
            // Given back or taken over since the folder was read.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| format!("{}: cannot read", path.display())),
        }
    }
}

/// Opened anew each time: that is when a shared file system looks whether its copy is up to date.
pub(super) fn read(path: &Path) -> std::io::Result<(Option<Owner>, SystemTime)> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let modified = file.metadata()?.modified()?;
    Ok((toml::from_str(&String::from_utf8_lossy(&bytes)).ok(), modified))
}

/// A run's claim and whether it is stale, by this machine's own clock, for looking without writing.
pub(crate) fn look(results: &Path, run: &str) -> Result<Option<(Found, bool)>> {
    let Some(found) = newest(&claims_folder(results), run)? else { return Ok(None) };
    let limit = found.stale_after().unwrap_or(STALE_AFTER);
    let stale = found.owner_is_dead(&host::machine()) || found.age(SystemTime::now()) > limit;
    Ok(Some((found, stale)))
}
