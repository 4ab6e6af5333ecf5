//! Verifies that results are unchanged: everything that can be computed from the stored data is
//! computed again and compared, and every checksum is checked.

mod findings;
mod run;

use crate::tables::tables;
use crate::{audit, weightings};
use anyhow::{Result, anyhow, ensure};
use findings::Findings;
pub use findings::Verification;
use ganomaly_experiment::config::Experiment;
use ganomaly_experiment::files::{Contents, names_in, read_text};
use ganomaly_experiment::numerics::OtherGeneration;
use ganomaly_experiment::plan::{Plan, Run, check_folder, same_images};
use ganomaly_experiment::record;
use ganomaly_experiment::record::Metrics;
use ganomaly_experiment::record::checksums::Checksums;
use ganomaly_experiment::record::provenance::Provenance;
use ganomaly_experiment::registry::{Registry, Source};
use ganomaly_experiment::results::images;
use ganomaly_experiment::run_data::DataStore;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The experiment or run folders for a path: the path itself or, for a folder of several
/// experiments, each of them.
pub fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    check_folder(path)?;
    let inside = |name: String| path.join(name);
    let experiments = names_in(path)?.into_iter().map(inside).filter(|p| is_experiment(p));
    let experiments: Vec<PathBuf> = experiments.collect();
    // A folder of experiments has no plan, tables or runs of its own.
    Ok(if is_run(path) || is_experiment(path) || experiments.is_empty() {
        vec![path.to_path_buf()]
    } else {
        experiments
    })
}

fn is_experiment(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    ["plan.toml", "table.md", "audit.json", "weightings.json"].into_iter().any(has)
        || names_in(folder).is_ok_and(|names| {
            names.iter().any(|name| !name.starts_with('.') && is_run(&folder.join(name)))
        })
}

/// Whether a folder has any of the files that identify a run's folder.
fn is_run(folder: &Path) -> bool {
    let files = [record::CONFIG, record::METRICS, record::PROVENANCE, record::SHA256SUMS];
    files.iter().any(|file| folder.join(file).is_file())
}

/// Verifies an experiment's folder, or one run's. Data files are compared with their recorded
/// checksums if they are in the store's folder. Fails only if the folder cannot be read; errors in
/// it are in the result.
pub fn verify(folder: &Path, store: &DataStore) -> Result<Verification> {
    let mut findings = Findings::default();
    let runs = if is_run(folder) {
        run::verify(folder, None, store.registry(), &mut findings);
        data_files(&[folder.to_path_buf()], store, &mut findings);
        1
    } else {
        experiment(folder, store, &mut findings)?
    };
    Ok(findings.into_verification(folder, runs))
}

fn experiment(folder: &Path, store: &DataStore, findings: &mut Findings) -> Result<usize> {
    let (plan, older) = read_plan(folder, store.registry(), findings);
    let (mut folders, mut checked) = (Vec::new(), Vec::new());
    for name in names_in(folder)? {
        let path = folder.join(&name);
        if name.starts_with('.') || name == "plots" || !path.is_dir() {
            continue;
        }
        if !is_run(&path) {
            findings.wrong(
                &path,
                "a folder that is not a run's: expected config.toml and results, found neither",
            );
            continue;
        }
        let planned = plan.as_ref().and_then(|plan| plan.runs.iter().find(|run| run.name == name));
        let metrics =
            run::verify(&path, planned.map(|run| &run.config), store.registry(), findings);
        folders.push(path);
        checked.push((name, metrics));
    }
    ensure!(
        plan.is_some() || !checked.is_empty() || findings.has_wrong() || is_experiment(folder),
        "{}: no plan.toml and no finished run in it",
        folder.display()
    );
    data_files(&folders, store, findings);
    let known = folders.iter().filter(|folder| Provenance::read(folder).is_ok());
    let same = same_images(known.cloned());
    findings.check(same.is_ok(), folder, || same.err().map(|e| e.to_string()).unwrap_or_default());
    let Some(plan) = plan else {
        if !older {
            findings.unverifiable(folder, "no plan.toml: that no run is missing, and the tables");
            judgements(folder, None, findings);
        }
        return Ok(checked.len());
    };
    for run in &plan.runs {
        let there = folder.join(&run.name).is_dir();
        findings.check(there, &folder.join(&run.name), || {
            "missing run: expected by plan.toml, found no folder".into()
        });
    }
    let others = checked.iter().filter(|(name, _)| plan.runs.iter().all(|run| run.name != *name));
    let others: Vec<&str> = others.map(|(name, _)| name.as_str()).collect();
    if !others.is_empty() {
        findings.note(
            folder,
            &format!("not in plan.toml, so not in the tables: {}", others.join(", ")),
        );
    }
    experiment_tables(folder, &plan, &checked, findings);
    judgements(folder, Some(plan), findings);
    Ok(checked.len())
}

/// The plan, whose runs must have the names that their configs give; and whether it is of another
/// generation, for which only programs of that generation can compute anything again.
fn read_plan(folder: &Path, registry: &Registry, findings: &mut Findings) -> (Option<Plan>, bool) {
    let path = folder.join("plan.toml");
    let plan = match Plan::read(folder, registry) {
        Ok(Some(plan)) => plan,
        Ok(None) => return (None, false),
        Err(e) if e.is::<OtherGeneration>() => {
            findings.unverifiable(&path, &format!("{:#}", e.root_cause()));
            return (None, true);
        }
        Err(e) => {
            findings.wrong(&path, &format!("{:#}", e.root_cause()));
            return (None, false);
        }
    };
    for run in &plan.runs {
        let name = run.config.run_name().unwrap_or_else(|e| format!("{e:#}"));
        findings.check(name == run.name, &path, || {
            format!("run {}: by its settings, expected the name {name}", run.name)
        });
    }
    (Some(plan), false)
}

