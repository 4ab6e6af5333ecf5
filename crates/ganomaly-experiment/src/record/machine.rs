//! What computes a run: the machine, and each program that did a part of it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What a run is computed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The CPU's model.
    pub processor: String,
    /// The instruction set of the CPU kernels.
    pub kernels: String,
    /// The GPU's model, if it trains on one.
    pub gpu: Option<String>,
    /// Threads of the run.
    pub threads: usize,
    /// The versions of the program's crates.
    pub crates: BTreeMap<String, String>,
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
    pub fn on(machine: &Machine, epoch: usize, step: usize) -> Self {
        Self {
            epoch,
            step,
            version: env!("CARGO_PKG_VERSION").into(),
            commit: commit().map(String::from),
            processor: machine.processor.clone(),
            kernels: machine.kernels.clone(),
            gpu: machine.gpu.clone(),
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

/// The commit that this program was built from; the build script determines it.
pub fn commit() -> Option<&'static str> {
    option_env!("GANOMALY_COMMIT")
}
