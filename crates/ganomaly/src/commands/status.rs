//! `ganomaly status`.

use crate::Program;
use anyhow::{Result, bail, ensure};
use clap::Args;
use ganomaly_experiment::config::Experiment;
use ganomaly_experiment::plan::Plan;
use ganomaly_experiment::registry::Registry;
use ganomaly_runner::sweep::all::all;
use ganomaly_runner::sweep::status::Status;
use ganomaly_runner::terminal::out;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Experiments' TOML files, results folders, or names of such folders; default: everything that
    /// has results.
    experiments: Vec<PathBuf>,
    /// As for the sweep.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// As for the sweep.
    #[arg(long)]
    name: Option<String>,
    /// Folder for results; each experiment has its own folder in it.
    #[arg(long, default_value = "results")]
    results: PathBuf,
}

pub fn run(args: &StatusArgs, program: &Program) -> Result<ExitCode> {
    let registry = &program.registry;
    if args.experiments.is_empty() {
        ensure!(args.set.is_empty(), "--set: name the experiment that it is for");
        return everything(&args.results, registry);
    }
    for path in &args.experiments {
        let named = args.results.join(path);
        let path = if !path.exists() && named.is_dir() { &named } else { path };
        let (plan, folder) = if path.is_dir() {
            let plan = Plan::of_folder(path, registry)?;
            (plan, path.clone())
        } else {
            let experiment = Experiment::read(path, &args.set, args.name.as_deref(), registry)?;
            let plan = Plan::new(&experiment)?;
            let folder = args.results.join(&plan.name);
            (plan, folder)
        };
        out(&Status::read(plan, &folder)?.to_text())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn everything(results: &Path, registry: &Registry) -> Result<ExitCode> {
    let experiments = Path::new("experiments");
    let all = all(results, experiments, registry)?;
    if all.is_empty() {
        bail!("{}: no results yet; `ganomaly sweep` makes them", results.display());
    }
    for (status, notes) in &all {
        out(&status.to_text())?;
        for note in notes {
            out(&format!("  {note}\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
