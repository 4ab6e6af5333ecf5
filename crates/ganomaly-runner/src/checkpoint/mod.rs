//! Checkpoints: all that an interrupted run goes on from, so that it ends in the same bytes as one that was never interrupted.
//!
//! They lie in `.checkpoints/RUN/`, beside the results, under names that tell the position, such as `epoch3-step120.safetensors`; the last two are
//! kept, and all are removed when the run's folder appears. What is in a file: [`Checkpoint`].

mod content;
mod sealed;

pub use content::{Checkpoint, Identity, Lowered, RunState};
pub use sealed::VERSION;

use crate::config::RunConfig;
use crate::data::RunData;
use crate::files::{names_in, write_whole};
use crate::numerics::NUMERICS;
use crate::record;
use anyhow::{Context, Result};
use ganomaly_data::read_bytes;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The folder of all runs' checkpoints in an experiment's results.
pub const FOLDER: &str = ".checkpoints";

/// Checkpoints of a run that are kept.
const KEPT: usize = 2;

/// Larger files are refused: none that this program writes comes near.
pub const MOST_BYTES: u64 = 8 << 30;

/// How often checkpoints are written. The results do not depend on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Every {
    /// Training steps from one to the next; 0: their number does not matter.
    pub steps: u64,
    /// Time from one to the next; zero: it does not matter. Where the steps do not matter either, no checkpoints are written, not even at the end
    /// of an interrupted run.
    pub time: Duration,
}

impl Default for Every {
    /// Ten minutes.
    fn default() -> Self {
        Self { steps: 0, time: Duration::from_secs(600) }
    }
}

impl Every {
    /// No checkpoints at all.
    pub const NEVER: Self = Self { steps: 0, time: Duration::ZERO };
}

/// The checkpoints of one run.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    run: String,
    config: String,
    every: Every,
    data: OnceLock<String>,
    /// Steps of the run at the last one, and when that was.
    last: Mutex<(u64, Instant)>,
}

impl Checkpoints {
    /// Those of `run` in an experiment's results.
    pub fn new(results: &Path, run: &str, config: &RunConfig, every: Every) -> Result<Self> {
        Ok(Self {
            folder: results.join(FOLDER).join(run),
            run: run.to_string(),
            config: config.to_toml()?,
            every,
            data: OnceLock::new(),
            last: Mutex::new((0, Instant::now())),
        })
    }

    /// Whether it is time for one, after so many steps of the run.
    pub fn is_due(&self, steps: u64) -> bool {
        let (last_steps, last) = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let by_steps = self.every.steps > 0 && steps >= last_steps + self.every.steps;
        by_steps || (!self.every.time.is_zero() && last.elapsed() >= self.every.time)
    }

    /// Whether any are written.
    pub fn are_wanted(&self) -> bool {
        self.every != Every::NEVER
    }

    /// The run has taken so many steps, and what it goes on from is on disk, or is its beginning.
    pub fn begin(&self, steps: u64) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (steps, Instant::now());
    }

    /// What a checkpoint must say of the run that goes on from it.
    fn identity(&self, data: &RunData) -> Identity {
        Identity {
            run: self.run.clone(),
            config: self.config.clone(),
            data: self.data.get_or_init(|| data.sha256()).clone(),
            numerics: NUMERICS,
        }
    }

    /// Writes one, after so many steps of the run, and removes those before the last two. Where that fails, the ones before are still there.
    pub fn save(&self, checkpoint: &Checkpoint, steps: u64, data: &RunData) -> Result<PathBuf> {
        // One that cannot be written is tried again when the next would be due.
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

    /// The newest checkpoint's path, with its epoch and step; not looked into.
    pub fn newest(&self) -> Option<(PathBuf, usize, usize)> {
        let ((epoch, step), name) = self.files().ok()?.pop()?;
        Some((self.folder.join(name), epoch, step))
    }

    /// All that are whole and this run's, the newest first. Each other one is put aside as `NAME.refused`, and `say` hears why.
    pub fn load(&self, data: &RunData, say: &dyn Fn(&str)) -> Result<Vec<Checkpoint>> {
        let mut whole = Vec::new();
        for name in names_in(&self.folder)? {
            // Its writer is dead: the run is this process's.
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

    /// Whether some lie there that cannot be used.
    pub fn are_refused(&self) -> bool {
        names_in(&self.folder).is_ok_and(|names| names.iter().any(|n| n.ends_with(".refused")))
    }

    /// Puts a checkpoint aside.
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

    /// Removes all of them.
    pub fn clear(&self) -> Result<()> {
        for (_, name) in self.files()? {
            remove_file(&self.folder.join(name))?;
        }
        Ok(())
    }
}

/// Removes a run's checkpoints, once its folder is there.
pub fn remove(results: &Path, run: &str) -> Result<()> {
    let all = results.join(FOLDER);
    let path = all.join(run);
    match fs::remove_dir_all(&path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("{}: cannot remove", path.display()));
        }
        _ => {}
    }
    // It stays while others' are in it.
    let _ = fs::remove_dir(all);
    Ok(())
}

/// Removes what runs that are done left: their process ended between the two.
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
