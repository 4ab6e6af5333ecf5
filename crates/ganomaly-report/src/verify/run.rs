//! Verifies one run: checksums, config, metrics from its scores, plots, weights.

use super::findings::{Findings, first_difference};
use crate::{plot, tensorboard};
use anyhow::{Context, Result, anyhow, bail};
use ganomaly_experiment::config::{KeepScores, RunConfig};
use ganomaly_experiment::files::{names_in, read, read_text};
use ganomaly_experiment::numerics::NUMERICS;
use ganomaly_experiment::record::checksums::Checksums;
use ganomaly_experiment::record::epoch_scores::EpochScores;
use ganomaly_experiment::record::epochs::Epochs;
use ganomaly_experiment::record::metrics::{Metrics, ScoredRun};
use ganomaly_experiment::record::protocols::RunProtocols;
use ganomaly_experiment::record::provenance::Provenance;
use ganomaly_experiment::record::scores::TestScores;
use ganomaly_experiment::record::{
    CONFIG, EPOCH_SCORES, EPOCHS, METRICS, PROTOCOLS, PROVENANCE, SCORES, SHA256SUMS, WEIGHTS,
    read_metrics,
};
use ganomaly_experiment::registry::Registry;
use ganomaly_experiment::sha256::sha256;
use ganomaly_model::weights;
use serde_json::Value;
use std::path::Path;

/// A run's small records, which are kept even without its scores and weights.
const RECORDS: [&str; 4] = [CONFIG, EPOCHS, METRICS, PROVENANCE];

/// The other files of every run.
const OTHERS: [&str; 2] = [SCORES, WEIGHTS];

/// Verifies a run's folder; returns its metrics as computed from its scores, if these can be read.
pub(super) fn verify(
    folder: &Path,
    planned: Option<&RunConfig>,
    registry: &Registry,
    findings: &mut Findings,
) -> Option<Metrics> {
    let record = Provenance::read(folder);
    let record = record.map_err(|e| findings.wrong(&folder.join(PROVENANCE), &cause(&e))).ok();
    // If all are missing, it is a folder of records; if some are missing, it is damaged.
    let only_records = OTHERS.iter().all(|file| !folder.join(file).exists());
    let generation = record.as_ref().map_or(NUMERICS, Provenance::numerics);
    if generation != NUMERICS {
        // The earliest runs had no checksums.
        let has_checksums = folder.join(SHA256SUMS).exists();
        if has_checksums {
            check_files(folder, only_records, findings);
        }
        let what = if has_checksums { ": all but its checksums" } else { "" };
        findings.unverifiable(folder, &format!("of generation {generation} of the numerics{what}"));
        return None;
    }
    check_files(folder, only_records, findings);
    let kinds = record.as_ref().map(Provenance::kernel_kinds).unwrap_or_default();
    if kinds.len() > 1 {
        findings.note(
            folder,
            &format!(
                "computed by kernels of several kinds ({}): no single machine gives its bytes again",
                kinds.join(", ")
            ),
        );
    }
    let config = check_config(folder, planned, record.as_ref(), registry, findings)?;
    if only_records {
        findings.only_records();
        return check_records(folder, &config, findings);
    }
    check_weights(folder, &config, registry, findings);
    let measured = check_scores(folder, &config, findings)?;
    let metrics = check_metrics(folder, &config, &measured, findings)?;
    let plots = plot::run::folder(folder);
    if record.is_some_and(|record| record.is_of_this_program()) && plots.is_dir() {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        match plot::run::curves(&name, &config, &measured, &metrics) {
            Ok(drawn) => findings.same_files(&plots, &drawn),
            Err(e) => findings.wrong(folder, &format!("the plots cannot be drawn again: {e:#}")),
        }
    }
    Some(metrics)
}

/// The root cause: the finding's line already names the file.
fn cause(error: &anyhow::Error) -> String {
    error.root_cause().to_string()
}

