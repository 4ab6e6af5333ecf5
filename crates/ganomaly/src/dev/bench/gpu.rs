//! The same on a GPU: runs side by side, and where a step's time goes.

use super::{BenchArgs, middle, round};
use anyhow::{Result, bail};
use ganomaly_experiment::config::DeviceName;
use ganomaly_gpu::{Group, Images, Launch, Machine, Peak, Size};
use ganomaly_model::BatchNormMode;
use ganomaly_model::ganomaly::Ganomaly;
use ganomaly_runner::device;
use serde::Serialize;
use std::fmt::Write;
use std::process::ExitCode;

/// The medians. Times are for a whole step: a batch of every run.
#[derive(Debug, Serialize)]
struct Times {
    device: String,
    precision: String,
    isize: usize,
    nc: usize,
    batch: usize,
    runs: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    train_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    train_images_per_s: Option<f64>,
    score_ms: f64,
    score_images_per_s: f64,
}

pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    match args.device {
        DeviceName::Twin => {
            bench(args, |buffers| device::twin(buffers, args.precision), |_| Ok(None))
        }
        DeviceName::Cuda(gpu) => bench(
            args,
            |buffers| device::gpu(gpu, buffers, args.precision),
            |gpu| Ok(Some(device::limits(gpu, args.precision)?)),
        ),
        other => bail!("--device {other}: name the GPU, cuda:0"),
    }
}

fn bench<M: Machine>(
    args: &BenchArgs,
    make: impl FnOnce(&[usize]) -> ganomaly_gpu::Result<M>,
    limits: impl FnOnce(&M) -> Result<Option<Peak>>,
) -> Result<ExitCode> {
    let mut models = (0..args.runs as u64)
        .map(|seed| Ganomaly::new(args.config(), seed))
        .collect::<Result<Vec<_>, _>>()?;
    let size = Size {
        runs: args.runs,
        batch: args.batch,
        score_batch: args.batch,
        images: 0,
        order: args.batch,
        remainders: Vec::new(),
    };
    let table = vec![0.0; args.nc * 256];
    let nothing = Images { bytes: &[], table: &table };
    let mut group = Group::new(&mut models, nothing, size, make)?;
    let limits = limits(group.machine())?;
    let name = limits.as_ref().map_or_else(|| args.device.to_string(), |l| l.name.clone());
    if args.profile {
        group.time_steps(2)?;
        let rounds =
            (0..args.steps).map(|_| group.profile_step()).collect::<Result<Vec<_>, _>>()?;
        let title = format!(
            "{name}, {}, {} runs of {} images {}x{}",
            args.precision, args.runs, args.batch, args.nc, args.isize
        );
        ganomaly_runner::terminal::out(&profile(&title, limits.as_ref(), &rounds)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let warm = if args.device == DeviceName::Twin { 0 } else { 5 };
    let train = match args.score_only {
        true => None,
        false => {
            group.time_steps(warm)?;
            Some(middle(group.time_steps(args.steps)?)?)
        }
    };
    group.time_scores(warm, BatchNormMode::Running)?;
    let score = middle(group.time_scores(args.steps, BatchNormMode::Running)?)?;
    let rate = |seconds: f64| round((args.runs * args.batch) as f64 / seconds, 1);
    let times = Times {
        device: name,
        precision: args.precision.to_string(),
        isize: args.isize,
        nc: args.nc,
        batch: args.batch,
        runs: args.runs,
        train_ms: train.map(|t| round(t * 1e3, 3)),
        train_images_per_s: train.map(rate),
        score_ms: round(score * 1e3, 3),
        score_images_per_s: rate(score),
    };
    ganomaly_runner::terminal::data(&(serde_json::to_string(&times)? + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// One kernel's launches in a step.
#[derive(Default)]
struct Part {
    kernel: &'static str,
    launches: usize,
    seconds: f64,
    flops: f64,
    bytes: f64,
}

/// A table of a step's kernels, longest first: the median of each launch over the rounds.
fn profile(title: &str, limits: Option<&Peak>, rounds: &[Vec<(Launch, f64)>]) -> Result<String> {
    let mut parts: Vec<Part> = Vec::new();
    let launches = rounds.first().map_or(0, Vec::len);
    for at in 0..launches {
        let launch = &rounds[0][at].0;
        let seconds = middle(rounds.iter().map(|round| round[at].1).collect())?;
        let index = parts.iter().position(|p| p.kernel == launch.kernel).unwrap_or_else(|| {
            parts.push(Part { kernel: launch.kernel, ..Part::default() });
            parts.len() - 1
        });
        let part = &mut parts[index];
        part.launches += 1;
        part.seconds += seconds;
        part.flops += launch.work.flops;
        part.bytes += launch.work.bytes;
    }
    parts.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let total = parts.iter().fold(Part { kernel: "all", ..Part::default() }, |sum, p| Part {
        kernel: "all",
        launches: sum.launches + p.launches,
        seconds: sum.seconds + p.seconds,
        flops: sum.flops + p.flops,
        bytes: sum.bytes + p.bytes,
    });
    let mut text = format!(
        "{title}\n\n| kernel | launches | ms | % | TFLOP/s | GB/s |\n|---|---:|---:|---:|---:|---:|\n"
    );
    for p in parts.iter().chain([&total]) {
        let rate = |work: f64, unit: f64, limit: Option<f64>| match limit {
            _ if work == 0.0 => String::new(),
            Some(limit) => {
                let rate = work / p.seconds;
                format!("{:.2} ({:.0} %)", rate / unit, 100.0 * rate / limit)
            }
            None => format!("{:.2}", work / p.seconds / unit),
        };
        writeln!(
            text,
            "| {} | {} | {:.3} | {:.1} | {} | {} |",
            p.kernel,
            p.launches,
            1e3 * p.seconds,
            100.0 * p.seconds / total.seconds,
            rate(p.flops, 1e12, limits.and_then(|l| l.flops_per_s)),
            rate(p.bytes, 1e9, limits.map(|l| l.bytes_per_s)),
        )?;
    }
    text +=
        "\nLaunched one by one: a replayed step has smaller gaps. Bytes count each number once. ";
    text += match limits {
        Some(_) => "In brackets: of the GPU's limit.\n",
        None => "On the processor, where a GPU's limits do not apply.\n",
    };
    Ok(text)
}
