//! What the runs of a sweep share, and how one is claimed and ended.

use super::claim::{Claim, Claims, STALE_AFTER, Taken};
use super::failure::{self, Failure};
use super::jobs::Jobs;
use crate::checkpoint::{self, CheckpointInterval, Checkpoints};
use crate::interrupt::{Cancel, Interrupted};
use crate::progress::Progress;
use anyhow::Result;
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::files::{names_in, remove_partial};
use ganomaly_experiment::plan::Run;
use ganomaly_experiment::record::Metrics;
use ganomaly_experiment::run_data::DataStore;
use ganomaly_experiment::selection::Selection;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// How a sweep does its runs. The results do not depend on it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Runs at once.
    pub jobs: Jobs,
    /// GPUs to spread runs over, by the driver's numbers; none: each run uses its own.
    pub devices: Vec<usize>,
    /// Do only these runs; the tables cover all that are there.
    pub only: Option<Selection>,
    /// Without a heartbeat for this long, other processes may take over this one's runs.
    pub stale_after: Duration,
    /// How often runs write checkpoints to resume from.
    pub checkpoints: CheckpointInterval,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            jobs: Jobs::default(),
            devices: Vec::new(),
            only: None,
            stale_after: STALE_AFTER,
            checkpoints: CheckpointInterval::default(),
        }
    }
}

impl From<Jobs> for Options {
    fn from(jobs: Jobs) -> Self {
        Self { jobs, ..Self::default() }
    }
}

/// The result of trying to do a run.
pub(crate) enum RunEnd {
    /// It is done, by this process.
    Finished,
    /// Another process has done it.
    Elsewhere,
    /// Another process is working on it.
    Claimed,
    /// It failed, here or in another process in the meantime.
    Failed(String),
    /// It was asked to end.
    Interrupted,
}

/// What every run of a sweep needs.
pub(crate) struct SweepContext<'a> {
    pub(crate) folder: &'a Path,
    pub(super) claims: &'a Claims,
    pub(crate) store: &'a DataStore,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) cancel: &'a Cancel,
    every: CheckpointInterval,
    /// Runs that had failed before this sweep began.
    before: HashMap<String, Failure>,
}

impl<'a> SweepContext<'a> {
    pub(super) fn new(
        folder: &'a Path,
        claims: &'a Claims,
        runs: &[&Run],
        store: &'a DataStore,
        progress: &'a dyn Progress,
        cancel: &'a Cancel,
        every: CheckpointInterval,
    ) -> Result<Self> {
        let mut before = HashMap::new();
        for run in runs {
            before.extend(failure::last(folder, &run.name)?.map(|f| (run.name.clone(), f)));
        }
        Ok(Self { folder, claims, store, progress, cancel, every, before })
    }

    /// The checkpoints of a run.
    pub(crate) fn checkpoints(&self, run: &str, config: &RunConfig) -> Result<Checkpoints> {
        Checkpoints::new(self.folder, run, config, self.every)
    }

    /// Claims a run, or returns why it need not or cannot be done now.
    pub(crate) fn claim(&self, run: &str) -> Result<Result<Claim, RunEnd>> {
        // After Ctrl-C no run begins, and each one left returns that.
        if self.cancel.is_set() {
            return Ok(Err(RunEnd::Interrupted));
        }
        if self.folder.join(run).exists() {
            return Ok(Err(RunEnd::Elsewhere));
        }
        let Taken::Acquired(claim) = self.claims.take(run)? else {
            return Ok(Err(RunEnd::Claimed));
        };
        // Checked again, as its last owner may have ended since; by listing the folder, which
        // shared file systems read afresh.
        if names_in(self.folder)?.iter().any(|name| name == run) {
            return Ok(Err(RunEnd::Elsewhere));
        }
        match failure::last(self.folder, run)? {
            Some(failure) if self.before.get(run) != Some(&failure) => {
                let Failure { host, pid, error, .. } = failure;
                return Ok(Err(RunEnd::Failed(format!("{error} (on {host}, process {pid})"))));
            }
            _ => {}
        }
        // The process that was writing them is dead, or has lost the run.
        remove_partial(self.folder, run)?;
        Ok(Ok(claim))
    }

    /// Keeps the error of a run that failed, and gives its claim back.
    pub(crate) fn end(&self, run: &str, claim: Claim, outcome: Result<Metrics>) -> Result<RunEnd> {
        let ended = match outcome {
            Ok(metrics) => {
                let (auroc, [low, high]) = (metrics.auroc, metrics.auroc_interval);
                self.progress.say(&format!("{run}: done, AUROC {auroc:.3} [{low:.3}, {high:.3}]"));
                // The run is there; its earlier failure no longer matters.
                if let Err(e) = failure::forget(self.folder, run) {
                    self.progress.say(&format!("{e:#}"));
                }
                checkpoint::remove(self.folder, run)?;
                RunEnd::Finished
            }
            // Held up so long that another process took over and was faster.
            Err(_) if self.folder.join(run).exists() => {
                // What this process wrote after that.
                checkpoint::remove(self.folder, run)?;
                RunEnd::Elsewhere
            }
            Err(e) if e.is::<Interrupted>() && self.cancel.is_set() => RunEnd::Interrupted,
            Err(_) if claim.is_lost() => RunEnd::Claimed,
            Err(e) => {
                let mut error = format!("{e:#}");
                // On a full disk this also fails.
                if let Err(e) = failure::keep(self.folder, run, &error) {
                    error += &format!("; nor can the error be kept: {e:#}");
                }
                self.progress.say(&format!("{run}: failed: {error}"));
                RunEnd::Failed(error)
            }
        };
        drop(claim);
        Ok(ended)
    }
}