/// Compares `metrics.json` with `epochs.csv`, if the scores are not here.
fn check_records(folder: &Path, config: &RunConfig, findings: &mut Findings) -> Option<Metrics> {
    let (metrics_path, epochs_path) = (folder.join(METRICS), folder.join(EPOCHS));
    let metrics =
        read_metrics(folder).map_err(|e| findings.wrong(&metrics_path, &cause(&e))).ok()?;
    let epochs = read(&epochs_path).map_err(|e| anyhow!(e.problem()));
    let epochs = epochs.and_then(|bytes| Epochs::parse(&bytes)?.aurocs(config));
    let epochs = epochs.map_err(|e| findings.wrong(&epochs_path, &format!("{e:#}"))).ok()?;
    for (mode, aurocs) in metrics.modes.iter().zip(&epochs) {
        let best = aurocs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let expected = (aurocs.last().copied().unwrap_or(f64::NAN), best);
        let found = (mode.last.auroc, mode.best_on_test.auroc);
        findings.check(found == expected, &metrics_path, || {
            format!(
                "{}, AUROC last and best on test: expected {expected:?} by epochs.csv, found {found:?}",
                mode.scoring
            )
        });
    }
    let first = metrics.modes.first().map_or(f64::NAN, |mode| mode.last.auroc);
    findings.check(first == metrics.auroc, &metrics_path, || {
        format!("auroc: expected {first} as in its first mode, found {}", metrics.auroc)
    });
    Some(metrics)
}

/// Checks every file by its checksum; none may be missing or unlisted.
fn check_files(folder: &Path, only_records: bool, findings: &mut Findings) {
    let list = folder.join(SHA256SUMS);
    let sums = match Checksums::read(folder) {
        Err(e) => {
            findings.wrong(&list, &format!("expected a list of checksums: {}", cause(&e)));
            for name in RECORDS.iter().chain(OTHERS.iter().filter(|_| !only_records)) {
                let path = folder.join(name);
                findings
                    .check(path.is_file(), &path, || "missing: expected a file, found none".into());
            }
            return;
        }
        Ok(sums) => sums,
    };
    for (name, expected) in &sums.0 {
        let path = folder.join(name);
        // A list from elsewhere must not lead out of the folder.
        if Path::new(name).components().count() != 1 || name.starts_with('.') {
            findings
                .wrong(&list, &format!("expected names of files in the folder, found {name:?}"));
            continue;
        }
        if only_records && !RECORDS.contains(&name.as_str()) && !path.exists() {
            continue;
        }
        match read(&path) {
            Ok(bytes) => {
                let found = sha256(&bytes);
                findings.check(found == *expected, &path, || {
                    format!("SHA-256: expected {expected}, found {found}")
                });
            }
            Err(e) => findings.wrong(
                &path,
                &format!("SHA-256: expected {expected}, found no file: {}", e.problem()),
            ),
        }
    }
    let all = RECORDS.iter().chain(&OTHERS);
    for name in all.filter(|name| !sums.0.contains_key(**name)) {
        findings.wrong(&list, &format!("expected a line for {name}, found none"));
    }
    let names = match names_in(folder) {
        Ok(names) => names,
        Err(e) => return findings.wrong(folder, &cause(&e)),
    };
    for name in names {
        let known = sums.0.contains_key(&name) || name == SHA256SUMS || name == tensorboard::FOLDER;
        findings.check(known, &folder.join(&name), || {
            "expected only the files in SHA256SUMS, found this one as well".into()
        });
    }
}

/// Checks the config against the run's name, its record and the plan.
fn check_config(
    folder: &Path,
    planned: Option<&RunConfig>,
    record: Option<&Provenance>,
    registry: &Registry,
    findings: &mut Findings,
) -> Option<RunConfig> {
    let path = folder.join(CONFIG);
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(e) => {
            findings.wrong(&path, &e.problem());
            return None;
        }
    };
    let (found, name) =
        (sha256(text.as_bytes()), folder.file_name().unwrap_or_default().to_string_lossy());
    if let Some(expected) = record.and_then(|record| record.config_sha256.as_ref()) {
        findings.check(found == *expected, &path, || {
            format!("SHA-256: expected {expected} by run.json, found {found}")
        });
    }
    let config = match RunConfig::from_toml(&text, registry) {
        Ok(config) => config,
        Err(e) => {
            findings.wrong(&path, &format!("{e:#}").replace('\n', " "));
            return None;
        }
    };
    match config.run_name() {
        Ok(own) => findings.check(own == name, folder, || {
            format!("name: expected {own} by its config, found {name}")
        }),
        Err(e) => findings.wrong(&path, &format!("{e:#}")),
    }
    if let Some(planned) = planned {
        let expected = planned.to_toml().unwrap_or_default();
        findings.check(*planned == config, &path, || {
            format!("by plan.toml, {}", first_difference(expected.as_bytes(), text.as_bytes()))
        });
    }
    Some(config)
}

