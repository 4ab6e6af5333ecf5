//! `sweep.log` in an experiment's results: everything that its runs reported, to read afterwards.

use crate::progress::{Progress, RunProgress};
use ganomaly_data::printable;
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::host;
use ganomaly_experiment::record::Epoch;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// The file's name.
pub(crate) const FILE: &str = "sweep.log";

/// Passes progress on and appends its lines to the log.
pub(crate) struct Logged<'a> {
    log: Arc<Log>,
    progress: &'a dyn Progress,
}

struct Log {
    path: PathBuf,
    /// Opened at the first line; none if that fails: results are worth more than their log.
    file: OnceLock<Option<File>>,
}

struct LoggedRun {
    log: Arc<Log>,
    name: String,
    run: Box<dyn RunProgress>,
}

impl<'a> Logged<'a> {
    pub(crate) fn new(results: &Path, progress: &'a dyn Progress) -> Self {
        let log = Log { path: results.join(FILE), file: OnceLock::new() };
        Self { log: Arc::new(log), progress }
    }
}

impl Log {
    fn open(&self) -> Option<File> {
        // Only a regular file: opening a pipe would wait for its reader.
        let free = self.path.metadata().map_or(true, |there| there.is_file());
        free.then(|| OpenOptions::new().create(true).append(true).open(&self.path).ok()).flatten()
    }

    /// Writes a line with its time and process in one piece: several processes may share the file.
    fn write(&self, line: &str) {
        if let Some(mut file) = self.file.get_or_init(|| self.open()).as_ref() {
            let now = humantime::format_rfc3339_seconds(SystemTime::now());
            let (host, pid) = (host::name(), std::process::id());
            let line = printable(&format!("{now} {host} {pid} {line}\n"));
            let _ = file.write_all(line.as_bytes());
        }
    }
}

impl Progress for Logged<'_> {
    fn run(&self, name: &str, steps: u64) -> Box<dyn RunProgress> {
        self.log.write(&format!("{name}: {steps} training steps"));
        let run = self.progress.run(name, steps);
        Box::new(LoggedRun { log: self.log.clone(), name: name.to_string(), run })
    }

    fn say(&self, line: &str) {
        self.log.write(line);
        self.progress.say(line);
    }
}

impl RunProgress for LoggedRun {
    fn step(&self, epoch: usize, losses: &[(&'static str, f64)], images_per_s: f64) {
        self.run.step(epoch, losses, images_per_s);
    }

    fn go_to(&self, epoch: usize, steps: u64) {
        self.run.go_to(epoch, steps);
    }

    fn scoring(&self, line: &str) {
        self.run.scoring(line);
    }

    fn epochs(&self, config: &RunConfig, epochs: &[Epoch]) {
        self.run.epochs(config, epochs);
    }

    fn say(&self, line: &str) {
        self.log.write(&format!("{}: {line}", self.name));
        self.run.say(line);
    }

    fn detail(&self, line: &str) {
        self.log.write(&format!("{}: {line}", self.name));
        self.run.detail(line);
    }
}
