//! Writes a run's folder.

use super::checksums::Checksums;
use super::epoch_scores::EpochScores;
use super::folder::{
    CONFIG, EPOCH_SCORES, EPOCHS, METRICS, PROTOCOLS, PROVENANCE, SCORES, SHA256SUMS, WEIGHTS,
};
use super::metrics::{Metrics, ScoredRun};
use super::outcome::Outcome;
use super::protocols::{self, RunProtocols};
use super::provenance::Provenance;
use super::{epochs, scores};
use crate::config::{KeepScores, RunConfig};
use crate::files::PartialFolder;
use anyhow::Result;
use ganomaly_model::weights;
use std::collections::HashMap;
use std::path::Path;

/// Fails if a results folder cannot be written, before hours are spent.
pub fn check_writable(folder: &Path) -> Result<()> {
    let probe = PartialFolder::create(&folder.join("probe"))?;
    probe.write("probe", "")
}

/// Duration of a run's epochs, training and scoring, in seconds; none if its record does not
/// contain it.
pub fn read_seconds(folder: &Path) -> Option<f64> {
    let provenance = Provenance::read(folder).ok()?;
    Some(provenance.train_s? + provenance.score_s?)
}

/// Writes all results of a run into `folder`, which must not exist yet.
pub fn write(folder: &Path, config: &RunConfig, outcome: &Outcome) -> Result<Metrics> {
    let mut files = Files { partial: PartialFolder::create(folder)?, sums: Checksums::default() };
    let metrics = ScoredRun::from(outcome).metrics(config)?;
    let toml = config.to_toml()?;
    files.write(CONFIG, &toml)?;
    files.write(EPOCHS, epochs::to_csv(config, &outcome.epochs)?)?;
    files.write(SCORES, scores::to_csv(config, outcome)?)?;
    if config.keep_scores.0 == KeepScores::EveryEpoch {
        let scores = EpochScores::of_run(config, outcome);
        files.write(EPOCH_SCORES, scores.to_bytes(config)?)?;
        if protocols::are_recorded(config) {
            let protocols = RunProtocols::of(config, &scores)?;
            files.write(PROTOCOLS, protocols.to_bytes(config)?)?;
        }
    }
    files.write(METRICS, serde_json::to_string_pretty(&metrics)? + "\n")?;
    let metadata = HashMap::from([("config".to_string(), toml)]);
    let state = outcome.detector.state()?;
    files.write(WEIGHTS, weights::to_safetensors(&state, Some(metadata))?)?;
    let provenance = Provenance::new(config, outcome)?;
    files.write(PROVENANCE, serde_json::to_string_pretty(&provenance)? + "\n")?;
    files.partial.write(SHA256SUMS, files.sums.to_text())?;
    files.partial.finish(folder)?;
    Ok(metrics)
}

/// A run's files, and the checksums of those written so far.
struct Files {
    partial: PartialFolder,
    sums: Checksums,
}

impl Files {
    fn write(&mut self, name: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        self.sums.add(name, contents.as_ref());
        self.partial.write(name, contents)
    }
}
