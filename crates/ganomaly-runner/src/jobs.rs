//! How many runs go on at once, and on how many threads each.

use crate::config::RunConfig;
use crate::interrupt::Cancel;
use crate::registry;
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};
use std::time::Instant;

/// Runs at once. The results do not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jobs {
    /// As many as train the most pictures a second, which is measured first.
    #[default]
    Auto,
    /// So many, 1 or more.
    Count(usize),
}

/// More than any machine has cores; each has threads and memory of its own.
const MOST_JOBS: usize = 1024;

impl FromStr for Jobs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(n)) if (1..=MOST_JOBS).contains(&n) => Ok(Self::Count(n)),
            _ => Err(format!("use auto, or 1 to {MOST_JOBS}")),
        }
    }
}

impl fmt::Display for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Count(n) => write!(f, "{n}"),
        }
    }
}

/// Steps of a measurement behind one that warms up.
const STEPS: usize = 3;

impl Jobs {
    /// The number for these runs on this process's threads. Where it is to be measured, fresh networks of the first run's shape train on
    /// noise for a few steps, so many of them side by side: 1, 2, 4 and so on up to the number of threads.
    pub fn resolve(self, runs: &[&RunConfig], cancel: &Cancel) -> Result<usize> {
        let threads = rayon::current_num_threads();
        let most = threads.min(runs.len()).max(1);
        match (self, runs.first()) {
            (Self::Count(n), _) => Ok(n.min(runs.len()).max(1)),
            (Self::Auto, None) => Ok(1),
            (Self::Auto, Some(_)) if most == 1 => Ok(1),
            (Self::Auto, Some(config)) => {
                let mut best = (0.0, 1);
                let powers = (0..usize::BITS).map(|p| 1 << p).take_while(|&n| n < most);
                for jobs in powers.chain([most]) {
                    let rate = steps_per_second(config, jobs, cancel)?;
                    if rate > best.0 {
                        best = (rate, jobs);
                    }
                }
                Ok(best.1)
            }
        }
    }
}

/// Calls `work` with 0, 1, … `count` − 1, so many calls at once as there are jobs, each on an equal share of this process's threads. The
/// outcomes are in the order of the numbers.
pub fn side_by_side<R: Send>(
    count: usize,
    jobs: usize,
    work: impl Fn(usize) -> R + Sync,
) -> Result<Vec<R>> {
    let threads = (rayon::current_num_threads() / jobs).max(1);
    let pool = |_| rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pools: Vec<rayon::ThreadPool> =
        (0..jobs).map(pool).collect::<Result<_, _>>().context("threads cannot be made")?;
    let next = AtomicUsize::new(0);
    let (sender, outcomes) = mpsc::channel();
    std::thread::scope(|scope| {
        for pool in pools {
            let (next, work, sender) = (&next, &work, sender.clone());
            scope.spawn(move || {
                let indices = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
                for index in indices.take_while(|&index| index < count) {
                    // Nobody stops listening before the scope ends.
                    let _ = sender.send((index, pool.install(|| work(index))));
                }
            });
        }
    });
    drop(sender);
    let mut outcomes: Vec<(usize, R)> = outcomes.iter().collect();
    outcomes.sort_by_key(|(index, _)| *index);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

/// Training steps a second of all jobs together.
fn steps_per_second(config: &RunConfig, jobs: usize, cancel: &Cancel) -> Result<f64> {
    let channels = registry::dataset(&config.dataset)?.image_shape()[0];
    let shape = (config.batch_size, channels, config.isize, config.isize);
    let x = Tensor::rand(-1f32, 1f32, shape, &Device::Cpu)?;
    let start = Barrier::new(jobs);
    let seconds = side_by_side(jobs, jobs, |_| -> Result<f64> {
        // Fails in every job alike, so that nobody waits below for one who never comes.
        let mut detector = registry::detector(config, channels)?;
        let warm = detector.train_step(&x);
        start.wait();
        warm?;
        let started = Instant::now();
        for _ in 0..STEPS {
            cancel.check()?;
            detector.train_step(&x)?;
        }
        Ok(started.elapsed().as_secs_f64())
    })?;
    seconds.into_iter().map(|seconds| Ok(STEPS as f64 / seconds?)).sum()
}
