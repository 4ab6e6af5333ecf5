//! Checkpoints: everything that an interrupted run resumes from, so that its results are the same
//! bytes as those of a run that was never interrupted.
//!
//! They are in `.checkpoints/RUN/`, beside the results, under names that give the position, such as
//! `epoch3-step120.safetensors`. The last two are kept, and all are removed when the run's folder
//! appears. For the content of a file see [`Checkpoint`].

mod content;
mod sealed;

pub(crate) use content::not_finite;
pub use content::{Checkpoint, Identity, RunState};
pub use sealed::VERSION;

use anyhow::{Context, Result};
use ganomaly_data::read_bytes;
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::files::{names_in, write_whole};
use ganomaly_experiment::numerics::NUMERICS;
use ganomaly_experiment::record;
use ganomaly_experiment::run_data::RunData;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The folder of all runs' checkpoints in an experiment's results.
pub const FOLDER: &str = ".checkpoints";

/// Number of checkpoints kept per run.
const KEPT: usize = 2;

/// Larger files are refused; no file that this program writes comes near this size.
pub const MOST_BYTES: u64 = 8 << 30;

/// How often checkpoints are written. The results do not depend on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckpointInterval {
    /// Training steps between checkpoints; 0: no limit by steps.
    pub steps: u64,
    /// Time between checkpoints; zero: no limit by time. If both are zero, no checkpoints are
    /// written, not even when a run is interrupted.
    pub time: Duration,
}

impl Default for CheckpointInterval {
    /// Ten minutes.
    fn default() -> Self {
        Self { steps: 0, time: Duration::from_secs(600) }
    }
}

impl CheckpointInterval {
    /// No checkpoints at all.
    pub const NEVER: Self = Self { steps: 0, time: Duration::ZERO };
}

/// The checkpoints of one run.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    run: String,
    config: String,
    every: CheckpointInterval,
    data: OnceLock<String>,
    /// Steps of the run at the last checkpoint, and its time.
    last: Mutex<(u64, Instant)>,
}

impl Checkpoints {
    /// The checkpoints of `run` in an experiment's results.
    pub fn new(
        results: &Path,
        run: &str,
        config: &RunConfig,
        every: CheckpointInterval,
    ) -> Result<Self> {
        Ok(Self {
            folder: results.join(FOLDER).join(run),
            run: run.to_string(),
            config: config.to_toml()?,
            every,
            data: OnceLock::new(),
            last: Mutex::new((0, Instant::now())),
        })
    }

    /// Whether a checkpoint is due after `steps` steps of the run.
    pub fn is_due(&self, steps: u64) -> bool {
        let (last_steps, last) = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let by_steps = self.every.steps > 0 && steps >= last_steps + self.every.steps;
        by_steps || (!self.every.time.is_zero() && last.elapsed() >= self.every.time)
    }

    /// Whether any checkpoints are written.
    pub fn are_wanted(&self) -> bool {
        self.every != CheckpointInterval::NEVER
    }

