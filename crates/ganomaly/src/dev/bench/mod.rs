//! `ganomaly bench`: times a training step and scoring, as one JSON object.

mod gpu;

use crate::args::use_threads;
use anyhow::{Context, Result, ensure};
use candle_core::DType;
use clap::Args;
use ganomaly_experiment::config::{DeviceName, Precision};
use ganomaly_experiment::registry::Registry;
use ganomaly_model::ganomaly::{Ganomaly, GanomalyConfig};
use ganomaly_model::kernels::{cpu, peak};
use ganomaly_model::{BatchNormMode, Detector, Input, Settings, random};
use serde::Serialize;
use std::process::ExitCode;
use std::time::Instant;

/// What to time. The defaults are the paper's network on greyscale images.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The detector, with its default settings.
    #[arg(long, default_value = GanomalyConfig::DETECTOR)]
    detector: String,
    /// Updates in AnoGAN's search, so that scoring does not take minutes.
    #[arg(long, default_value_t = 5)]
    search_steps: i64,
    /// Side length of the images.
    #[arg(long, default_value_t = 32)]
    isize: usize,
    /// Channels of the images.
    #[arg(long, default_value_t = 1)]
    nc: usize,
    /// Length of GANomaly's latent vector.
    #[arg(long, default_value_t = 100)]
    nz: usize,
    /// Features of GANomaly's first convolution.
    #[arg(long, default_value_t = 64)]
    ngf: usize,
    /// Images in a batch.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Number of threads; default: all cores.
    #[arg(long)]
    threads: Option<usize>,
    /// Number of steps to take the median of, after five to warm up.
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// Time scoring only.
    #[arg(long, conflicts_with = "profile")]
    score_only: bool,
    /// Device to compute on: cpu, cuda:0, ... or twin (the GPU kernels on the CPU).
    #[arg(long, default_value_t = DeviceName::Cpu)]
    device: DeviceName,
    /// Runs side by side on a GPU.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Rounding of matrix products on a GPU: f32, tf32 or bf16.
    #[arg(long, default_value_t)]
    precision: Precision,
    /// Print a table of the kernels in a GPU step: time, operations and bytes per second.
    #[arg(long)]
    profile: bool,
}

/// Multiply-adds of a training step and of scoring.
type Adds = (usize, usize);

impl BenchArgs {
    fn model(&self) -> Result<(Box<dyn Detector>, Option<Adds>)> {
        if self.detector == GanomalyConfig::DETECTOR {
            let model = Ganomaly::new(self.config(), 0)?;
            let adds = model.multiply_adds(self.batch)?;
            return Ok((Box::new(model), Some(adds)));
        }
        let registry = Registry::builtin();
        let kind = registry.find_detector(&self.detector)?;
        let mut settings = kind.defaults.clone();
        if let Some(steps) = settings.get_mut("search_steps") {
            *steps = self.search_steps.into();
        }
        let input = Input { channels: self.nc, side: self.isize };
        (kind.check)(&settings, input)?;
        Ok(((kind.build)(&settings, input, 0)?, None))
    }

    fn config(&self) -> GanomalyConfig {
        GanomalyConfig {
            isize: self.isize,
            nc: self.nc,
            nz: self.nz,
            ngf: self.ngf,
            ..GanomalyConfig::default()
        }
    }
}

/// The medians. Times are for whole batches.
#[derive(Debug, Serialize)]
struct Times {
    detector: String,
    threads: usize,
    cpu: String,
    isize: usize,
    nc: usize,
    batch: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    train_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    train_images_per_s: Option<f64>,
    score_ms: f64,
    score_images_per_s: f64,
    /// Billions of multiply-adds per second of all threads, in registers only.
    peak: f64,
    /// The fraction of the times that GANomaly's convolutions would take at that peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    train_at_peak: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score_at_peak: Option<f64>,
}

/// Times a fresh network on noise and prints one line of JSON.
pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    ensure!(args.steps > 0 && args.batch > 0, "--steps and --batch: use 1 or more");
    ensure!(args.runs > 0, "--runs: use 1 or more");
    use_threads(args.threads)?;
    if args.device != DeviceName::Cpu {
        ensure!(
            args.detector == GanomalyConfig::DETECTOR,
            "--detector {}: GANomaly alone trains on a GPU; leave out --device",
            args.detector
        );
        return gpu::run(args);
    }
    ensure!(
        args.runs == 1 && args.precision == Precision::F32 && !args.profile,
        "--runs, --precision and --profile are for --device cuda:0"
    );
    let (mut model, adds) = args.model()?;
    let shape = [args.batch, args.nc, args.isize, args.isize];
    let x = random::normal(&mut random::stream(0, b"bench   "), (0.0, 1.0), &shape, DType::F32)?;
    let peak = peak::multiply_adds_per_second();
    let train = match args.score_only {
        true => None,
        false => Some(median(args.steps, || Ok(model.train_step(&x).map(drop)?))?),
    };
    let score = median(args.steps, || Ok(model.score(&x, BatchNormMode::Running).map(drop)?))?;
    // Another process may have slowed down the first measurement.
    let peak = peak.max(peak::multiply_adds_per_second());
    let at_peak = |adds: usize, seconds: f64| round(adds as f64 / peak / seconds, 3);
    let (step_adds, score_adds) = adds.unzip();
    let rate = |seconds: f64| round(args.batch as f64 / seconds, 1);
    let times = Times {
        detector: args.detector.clone(),
        threads: rayon::current_num_threads(),
        cpu: cpu::level().to_string(),
        isize: args.isize,
        nc: args.nc,
        batch: args.batch,
        train_ms: train.map(|t| round(t * 1e3, 3)),
        train_images_per_s: train.map(rate),
        score_ms: round(score * 1e3, 3),
        score_images_per_s: rate(score),
        peak: round(peak / 1e9, 1),
        train_at_peak: train.zip(step_adds).map(|(seconds, adds)| at_peak(adds, seconds)),
        score_at_peak: score_adds.map(|adds| at_peak(adds, score)),
    };
    ganomaly_runner::terminal::data(&(serde_json::to_string(&times)? + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn median(steps: usize, mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..5 {
        f()?;
    }
    let mut times = Vec::with_capacity(steps);
    for _ in 0..steps {
        let start = Instant::now();
        f()?;
        times.push(start.elapsed().as_secs_f64());
    }
    middle(times)
}

/// The median.
fn middle(mut times: Vec<f64>) -> Result<f64> {
    times.sort_by(f64::total_cmp);
    let half = times.len() / 2;
    let upper = times.get(half).context("no steps")?;
    Ok(if times.len() % 2 == 1 { *upper } else { (upper + times[half - 1]) / 2.0 })
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}
