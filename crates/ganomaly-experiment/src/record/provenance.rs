//! `run.json`: how a run was produced.

use super::folder::PROVENANCE;
use super::machine::{Part, commit};
use super::outcome::Outcome;
use crate::config::{DeviceName, RunConfig};
use crate::numerics::{BEFORE_GENERATIONS, NUMERICS};
use crate::sha256::sha256;
use anyhow::{Context, Result};
use ganomaly_data::read_text;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Maximum size of a record, in bytes.
const MAX_BYTES: u64 = 1 << 20;

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
        let machine = &outcome.machine;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let device = match config.device.0 {
            DeviceName::Cuda(_) => "cuda".into(),
            other => other.to_string(),
        };
        Ok(Self {
            version: Some(env!("CARGO_PKG_VERSION").into()),
            commit: commit().map(String::from),
            numerics: Some(NUMERICS),
            crates: machine.crates.clone(),
            config_sha256: Some(sha256(config.to_toml()?.as_bytes())),
            dataset: Some(config.dataset.clone()),
            images_sha256: Some(outcome.data.images_sha256().to_string()),
            images: Some(outcome.data.standing.to_string()),
            data_sha256: (*outcome.data.files).clone(),
            parts: outcome.parts.clone(),
            processor: Some(machine.processor.clone()),
            kernels: Some(machine.kernels.clone()),
            device: Some(device),
            card: machine.gpu.clone(),
            precision: Some(config.precision.0.to_string()),
            threads: Some(machine.threads),
            target: Some(format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)),
            finished_unix_s: Some(now.map_or(0, |d| d.as_secs())),
            train_s: Some(outcome.epochs.iter().map(|e| e.train_s).sum()),
            score_s: Some(outcome.epochs.iter().map(|e| e.score_s).sum()),
        })
    }

    /// Reads a run's record.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(PROVENANCE);
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
