//! Passes the progress of runs to their claims.

use super::{Held, Shared, lock};
use crate::progress::{Progress, RunProgress};
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::record::Epoch;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Passes progress on and notes it in the claims.
pub(crate) struct Watching<'a> {
    pub(super) shared: &'a Shared,
    pub(super) progress: &'a dyn Progress,
}

struct WatchingRun(Option<Arc<Held>>, Box<dyn RunProgress>);

impl Progress for Watching<'_> {
    fn run(&self, name: &str, steps: u64) -> Box<dyn RunProgress> {
        let held = lock(&self.shared.held).iter().find(|held| held.run == name).cloned();
        if let Some(held) = &held {
            held.steps.store(steps, Ordering::Relaxed);
        }
        Box::new(WatchingRun(held, self.progress.run(name, steps)))
    }

    fn say(&self, line: &str) {
        self.progress.say(line);
    }
}

impl RunProgress for WatchingRun {
    fn step(&self, epoch: usize, losses: &[(&'static str, f64)], images_per_s: f64) {
        if let Some(held) = &self.0 {
            held.epoch.store(epoch as u64, Ordering::Relaxed);
            held.steps_done.fetch_add(1, Ordering::Relaxed);
        }
        self.1.step(epoch, losses, images_per_s);
    }

    fn go_to(&self, epoch: usize, steps: u64) {
        if let Some(held) = &self.0 {
            held.epoch.store(epoch as u64, Ordering::Relaxed);
            held.steps_done.store(steps, Ordering::Relaxed);
            held.steps_before.store(steps, Ordering::Relaxed);
        }
        self.1.go_to(epoch, steps);
    }

    fn scoring(&self, line: &str) {
        self.1.scoring(line);
    }

    fn epochs(&self, config: &RunConfig, epochs: &[Epoch]) {
        self.1.epochs(config, epochs);
    }

    fn say(&self, line: &str) {
        self.1.say(line);
    }

    fn detail(&self, line: &str) {
        self.1.detail(line);
    }
}
