//! What people see while runs go on, kept out of the loops; and how they end them.

use anyhow::{Result, bail};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Set by Ctrl-C; every loop asks it once a batch.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    own: Arc<AtomicBool>,
    /// Others that it is set by.
    others: Vec<Arc<AtomicBool>>,
}

/// The error of a run that was asked to end.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Cancel {
    /// Sets it.
    pub fn set(&self) {
        self.own.store(true, Ordering::Relaxed);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        std::iter::once(&self.own).chain(&self.others).any(|flag| flag.load(Ordering::Relaxed))
    }

    /// One that is set when this one or the other is; setting it sets this one.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let others = self.others.iter().chain([&other.own]).chain(&other.others);
        Self { own: self.own.clone(), others: others.cloned().collect() }
    }

    /// An [`Interrupted`] error once it is set.
    pub fn check(&self) -> Result<()> {
        if self.is_set() {
            bail!(Interrupted);
        }
        Ok(())
    }
}

/// Hears what runs do.
pub trait Progress: Send + Sync {
    /// A run of so many training steps begins.
    fn run(&self, name: &str, steps: u64) -> Box<dyn RunProgress>;
    /// Something worth a line that is of no single run.
    fn say(&self, line: &str);
}

/// Hears what one run does.
pub trait RunProgress: Send {
    /// A step has been taken.
    fn step(&self, epoch: usize, losses: &[(&'static str, f64)], images_per_s: f64);
    /// The run goes on in this epoch, with so many of all its steps behind it.
    fn go_to(&self, _epoch: usize, _steps: u64) {}
    /// Something worth a line of its own.
    fn say(&self, line: &str);
}

/// The environment variable that asks for a line a step instead of bars.
pub const SAY_STEPS: &str = "GANOMALY_SAY_STEPS";

/// A live bar a run on a terminal, plain lines elsewhere.
pub fn for_people() -> Box<dyn Progress> {
    let steps = std::env::var_os(SAY_STEPS).is_some();
    if steps || !std::io::stderr().is_terminal() {
        return Box::new(Lines { steps });
    }
    Box::new(Bars::default())
}

#[derive(Default)]
struct Bars(MultiProgress);

struct Bar(ProgressBar, String);

impl Progress for Bars {
    fn run(&self, name: &str, steps: u64) -> Box<dyn RunProgress> {
        let bar = self.0.add(ProgressBar::new(steps));
        let template = "{prefix} {bar:24} {pos}/{len} steps, {eta} left, {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_string());
        Box::new(Bar(bar, name.to_string()))
    }

    fn say(&self, line: &str) {
        self.0.suspend(|| eprintln!("{line}"));
    }
}

impl RunProgress for Bar {
    fn step(&self, epoch: usize, losses: &[(&'static str, f64)], images_per_s: f64) {
        let wanted = losses.iter().filter(|(n, _)| matches!(*n, "err_g" | "err_d"));
        let losses: Vec<String> = wanted.map(|(n, v)| format!("{n} {v:.3}")).collect();
        self.0.set_message(format!(
            "epoch {epoch}, {}, {images_per_s:.0} images/s",
            losses.join(", ")
        ));
        self.0.inc(1);
    }

    fn go_to(&self, _: usize, steps: u64) {
        self.0.set_position(steps);
        self.0.reset_eta();
    }

    fn say(&self, line: &str) {
        self.0.suspend(|| eprintln!("{}: {line}", self.1));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

struct Lines {
    /// Whether each step gets a line.
    steps: bool,
}

struct Line {
    name: String,
    steps: u64,
    /// Steps taken, where they are said.
    taken: Option<AtomicU64>,
}

impl Progress for Lines {
    fn run(&self, name: &str, steps: u64) -> Box<dyn RunProgress> {
        eprintln!("{name}: {steps} training steps");
        let taken = self.steps.then(AtomicU64::default);
        Box::new(Line { name: name.to_string(), steps, taken })
    }

    fn say(&self, line: &str) {
        eprintln!("{line}");
    }
}

impl RunProgress for Line {
    fn step(&self, _: usize, _: &[(&'static str, f64)], _: f64) {
        if let Some(taken) = &self.taken {
            let taken = taken.fetch_add(1, Ordering::Relaxed) + 1;
            eprintln!("{}: step {taken} of {}", self.name, self.steps);
        }
    }

    fn go_to(&self, _: usize, steps: u64) {
        if let Some(taken) = &self.taken {
            taken.store(steps, Ordering::Relaxed);
        }
    }

    fn say(&self, line: &str) {
        eprintln!("{}: {line}", self.name);
    }
}

/// Hears nothing; for tests and for library use.
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
