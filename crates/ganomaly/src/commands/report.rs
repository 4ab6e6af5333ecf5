//! `ganomaly report`.

use crate::Program;
use anyhow::{Context, Result, bail};
use clap::Args;
use ganomaly_experiment::registry::Registry;
use ganomaly_report::compare::Side;
use ganomaly_report::html;
use ganomaly_runner::terminal::out;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Experiments by name or folder; default: all that have finished runs.
    experiments: Vec<PathBuf>,
    /// Compare two experiments run by run: EXPERIMENT or EXPERIMENT:KEY=VALUE,… for one of several
    /// settings.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "experiments")]
    compare: Option<Vec<String>>,
    /// Folder that contains the experiments' folders.
    #[arg(long, default_value = "results")]
    results: PathBuf,
    /// The data folder, for the example images; default: GANOMALY_DATA_DIR, else data.
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

pub fn run(args: &ReportArgs, program: &Program) -> Result<ExitCode> {
    let registry = &program.registry;
    if let Some([a, b]) = args.compare.as_deref() {
        let (a, b) = (side(&args.results, a, registry)?, side(&args.results, b, registry)?);
        let path = html::write_comparison(&a, &b, &args.results)?;
        out(&format!("{}\n", path.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let folders = if args.experiments.is_empty() {
        all(&args.results)?
    } else {
        args.experiments.iter().map(|name| folder(&args.results, name)).collect()
    };
    let store = program.store(args.data_dir.as_deref());
    for folder in folders {
        let path = html::write(&folder, &store)?;
        out(&format!("{}\n", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One side of a comparison: `EXPERIMENT`, or `EXPERIMENT:KEY=VALUE,…` if it has several settings.
fn side(results: &Path, text: &str, registry: &Registry) -> Result<Side> {
    let (experiment, selection) = match text.split_once(':') {
        Some((experiment, selection)) if selection.contains('=') => (experiment, selection),
        _ => (text, ""),
    };
    let folder = folder(results, Path::new(experiment));
    let side = Side::read(&folder, selection, registry);
    let mut side = side.with_context(|| format!("--compare {text}"))?;
    if !selection.is_empty() {
        side.label = text.to_string();
    }
    Ok(side)
}

/// Takes an existing folder as it is; else looks the name up among the results.
fn folder(results: &Path, name: &Path) -> PathBuf {
    let below = results.join(name);
    if below.is_dir() || !name.is_dir() { below } else { name.to_path_buf() }
}

/// Every folder that contains a finished run, by name.
fn all(results: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(results)
        .with_context(|| format!("{}: cannot read the results", results.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("{}", results.display()))?.path();
        if path.is_dir() && html::has_runs(&path) {
            folders.push(path);
        }
    }
    folders.sort();
    if folders.is_empty() {
        bail!(
            "{}: no experiment there has a finished run; make some with `ganomaly sweep`",
            results.display()
        );
    }
    Ok(folders)
}
