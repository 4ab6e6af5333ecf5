//! `ganomaly sweep|status|collect`.

use super::{RunArgs, prepare};
use anyhow::{Result, bail, ensure};
use clap::Args;
use ganomaly_runner::collect::collect as rebuild;
use ganomaly_runner::config::Experiment;
use ganomaly_runner::jobs::Jobs;
use ganomaly_runner::plan::Plan;
use ganomaly_runner::progress::for_people;
use ganomaly_runner::selection::Selection;
use ganomaly_runner::status::{self, Status};
use ganomaly_runner::sweep::{self, Options};
use ganomaly_runner::terminal::{note, out, say};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct SweepArgs {
    #[command(flatten)]
    args: RunArgs,
    /// Runs at once, sharing the threads; auto measures which number trains fastest. The results do
    /// not depend on it.
    #[arg(long, default_value_t)]
    jobs: Jobs,
    /// Spread the runs over these GPUs, by the driver's numbers: 0,1. By default each run uses the
    /// GPU of its device setting.
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    devices: Vec<usize>,
    /// Do only the runs with these values of swept settings; a setting named twice may have either
    /// value.
    #[arg(long, value_name = "KEY=VALUE,...")]
    only: Option<Selection>,
    /// Show what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write TensorBoard event files into each run's folder.
    #[arg(long)]
    tensorboard: bool,
    /// Seconds without a sign of life after which other processes may take over this one's runs.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    stale_after: f64,
}

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

#[derive(Debug, Args)]
pub struct CollectArgs {
    /// Results folders of experiments, such as results/mnist.
    #[arg(required = true)]
    folders: Vec<PathBuf>,
}

pub fn sweep(args: &SweepArgs, verbose: bool) -> Result<ExitCode> {
    if args.dry_run {
        let plan = Plan::new(&args.args.experiment()?)?;
        let folder = args.args.results.join(&plan.name);
        let status = Status::read(plan, &folder)?;
        out(&status.dry_run(&status.plan.choose(args.only.as_ref())?)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let seconds = args.stale_after;
    ensure!(
        (0.5..=86400.0).contains(&seconds),
        "--stale-after {seconds}: use 0.5 to 86400 seconds"
    );
    let mut twice = args.devices.clone();
    twice.sort_unstable();
    twice.dedup();
    ensure!(twice.len() == args.devices.len(), "--devices: a card is named twice");
    let (experiment, store, cancel) = prepare(&args.args)?;
    let options = Options {
        jobs: args.jobs,
        devices: args.devices.clone(),
        only: args.only.clone(),
        stale_after: Duration::from_secs_f64(seconds),
        checkpoints: args.args.checkpoints.every()?,
    };
    let chosen = Plan::new(&experiment)?.choose(args.only.as_ref())?.len();
    let progress = for_people(verbose, chosen);
    let results = &args.args.results;
    let summary = sweep::run(&experiment, results, &store, options, &*progress, &cancel)?;
    if args.tensorboard {
        super::experiments::event_files(&experiment, results)?;
    }
    let printed = out(&summary.table);
    if summary.records > 0 {
        note(format!(
            "{} of the runs that were there are records without scores and weights; to have these, \
             do the runs in another folder with --results",
            summary.records
        ));
    }
    let elsewhere = match summary.elsewhere {
        0 => String::new(),
        n => format!("{n} done by others meanwhile, "),
    };
    note(format!(
        "\n{} runs done now, {elsewhere}{} were there, {} failed ({} at a time); results in {}",
        summary.finished,
        summary.present,
        summary.failed.len(),
        summary.jobs,
        summary.folder.display()
    ));
    for (name, error) in &summary.failed {
        say(format!("failed: {name}: {error}"));
    }
    printed?;
    Ok(if summary.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub fn status(args: &StatusArgs) -> Result<ExitCode> {
    if args.experiments.is_empty() {
        ensure!(args.set.is_empty(), "--set: name the experiment that it is for");
        return everything(&args.results);
    }
    for path in &args.experiments {
        let named = args.results.join(path);
        let path = if !path.exists() && named.is_dir() { &named } else { path };
        let (plan, folder) = if path.is_dir() {
            let plan = Plan::of_folder(path)?;
            (plan, path.clone())
        } else {
            let plan = Plan::new(&Experiment::read(path, &args.set, args.name.as_deref())?)?;
            let folder = args.results.join(&plan.name);
            (plan, folder)
        };
        out(&Status::read(plan, &folder)?.to_text())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn everything(results: &Path) -> Result<ExitCode> {
    let experiments = Path::new("experiments");
    let all = status::all(results, experiments)?;
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

pub fn collect(args: &CollectArgs) -> Result<ExitCode> {
    for folder in &args.folders {
        let collected = rebuild(folder)?;
        out(&collected.table)?;
        let runs = collected.plan.runs.len();
        let whose = if collected.planned { "the last sweep" } else { "what is there" };
        note(format!(
            "\n{}: tables of {} runs rebuilt; the plan is that of {whose} and has {runs}",
            folder.display(),
            runs - collected.missing.len()
        ));
        for (names, what) in [
            (&collected.missing, "not done"),
            (&collected.others, "of other configs or generations, not in the plan and the tables"),
        ] {
            if !names.is_empty() {
                note(format!("{what}: {}", names.join(", ")));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
