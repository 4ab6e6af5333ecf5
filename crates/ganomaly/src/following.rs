//! Progress that goes elsewhere too, epoch by epoch.

use anyhow::Result;
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::record::Epoch;
use ganomaly_runner::progress::{Progress, RunProgress};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Somewhere that epochs go.
pub trait Follower: Send + Sync {
    /// A run's epoch has ended: all of the run's epochs so far. After an error the run's epochs
    /// come here no more.
    fn epochs(&self, run: &str, config: &RunConfig, epochs: &[Epoch]) -> Result<()>;
}

/// Progress for people, and for a follower.
pub struct Followed {
    inner: Box<dyn Progress>,
    follower: Arc<dyn Follower>,
}

struct Run {
    inner: Box<dyn RunProgress>,
    name: String,
    follower: Arc<dyn Follower>,
    lost: AtomicBool,
}

impl Followed {
    pub fn by(follower: Arc<dyn Follower>, inner: Box<dyn Progress>) -> Box<dyn Progress> {
        Box::new(Self { inner, follower })
    }
}

impl Progress for Followed {
    fn run(&self, name: &str, steps: u64) -> Box<dyn RunProgress> {
        let (inner, follower) = (self.inner.run(name, steps), self.follower.clone());
        Box::new(Run { inner, name: name.into(), follower, lost: AtomicBool::new(false) })
    }

    fn say(&self, line: &str) {
        self.inner.say(line);
    }
}

impl RunProgress for Run {
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
        if self.lost.load(Ordering::Relaxed) {
            return;
        }
        if let Err(e) = self.follower.epochs(&self.name, config, epochs) {
            // The run is worth more than what shows it.
            self.inner.say(&format!("{e:#}"));
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    fn say(&self, line: &str) {
        self.inner.say(line);
    }

    fn detail(&self, line: &str) {
        self.inner.detail(line);
    }
}