/// Reads scores and epochs, and checks that they agree.
fn check_scores(folder: &Path, config: &RunConfig, findings: &mut Findings) -> Option<ScoredRun> {
    let (scores_path, epochs_path) = (folder.join(SCORES), folder.join(EPOCHS));
    let bytes = |path: &Path| read(path).unwrap_or_default();
    let test = TestScores::parse(config, &bytes(&scores_path));
    let test = test.map_err(|e| findings.wrong(&scores_path, &format!("{e:#}")));
    let epochs = Epochs::parse(&bytes(&epochs_path));
    let epochs =
        epochs.and_then(|epochs| ScoredRun::stored(config, TestScores::default(), &epochs));
    let epochs = epochs.map_err(|e| findings.wrong(&epochs_path, &format!("{e:#}")));
    let (Ok(test), Ok(epochs)) = (test, epochs) else { return None };
    let measured = ScoredRun { test, ..epochs };
    for (of, stored) in config.judged().into_iter().zip(&measured.auroc) {
        let (last, name) = (stored.last().copied(), config.judged_name(of));
        match ganomaly_metrics::auroc(measured.test.of(of), &measured.test.anomalous) {
            Ok(auroc) => findings.check(last == Some(auroc), &epochs_path, || {
                format!(
                    "auroc_{name} of the last epoch: expected {auroc} by scores.csv, found {}",
                    last.unwrap_or(f64::NAN)
                )
            }),
            Err(e) => {
                findings.wrong(&scores_path, &format!("{name}: {e}"));
                return None;
            }
        }
    }
    let epoch_scores = folder.join(EPOCH_SCORES);
    if config.keep_scores.0 == KeepScores::EveryEpoch {
        let all = EpochScores::read(folder);
        match all.and_then(|all| same_as_last(&all, &measured, config).map(|()| all)) {
            Ok(all) => {
                findings.check(true, &epoch_scores, String::new);
                check_protocols(folder, config, &all, findings);
            }
            Err(e) => findings.wrong(&epoch_scores, &cause(&e)),
        }
    }
    Some(measured)
}

/// Compares `protocols.safetensors` with what every epoch's scores give. Runs of earlier programs
/// lack the file.
fn check_protocols(
    folder: &Path,
    config: &RunConfig,
    scores: &EpochScores,
    findings: &mut Findings,
) {
    let path = folder.join(PROTOCOLS);
    if !path.exists() {
        return;
    }
    let expected = RunProtocols::of(config, scores);
    match expected.and_then(|of| Ok((of, RunProtocols::read(folder, config)?))) {
        Ok((expected, found)) => findings.check(expected == found, &path, || {
            "expected what epoch_scores.safetensors gives, found other values".into()
        }),
        Err(e) => findings.wrong(&path, &cause(&e)),
    }
}

/// Checks that the last of every epoch's scores are those of `scores.csv`.
fn same_as_last(all: &EpochScores, measured: &ScoredRun, config: &RunConfig) -> Result<()> {
    if all.anomalous != measured.test.anomalous {
        bail!("anomalous: expected as in scores.csv, found others");
    }
    for (mode, scores) in &measured.test.scores {
        for kind in config.kinds(*mode) {
            let epochs = all.of(*mode, kind)?;
            if epochs.len() != config.epochs {
                bail!("{mode}/{kind}: expected {} epochs, found {}", config.epochs, epochs.len());
            }
            if epochs.iter().flatten().any(|score| !score.is_finite()) {
                bail!("{mode}/{kind}: expected finite scores, found others");
            }
            let last = epochs.last().context("there are no epochs")?;
            // They are stored in single precision.
            let expected = scores.of(kind).iter().map(|&score| f64::from(score as f32));
            if let Some(at) = expected.zip(last).position(|(a, b)| a != *b) {
                bail!(
                    "{mode}/{kind} of the last epoch, row {}: expected {} by scores.csv, found {}",
                    at + 1,
                    scores.of(kind)[at],
                    last[at]
                );
            }
        }
    }
    Ok(())
}

