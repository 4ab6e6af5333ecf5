//! TensorBoard's event files while runs go on.

use anyhow::{Context, Result};
use ganomaly_data::shown;
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::plan::Plan;
use ganomaly_experiment::record::Epoch;
use ganomaly_report::tensorboard::{Growing, write};
use ganomaly_runner::progress::{Progress, RunProgress};
use ganomaly_runner::terminal::note;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The folder of the event files of runs in progress, in an experiment's folder.
const FOLDER: &str = ".tensorboard";

/// Progress that also goes into event files.
pub struct LiveEvents {
    inner: Box<dyn Progress>,
    folder: PathBuf,
}

struct LiveRun {
    inner: Box<dyn RunProgress>,
    folder: PathBuf,
    /// None before the first epoch, and after an error.
    file: Mutex<Result<Option<Growing>, ()>>,
}

impl LiveEvents {
    /// For the runs of an experiment's folder.
    pub fn new(inner: Box<dyn Progress>, experiment: &Path) -> Self {
        let folder = experiment.join(FOLDER);
        note(format!("event files grow there: tensorboard --logdir {}", shown(&folder)));
        Self { inner, folder }
    }
}

impl Progress for LiveEvents {
    fn run(&self, name: &str, steps: u64) -> Box<dyn RunProgress> {
        let (inner, folder) = (self.inner.run(name, steps), self.folder.join(name));
        Box::new(LiveRun { inner, folder, file: Mutex::new(Ok(None)) })
    }

    fn say(&self, line: &str) {
        self.inner.say(line);
    }
}

impl RunProgress for LiveRun {
    fn step(&self, epoch: usize, losses: &[(&'static str, f64)], images_per_s: f64) {
        self.inner.step(epoch, losses, images_per_s);
    }

    fn go_to(&self, epoch: usize, steps: u64) {
        self.inner.go_to(epoch, steps);
    }

    fn scoring(&self, line: &str) {
        self.inner.scoring(line);
    }

    fn epochs(&self, config: &RunConfig, epochs: &[Epoch]) {
        self.inner.epochs(config, epochs);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match &mut *file {
            Err(()) => return,
            Ok(Some(growing)) => growing.add(config, epochs),
            Ok(none) => Growing::begin(&self.folder, config, epochs).map(|new| *none = Some(new)),
        };
        if let Err(e) = written {
            // The run is worth more than what shows it.
            self.inner.say(&format!("its event file ends here: {e:#}"));
            *file = Err(());
        }
    }

    fn say(&self, line: &str) {
        self.inner.say(line);
    }

    fn detail(&self, line: &str) {
        self.inner.detail(line);
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
