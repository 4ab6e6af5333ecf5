//! How many runs go on at once, and on how many threads each.

use crate::config::RunConfig;
use crate::registry;
use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use std::fmt;
use std::str::FromStr;
use std::sync::Barrier;
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

impl FromStr for Jobs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(n)) if n > 0 => Ok(Self::Count(n)),
            _ => Err(format!("{text:?} is no number of jobs: use auto, or 1 or more")),
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
    pub fn resolve(self, runs: &[&RunConfig]) -> Result<usize> {
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
                    let rate = steps_per_second(config, jobs)?;
                    if rate > best.0 {
                        best = (rate, jobs);
                    }
                }
                Ok(best.1)
            }
        }
    }
}

/// The threads of one of `jobs` runs: an equal share of this process's.
pub fn pool(jobs: usize) -> Result<rayon::ThreadPool> {
    let threads = (rayon::current_num_threads() / jobs).max(1);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("threads cannot be made")
}

/// Training steps a second of all jobs together.
fn steps_per_second(config: &RunConfig, jobs: usize) -> Result<f64> {
    let channels = registry::dataset(&config.dataset)?.image_shape()[0];
    let shape = (config.batch_size, channels, config.isize, config.isize);
    let x = Tensor::rand(-1f32, 1f32, shape, &Device::Cpu)?.to_dtype(DType::F32)?;
    let pools = (0..jobs).map(|_| pool(jobs)).collect::<Result<Vec<_>>>()?;
    let start = Barrier::new(jobs);
    let job = |pool: rayon::ThreadPool| -> Result<f64> {
        // Fails in every job alike, so that nobody waits below for one who never comes.
        let mut detector = pool.install(|| registry::detector(config, channels))?;
        let mut step = || -> Result<()> { Ok(pool.install(|| detector.train_step(&x)).map(drop)?) };
        let warm = step();
        start.wait();
        warm?;
        let started = Instant::now();
        (0..STEPS).try_for_each(|_| step())?;
        Ok(started.elapsed().as_secs_f64())
    };
    let job = &job;
    let seconds = std::thread::scope(|scope| {
        let threads: Vec<_> =
            pools.into_iter().map(|pool| scope.spawn(move || job(pool))).collect();
        let join = |t: std::thread::ScopedJoinHandle<'_, Result<f64>>| match t.join() {
            Ok(result) => result,
            Err(_) => bail!("a measuring thread panicked"),
        };
        threads.into_iter().map(join).collect::<Result<Vec<f64>>>()
    })?;
    Ok(seconds.iter().map(|s| STEPS as f64 / s).sum())
}
