//! How many runs train at once, and on how many threads each.

use crate::interrupt::Cancel;
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::registry::Registry;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};
use std::time::Instant;

/// Runs at once. The results do not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jobs {
    /// The number that trains the most images per second; measured first.
    #[default]
    Auto,
    /// This many, 1 or more.
    Count(usize),
}

/// More than the cores of any machine; each job has its own threads and memory.
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

/// Measured steps, after one to warm up.
const STEPS: usize = 3;

impl Jobs {
    /// The number of jobs for these runs on this process's threads. If it has to be measured, fresh
    /// networks of the first run's shape train on noise for a few steps, with 1, 2, 4 and so on
    /// side by side, up to the number of threads.
    pub fn resolve(
        self,
        runs: &[&RunConfig],
        registry: &Registry,
        cancel: &Cancel,
    ) -> Result<usize> {
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
                    let rate = steps_per_second(config, jobs, registry, cancel)?;
                    if rate > best.0 {
                        best = (rate, jobs);
                    }
                }
                Ok(best.1)
            }
        }
    }
}

/// Calls `work` with 0, 1, … `count` − 1, with as many calls at once as there are jobs, each on an
/// equal share of this process's threads. The outcomes are in the order of the numbers.
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
                    // The receiver lives until the scope ends.
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

/// Training steps per second of all jobs together.
fn steps_per_second(
    config: &RunConfig,
    jobs: usize,
    registry: &Registry,
    cancel: &Cancel,
) -> Result<f64> {
    let channels = config.input().channels;
    let shape = (config.batch_size, channels, config.isize, config.isize);
    let x = Tensor::rand(-1f32, 1f32, shape, &Device::Cpu)?;
    let start = Barrier::new(jobs);
    let seconds = side_by_side(jobs, jobs, |_| -> Result<f64> {
        // Fails in every job alike, so that no job waits below for one that never comes.
        let mut detector = config.new_detector(registry)?;
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