    /// Notes that the run has taken `steps` steps, and that the state it resumes from is on disk or
    /// is its beginning.
    pub fn begin(&self, steps: u64) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (steps, Instant::now());
    }

    /// The identity that a checkpoint must have for this run to resume from it.
    fn identity(&self, data: &RunData) -> Identity {
        Identity {
            run: self.run.clone(),
            config: self.config.clone(),
            data: self.data.get_or_init(|| data.sha256()).clone(),
            numerics: NUMERICS,
        }
    }

    /// Writes a checkpoint after `steps` steps of the run, and removes those before the last two.
    /// If that fails, the previous ones are still there.
    pub fn save(&self, checkpoint: &Checkpoint, steps: u64, data: &RunData) -> Result<PathBuf> {
        // If it cannot be written, it is tried again when the next one is due.
        self.begin(steps);
        let bytes = checkpoint.to_bytes(&self.identity(data))?;
        let path = self.folder.join(checkpoint.state.file_name());
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("{}: cannot create", self.folder.display()))?;
        write_whole(&path, &bytes)?;
        let mut files = self.files()?;
        files.truncate(files.len().saturating_sub(KEPT));
        for (_, name) in files {
            remove_file(&self.folder.join(name))?;
        }
        Ok(path)
    }

    /// Each checkpoint's position and name, the newest last.
    fn files(&self) -> Result<Vec<((usize, usize), String)>> {
        let position = |name: String| Some((content::position(&name)?, name));
        let mut all: Vec<_> = names_in(&self.folder)?.into_iter().filter_map(position).collect();
        all.sort();
        Ok(all)
    }

    /// The newest checkpoint's path, with its epoch and step; the file is not read.
    pub fn newest(&self) -> Option<(PathBuf, usize, usize)> {
        let ((epoch, step), name) = self.files().ok()?.pop()?;
        Some((self.folder.join(name), epoch, step))
    }

    /// All checkpoints that are whole and of this run, the newest first. Every other one is renamed
    /// to `NAME.refused`, and the reason is passed to `say`.
    pub fn load(&self, data: &RunData, say: &dyn Fn(&str)) -> Result<Vec<Checkpoint>> {
        let mut whole = Vec::new();
        for name in names_in(&self.folder)? {
            // Its writer is dead: the run belongs to this process.
            if name.ends_with(".tmp") {
                remove_file(&self.folder.join(name))?;
            }
        }
        for (position, name) in self.files()?.into_iter().rev() {
            let path = self.folder.join(&name);
            match self.read(&path, data) {
                Ok(checkpoint) if checkpoint.state.position() == position => whole.push(checkpoint),
                Ok(_) => self.refuse(&path, "it is of another step than its name says", say)?,
                Err(e) => self.refuse(&path, &format!("{e:#}"), say)?,
            }
        }
        Ok(whole)
    }

    fn read(&self, path: &Path, data: &RunData) -> Result<Checkpoint> {
        let bytes = read_bytes(path, MOST_BYTES)?;
        Checkpoint::from_bytes(&bytes, Some(&self.identity(data)))
    }

    /// Whether there are checkpoints that cannot be used.
    pub fn are_refused(&self) -> bool {
        names_in(&self.folder).is_ok_and(|names| names.iter().any(|n| n.ends_with(".refused")))
    }

    /// Renames a checkpoint to `NAME.refused`.
    pub fn refuse(&self, path: &Path, why: &str, say: &dyn Fn(&str)) -> Result<()> {
        let aside = path.with_added_extension("refused");
        fs::rename(path, &aside)
            .with_context(|| format!("{}: cannot be put aside", path.display()))?;
        say(&format!("checkpoint refused: {}: {why}", path.display()));
        Ok(())
    }

    /// The path of a checkpoint that was loaded.
    pub fn path_of(&self, state: &RunState) -> PathBuf {
        self.folder.join(state.file_name())
    }

    /// Removes all checkpoints.
    pub fn clear(&self) -> Result<()> {
        for (_, name) in self.files()? {
            remove_file(&self.folder.join(name))?;
        }
        Ok(())
    }
}

/// Removes a run's checkpoints once its folder exists.
pub fn remove(results: &Path, run: &str) -> Result<()> {
    let all = results.join(FOLDER);
    let path = all.join(run);
    match fs::remove_dir_all(&path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("{}: cannot remove", path.display()));
        }
        _ => {}
    }
    // It stays while it holds the checkpoints of others.
    let _ = fs::remove_dir(all);
    Ok(())
}

/// Removes checkpoints of finished runs, left when a process ended between writing the results and
/// removing them.
pub(crate) fn remove_done(results: &Path) -> Result<()> {
    for run in names_in(&results.join(FOLDER))? {
        if record::is_run(&results.join(&run)) {
            remove(results, &run)?;
        }
    }
    Ok(())
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("{}: cannot remove", path.display())),
    }
}
