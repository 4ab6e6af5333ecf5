//! What people see while runs train, kept out of the loops.

use crate::terminal::{is_quiet, say};
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::record::Epoch;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};

/// Receives the progress of all runs.
pub trait Progress: Send + Sync {
    /// A run with this many training steps begins.
    fn run(&self, name: &str, steps: u64) -> Box<dyn RunProgress>;
    /// A line that does not belong to a single run.
    fn say(&self, line: &str);
}

/// Receives the progress of one run.
pub trait RunProgress: Send {
    /// A step has been taken, with these losses to watch.
    fn step(&self, epoch: usize, losses: &[(&'static str, f64)], images_per_s: f64);
    /// The run resumes in this epoch, with this many of all its steps done.
    fn go_to(&self, _epoch: usize, _steps: u64) {}
    /// Where the scoring of an epoch is.
    fn scoring(&self, _line: &str) {}
    /// An epoch has ended: all of the run's epochs so far.
    fn epochs(&self, _config: &RunConfig, _epochs: &[Epoch]) {}
    /// A message that deserves its own line.
    fn say(&self, line: &str);
    /// What happens in every run, such as the end of an epoch; too much to read with many runs.
    fn detail(&self, line: &str) {
        self.say(line);
    }
}

/// The environment variable that asks for one line per step instead of bars.
pub const SAY_STEPS: &str = "GANOMALY_SAY_STEPS";

/// Shows a live bar per run on a terminal, plain lines elsewhere. With `details` or for a single
/// run, also one line per epoch.
pub fn for_people(details: bool, runs: usize) -> Box<dyn Progress> {
    let steps = std::env::var_os(SAY_STEPS).is_some();
    let details = details || steps || runs < 2;
    if is_quiet() {
        Box::new(Silent)
    } else if steps || !shows_bars() {
        Box::new(Lines { steps, details })
    } else {
        Box::new(Bars { bars: MultiProgress::new(), details })
    }
}

/// Whether bars are drawn: on a terminal that can move its cursor, unless the program is quiet.
pub fn shows_bars() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stderr().is_terminal() && !dumb && !is_quiet()
}

struct Bars {
    bars: MultiProgress,
    details: bool,
}

struct Bar {
    bar: ProgressBar,
    name: String,
    details: bool,
}

/// A bar's widest line, in columns; a narrower terminal cuts it off.
const TEMPLATE: &str = "{prefix} {bar:24} {pos}/{len} steps, {eta} left, {wide_msg}";

impl Progress for Bars {
    fn run(&self, name: &str, steps: u64) -> Box<dyn RunProgress> {
        let bar = self.bars.add(ProgressBar::new(steps));
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_string());
        Box::new(Bar { bar, name: name.to_string(), details: self.details })
    }

    fn say(&self, line: &str) {
        // Not `suspend`, which panics if the terminal is gone.
        let _ = self.bars.println(ganomaly_data::printable(line));
    }
}

impl RunProgress for Bar {
    fn step(&self, epoch: usize, losses: &[(&'static str, f64)], images_per_s: f64) {
        let losses: Vec<String> = losses.iter().map(|(n, v)| format!("{n} {v:.3}")).collect();
        self.bar.set_message(format!(
            "epoch {epoch}, {}, {images_per_s:.0} images/s",
            losses.join(", ")
        ));
        self.bar.inc(1);
    }

    fn go_to(&self, _: usize, steps: u64) {
        self.bar.set_position(steps);
        self.bar.reset_eta();
    }

    fn scoring(&self, line: &str) {
        self.bar.set_message(line.to_string());
    }

    fn say(&self, line: &str) {
        self.bar.println(ganomaly_data::printable(&format!("{}: {line}", self.name)));
    }

    fn detail(&self, line: &str) {
        if self.details {
            self.say(line);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

struct Lines {
    /// Whether each step gets a line.
    steps: bool,
    details: bool,
}

struct Line {
    name: String,
    steps: u64,
    /// Steps taken, if they are printed.
    taken: Option<AtomicU64>,
    details: bool,
}

impl Progress for Lines {
    fn run(&self, name: &str, steps: u64) -> Box<dyn RunProgress> {
        let taken = self.steps.then(AtomicU64::default);
        let line = Line { name: name.to_string(), steps, taken, details: self.details };
        line.detail(&format!("{steps} training steps"));
        Box::new(line)
    }

    fn say(&self, line: &str) {
        say(line);
    }
}

impl RunProgress for Line {
    fn step(&self, _: usize, _: &[(&'static str, f64)], _: f64) {
        if let Some(taken) = &self.taken {
            let taken = taken.fetch_add(1, Ordering::Relaxed) + 1;
            self.say(&format!("step {taken} of {}", self.steps));
        }
    }

    fn go_to(&self, _: usize, steps: u64) {
        if let Some(taken) = &self.taken {
            taken.store(steps, Ordering::Relaxed);
        }
    }

    fn say(&self, line: &str) {
        say(format!("{}: {line}", self.name));
    }

    fn detail(&self, line: &str) {
        if self.details {
            self.say(line);
        }
    }
}

/// Ignores everything; for tests and library use.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn run(&self, _: &str, _: u64) -> Box<dyn RunProgress> {
        Box::new(Self)
    }

    fn say(&self, _: &str) {}
}

impl RunProgress for Silent {
    fn step(&self, _: usize, _: &[(&'static str, f64)], _: f64) {}
    fn say(&self, _: &str) {}
}