/// The tables and the plot over all runs, from the metrics that were computed again.
fn experiment_tables(
    folder: &Path,
    plan: &Plan,
    checked: &[(String, Option<Metrics>)],
    findings: &mut Findings,
) {
    let mut runs: Vec<(Run, Metrics)> = Vec::new();
    for run in &plan.runs {
        match checked.iter().find(|(name, _)| *name == run.name) {
            None => {}
            Some((_, Some(metrics))) => runs.push((run.clone(), metrics.clone())),
            Some((name, None)) => {
                findings.unverifiable(
                    folder,
                    &format!("the scores of {name} cannot be read: the tables"),
                );
                return;
            }
        }
    }
    if runs.is_empty() {
        return;
    }
    let images = images(folder, &runs.iter().map(|(run, _)| run).collect::<Vec<_>>());
    match images.and_then(|images| tables(plan, &runs, images.as_deref())) {
        Ok((_, files)) => findings.same_files(folder, &files),
        Err(e) => findings.wrong(folder, &format!("the tables cannot be computed again: {e:#}")),
    }
}

/// Audits and weightings, if there are any. If their runs are not here, only the files made from
/// the JSON are compared.
fn judgements(folder: &Path, plan: Option<Plan>, findings: &mut Findings) {
    let done = plan.as_ref().and_then(|plan| plan.finished(folder).ok()).unwrap_or_default();
    let are_here = |files: &[&str]| {
        let has_one = |run: &Path| files.iter().any(|file| run.join(file).is_file());
        !done.is_empty() && done.iter().all(|run| has_one(&folder.join(&run.name)))
    };
    let experiment = plan.as_ref().map(|plan| Experiment {
        name: plan.name.clone(),
        runs: plan.runs.iter().map(|run| run.config.clone()).collect(),
        swept: plan.swept.clone(),
        design: None,
    });
    type Files<'a> = &'a dyn Fn(&str, Option<&Experiment>) -> Result<Contents>;
    let mut judge = |name: &str, experiment: Option<&Experiment>, files: Files<'_>| {
        let path = folder.join(name);
        if !path.exists() {
            return;
        }
        let text = read_text(&path).map_err(|e| anyhow!(e.problem()));
        match text.and_then(|text| files(&text, experiment)) {
            Ok(files) => findings.same_files(folder, &files),
            Err(e) => findings.wrong(&path, &format!("it cannot be computed again: {e:#}")),
        }
        if experiment.is_none() {
            findings.unverifiable(&path, "what it is computed from is not here: its numbers");
        }
    };
    let with_scores =
        experiment.as_ref().filter(|_| are_here(&[record::EPOCH_SCORES, record::PROTOCOLS]));
    judge("audit.json", with_scores, &|text, experiment| {
        let stored: audit::Audit = serde_json::from_str(text)?;
        audit::files(&match experiment {
            Some(experiment) => audit::audit(experiment, folder)?,
            None => stored,
        })
    });
    let with_scores = experiment.as_ref().filter(|_| are_here(&[record::SCORES]));
    judge("weightings.json", with_scores, &|text, experiment| {
        let stored: weightings::Weightings = serde_json::from_str(text)?;
        weightings::files(&match experiment {
            Some(experiment) => weightings::again(&stored, experiment, folder)?,
            None => stored,
        })
    });
}

/// Checks the data files by their recorded checksums: these must be the same in all runs, and match
/// the files in the data folder.
fn data_files(runs: &[PathBuf], store: &DataStore, findings: &mut Findings) {
    let mut first: BTreeMap<String, (PathBuf, Checksums)> = BTreeMap::new();
    for folder in runs {
        // A record that cannot be read has already been reported.
        let Ok(record) = Provenance::read(folder) else { continue };
        let Some(dataset) = record.dataset.filter(|_| !record.data_sha256.is_empty()) else {
            continue;
        };
        let sums = Checksums(record.data_sha256);
        match first.get(&dataset) {
            None => {
                first.insert(dataset, (folder.clone(), sums));
            }
            Some((other, expected)) => {
                let name = other.file_name().unwrap_or_default().to_string_lossy().into_owned();
                findings.check(sums == *expected, &folder.join(record::PROVENANCE), || {
                    format!(
                        "data_sha256: expected the data files of {name}, found {}",
                        differing(expected, &sums)
                    )
                });
            }
        }
    }
    for (dataset, (folder, recorded)) in first {
        let path = folder.join(record::PROVENANCE);
        match store.checksums(&Source::of(&dataset)) {
            Ok(there) => {
                let there = Checksums(there);
                findings.check(there == recorded, &path, || {
                    format!(
                        "data_sha256: expected the files in {}, found {}",
                        store.dir().display(),
                        differing(&there, &recorded)
                    )
                });
            }
            Err(_) => findings.unverifiable(
                &path,
                &format!(
                    "the files of {dataset} are not in {}: data_sha256",
                    store.dir().display()
                ),
            ),
        }
    }
}

/// The files in which two lists of checksums differ, with the checksums of the second.
fn differing(expected: &Checksums, found: &Checksums) -> String {
    let mut names: Vec<&String> = expected.0.keys().chain(found.0.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let differs = names.into_iter().filter(|name| expected.0.get(*name) != found.0.get(*name));
    let sum = |sums: &Checksums, name| sums.0.get(name).cloned().unwrap_or_else(|| "none".into());
    let each =
        differs.map(|name| format!("{name} {} for {}", sum(found, name), sum(expected, name)));
    each.collect::<Vec<_>>().join(", ")
}
