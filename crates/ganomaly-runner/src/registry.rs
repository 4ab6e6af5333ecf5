//! The data sets and detectors that a config may name. A new one is one line here.

use crate::config::RunConfig;
use anyhow::{Result, bail};
use ganomaly_data::Dataset;
use ganomaly_model::Detector;
use ganomaly_model::ganomaly::Ganomaly;

/// Every data set. Other crates push theirs onto the list.
pub fn datasets() -> Vec<Box<dyn Dataset>> {
    ganomaly_data::builtin()
}

/// The data set with that name.
pub fn dataset(name: &str) -> Result<Box<dyn Dataset>> {
    let mut all = datasets();
    match all.iter().position(|d| d.name() == name) {
        Some(index) => Ok(all.swap_remove(index)),
        None => {
            let names: Vec<&str> = all.iter().map(|d| d.name()).collect();
            bail!("dataset = {name:?}: unknown; the data sets are {}", names.join(", "))
        }
    }
}

/// The detectors' names.
pub const DETECTORS: &[&str] = &["ganomaly"];

/// Rejects an unknown detector.
pub fn check_detector(name: &str) -> Result<()> {
    if DETECTORS.contains(&name) {
        return Ok(());
    }
    bail!("detector = {name:?}: unknown; the detectors are {}", DETECTORS.join(", "))
}

/// A fresh detector for images with `channels` channels.
pub fn detector(config: &RunConfig, channels: usize) -> Result<Box<dyn Detector>> {
    match config.detector.as_str() {
        "ganomaly" => Ok(Box::new(Ganomaly::new(config.model(channels), config.seed())?)),
        name => bail!("detector = {name:?}: unknown; the detectors are {}", DETECTORS.join(", ")),
    }
}
