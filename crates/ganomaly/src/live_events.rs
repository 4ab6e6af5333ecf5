//! TensorBoard's event files while runs go on.

use crate::following::Follower;
use anyhow::{Context, Result};
use ganomaly_data::shown;
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::plan::Plan;
use ganomaly_experiment::record::Epoch;
use ganomaly_report::tensorboard::{Growing, write};
use ganomaly_runner::terminal::note;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The folder of the event files of runs in progress, in an experiment's folder.
const FOLDER: &str = ".tensorboard";

/// Event files that grow.
pub struct LiveEvents {
    folder: PathBuf,
    files: Mutex<HashMap<String, Growing>>,
}

impl LiveEvents {
    /// For the runs of an experiment's folder.
    pub fn new(experiment: &Path) -> Self {
        let folder = experiment.join(FOLDER);
        note(format!("event files grow there: tensorboard --logdir {}", shown(&folder)));
        Self { folder, files: Mutex::default() }
    }
}

impl Follower for LiveEvents {
    fn epochs(&self, run: &str, config: &RunConfig, epochs: &[Epoch]) -> Result<()> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match files.get_mut(run) {
            Some(growing) => growing.add(config, epochs),
            None => Growing::begin(&self.folder.join(run), config, epochs)
                .map(|new| drop(files.insert(run.into(), new))),
        };
        written.context("its event file ends here")
    }
}

/// Writes the event files of a plan's finished runs into their folders, in the place of those that
/// grew.
pub fn finish(plan: &Plan, experiment: &Path) -> Result<()> {
    for run in plan.finished(experiment)? {
        write(&experiment.join(&run.name))?;
        let live = experiment.join(FOLDER).join(&run.name);
        if live.exists() {
            fs::remove_dir_all(&live).with_context(|| shown(&live))?;
        }
    }
    // Stays if another process's runs are in it.
    let _ = fs::remove_dir(experiment.join(FOLDER));
    note(format!("event files are there: tensorboard --logdir {}", shown(experiment)));
    Ok(())
}
