//! `run.json`: how a run was produced.

use crate::checksums::sha256;
use crate::config::{DeviceName, RunConfig};
use crate::numerics::{BEFORE_GENERATIONS, NUMERICS};
use crate::train::Outcome;
use anyhow::{Context, Result};
use ganomaly_data::read_text;
use ganomaly_model::kernels;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Maximum size of a record, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The record's name in a run's folder.
pub const FILE: &str = "run.json";

/// A run's record. A field missing in an earlier version's record is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// The program's version.
    pub version: Option<String>,
    /// The commit that it was built from, with the suffix `-dirty` if its sources had been changed
    /// since; none if it was not built in a checkout of its repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The generation of the numerics, from the second on.
    pub numerics: Option<u32>,
    /// The versions of the project's crates.
    pub crates: BTreeMap<String, String>,
    /// SHA-256 of `config.toml`, whose first digits end the run's name.
    pub config_sha256: Option<String>,
    /// The data set.
    pub dataset: Option<String>,
    /// SHA-256 of all its images and labels, whatever files they came from.
    pub images_sha256: Option<String>,
    /// Which part of the data set that is: `official`, `generated`, or how it differs.
    pub images: Option<String>,
    /// SHA-256 of each of its files in the data folder; empty for a generated set.
    pub data_sha256: BTreeMap<String, String>,
    /// Everything that computed a part of the run, in order; a single entry if it was never resumed
    /// elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The CPU's model, as it reports itself.
    pub processor: Option<String>,
    /// The instruction set that the CPU kernels were compiled for.
    pub kernels: Option<String>,
    /// Where it trained: `cpu`, `cuda` or `twin`.
    pub device: Option<String>,
    /// The GPU's model, if it trained on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
    /// How products round their operands.
    pub precision: Option<String>,
    /// Threads of this run.
    pub threads: Option<usize>,
    /// CPU architecture and operating system.
    pub target: Option<String>,
    /// When it ended.
    pub finished_unix_s: Option<u64>,
    /// Training time.
    pub train_s: Option<f64>,
    /// Scoring time.
    pub score_s: Option<f64>,
}

/// What computed a part of a run, from a given step on. A run that is resumed on another machine,
/// by another program or with other kernels has several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The epoch in which it began, from 1.
    pub epoch: usize,
    /// Steps that had been taken in that epoch.
    pub step: usize,
    /// The program's version.
    pub version: String,
    /// The commit that it was built from, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The CPU's model.
    pub processor: String,
    /// The instruction set of the CPU kernels; results differ in rounding between instruction sets.
    pub kernels: String,
    /// The GPU's model, if it trained on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
}

impl Part {
    /// This program on this machine, from the given step on.
    pub fn here(config: &RunConfig, epoch: usize, step: usize) -> Self {
        Self {
            epoch,
            step,
            version: env!("CARGO_PKG_VERSION").into(),
            commit: commit().map(String::from),
            processor: processor().into(),
            kernels: kernels::cpu::level().to_string(),
            gpu: card(config.device.0),
        }
    }

    /// Whether the other one is the same program on the same machine.
    pub fn same_place(&self, other: &Self) -> bool {
        *self == Self { epoch: self.epoch, step: self.step, ..other.clone() }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, commit, processor, kernels, gpu, .. } = self;
        write!(f, "version {version}")?;
        if let Some(commit) = commit {
            write!(f, " ({})", commit.get(..12).unwrap_or(commit))?;
        }
        write!(f, " on {}, {kernels} kernels", gpu.as_ref().unwrap_or(processor))
    }
}

impl Provenance {
    /// The generation of the numerics.
    pub fn numerics(&self) -> u32 {
        self.numerics.unwrap_or(BEFORE_GENERATIONS)
    }

    /// The kinds of kernels that computed a part of it. With more than one, no single machine can
    /// reproduce its bytes.
    pub fn kernel_kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<&str> = self.parts.iter().map(|part| part.kernels.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// The record of a run that ends now, in this process.
    pub fn new(config: &RunConfig, outcome: &Outcome) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let device = match config.device.0 {
            DeviceName::Cuda(_) => "cuda".into(),
            other => other.to_string(),
        };
        Ok(Self {
            version: Some(env!("CARGO_PKG_VERSION").into()),
            commit: commit().map(String::from),
            numerics: Some(NUMERICS),
            crates: crates(),
            config_sha256: Some(sha256(config.to_toml()?.as_bytes())),
            dataset: Some(config.dataset.clone()),
            images_sha256: Some(outcome.data.images_sha256().to_string()),
            images: Some(outcome.data.standing.to_string()),
            data_sha256: (*outcome.data.files).clone(),
            parts: outcome.parts.clone(),
            processor: Some(processor().into()),
            kernels: Some(kernels::cpu::level().to_string()),
            device: Some(device),
            card: card(config.device.0),
            precision: Some(config.precision.0.to_string()),
            threads: Some(rayon::current_num_threads()),
            target: Some(format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)),
            finished_unix_s: Some(now.map_or(0, |d| d.as_secs())),
            train_s: Some(outcome.epochs.iter().map(|e| e.train_s).sum()),
            score_s: Some(outcome.epochs.iter().map(|e| e.score_s).sum()),
        })
    }

    /// Reads a run's record.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = read_text(&path, MAX_BYTES).context("cannot read a run's record")?;
        serde_json::from_str(&text)
            .with_context(|| format!("{}: not a run's record", path.display()))
    }

    /// Whether exactly this program wrote it: same version, same commit.
    pub fn is_of_this_program(&self) -> bool {
        self.version.as_deref() == Some(env!("CARGO_PKG_VERSION"))
            && self.commit.as_deref() == commit()
    }
}

/// The commit that this program was built from; the build script determines it.
pub fn commit() -> Option<&'static str> {
    option_env!("GANOMALY_COMMIT")
}

fn crates() -> BTreeMap<String, String> {
    [
        ("ganomaly-data", ganomaly_data::VERSION),
        ("ganomaly-gpu", ganomaly_gpu::VERSION),
        ("ganomaly-kernels", kernels::VERSION),
        ("ganomaly-metrics", ganomaly_metrics::VERSION),
        ("ganomaly-model", ganomaly_model::VERSION),
        ("ganomaly-runner", env!("CARGO_PKG_VERSION")),
    ]
    .map(|(name, version)| (name.to_string(), version.to_string()))
    .into()
}

/// The CPU's model, or the architecture if it is unknown.
fn processor() -> &'static str {
    static MODEL: OnceLock<String> = OnceLock::new();
    MODEL.get_or_init(|| {
        let model = if cfg!(target_os = "macos") {
            let asked = std::process::Command::new("/usr/sbin/sysctl")
                .args(["-n", "machdep.cpu.brand_string"])
                .output();
            asked.ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        } else if cfg!(windows) {
            std::env::var("PROCESSOR_IDENTIFIER").ok()
        } else {
            let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
            let line = info.lines().find(|line| line.starts_with("model name"));
            line.and_then(|line| Some(line.split_once(':')?.1.to_string()))
        };
        let model = model.map(|model| model.trim().to_string()).filter(|model| !model.is_empty());
        model.unwrap_or_else(|| std::env::consts::ARCH.to_string())
    })
}

/// The GPU's model.
#[cfg(feature = "cuda")]
fn card(device: DeviceName) -> Option<String> {
    let DeviceName::Cuda(ordinal) = device else { return None };
    ganomaly_gpu::cuda::describe(ordinal).ok().map(|card| card.name)
}

/// Without CUDA there is none.
#[cfg(not(feature = "cuda"))]
fn card(_: DeviceName) -> Option<String> {
    None
}