/// Compares `metrics.json` with the metrics from the scores.
fn check_metrics(
    folder: &Path,
    config: &RunConfig,
    measured: &ScoredRun,
    findings: &mut Findings,
) -> Option<Metrics> {
    let path = folder.join(METRICS);
    let stored = read(&path).map_err(|e| anyhow!(e.problem()));
    let stored = stored.and_then(|bytes| Ok(serde_json::from_slice::<Value>(&bytes)?));
    let stored = stored.map_err(|e| findings.wrong(&path, &format!("{e:#}"))).ok();
    let mut measured = measured.clone();
    // The number of training images, the heat maps and the learning rate are not in the scores;
    // they are taken from here.
    let trained = stored.as_ref().and_then(|stored| stored["train_pictures"].as_u64());
    measured.train_images = trained.unwrap_or_default() as usize;
    let lowered = stored.as_ref().map(|stored| stored["lr_lowered"].clone());
    measured.lowered = lowered.and_then(|v| serde_json::from_value(v).ok()).unwrap_or_default();
    let pixels = stored.as_ref().map(|stored| stored["pixels"].clone());
    measured.pixels = pixels.and_then(|v| serde_json::from_value(v).ok()).unwrap_or_default();
    let metrics = match measured.metrics(config) {
        Ok(metrics) => metrics,
        Err(e) => {
            findings.wrong(&folder.join(SCORES), &format!("no measures come of it: {e:#}"));
            return None;
        }
    };
    let expected = serde_json::to_value(&metrics);
    let expected = expected.map_err(|e| findings.wrong(&path, &e.to_string())).ok()?;
    if let Some(stored) = stored {
        let mut differences = Vec::new();
        compare("", &expected, &stored, &mut differences);
        findings.check(differences.is_empty(), &path, || {
            let more = match differences.len() {
                1 => String::new(),
                n => format!("; and {} more", n - 1),
            };
            format!("by scores.csv and epochs.csv, {}{more}", differences[0])
        });
    }
    Some(metrics)
}

/// The places where two JSON values differ.
fn compare(place: &str, expected: &Value, found: &Value, differences: &mut Vec<String>) {
    let inside = |key: &str| if place.is_empty() { key.into() } else { format!("{place}.{key}") };
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let of = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or_default()
                };
                compare(&inside(key), &of(a), &of(b), differences);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{place}[{at}]"), a, b, differences);
            }
        }
        (a, b) if a == b => {}
        (a, b) => differences.push(format!("{place}: expected {a}, found {b}")),
    }
}

/// Checks that the weights load into the config's detector, are finite, and contain its config.
fn check_weights(folder: &Path, config: &RunConfig, registry: &Registry, findings: &mut Findings) {
    let path = folder.join(WEIGHTS);
    let checked = load_weights(&path, config, registry);
    findings.check(checked.is_ok(), &path, || match &checked {
        Err(e) => cause(e),
        Ok(()) => String::new(),
    });
}

fn load_weights(path: &Path, config: &RunConfig, registry: &Registry) -> Result<()> {
    // Refuses numbers that are not finite.
    let tensors = weights::read_safetensors(path)?;
    config.new_detector(registry)?.load_state(&tensors)?;
    let bytes = read(path)?;
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes)?;
    let carried = metadata.metadata().as_ref().and_then(|all| all.get("config"));
    let carried = carried.context("expected a config in the metadata, found none")?;
    let expected = config.to_toml()?;
    if *carried != expected {
        bail!("its config: {}", first_difference(expected.as_bytes(), carried.as_bytes()));
    }
    Ok(())
}
