//! `ganomaly audit`, `weights` and `compare`: experiments that answer a question.

use super::{CheckpointArgs, RunArgs};
use anyhow::{Context, Result, bail};
use ganomaly_runner::compare::{self, Side};
use ganomaly_runner::config::Experiment;
use ganomaly_runner::data::DataStore;
use ganomaly_runner::interrupt::Cancel;
use ganomaly_runner::jobs::Jobs;
use ganomaly_runner::plan::Plan;
use ganomaly_runner::progress::for_people;
use ganomaly_runner::terminal::{data, note, out, say};
use ganomaly_runner::{audit, sweep, tensorboard, weightings};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    #[command(flatten)]
    args: RunArgs,
    /// Runs at once, sharing the threads; auto measures which number trains fastest.
    #[arg(long, default_value_t)]
    jobs: Jobs,
}

#[derive(Debug, clap::Args)]
pub struct WeightsArgs {
    /// The experiment's TOML file, with a [design] of weights.
    #[arg(long, default_value = "experiments/weights.toml")]
    config: PathBuf,
    /// Replace a setting, or sweep it with a list; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The experiment's name; default: the file's name with the --set changes.
    #[arg(long)]
    name: Option<String>,
    /// Folder for results; each experiment has its own folder in it.
    #[arg(long, default_value = "results")]
    results: PathBuf,
    /// The data folder; default: GANOMALY_DATA_DIR, else data.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Number of threads; default: all cores.
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    checkpoints: CheckpointArgs,
    /// Runs at once, sharing the threads; auto measures which number trains fastest.
    #[arg(long, default_value_t)]
    jobs: Jobs,
}

#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// A results folder, such as results/weights.
    first: PathBuf,
    /// The other results folder; or, with a third argument, the settings that select the first
    /// side's runs: w_con=10,epochs=2.
    a: String,
    /// The settings that select the second side's runs in the same folder.
    b: Option<String>,
    /// Further settings that the runs of both sides must have.
    #[arg(long, value_name = "KEY=VALUE,...", default_value = "")]
    only: String,
    /// Print the comparison as JSON.
    #[arg(long)]
    json: bool,
}

/// Does an experiment's missing runs, and evaluates all runs under every protocol.
pub fn audit(args: &AuditArgs, verbose: bool) -> Result<ExitCode> {
    let (experiment, store, cancel) = super::prepare(&args.args)?;
    let given = experiment.name.clone();
    let file = || args.args.config.display().to_string();
    let experiment = audit::prepare(experiment).with_context(file)?;
    if experiment.name != given {
        note(format!(
            "the runs get what an audit needs (every mode, every epoch's scores, a tenth held out for validation) and go to {}",
            args.args.results.join(&experiment.name).display()
        ));
    }
    let (folder, failed) = run(&experiment, &args.args, &store, args.jobs, verbose, &cancel)?;
    let audit = audit::audit(&experiment, &folder)?;
    out(&audit::write(&audit, &folder)?)?;
    Ok(code(failed))
}

/// Does the missing runs of a design of weights, and compares its weightings.
pub fn weights(args: &WeightsArgs, verbose: bool) -> Result<ExitCode> {
    let args = (
        RunArgs {
            config: args.config.clone(),
            set: args.set.clone(),
            name: args.name.clone(),
            results: args.results.clone(),
            data_dir: args.data_dir.clone(),
            threads: args.threads,
            checkpoints: args.checkpoints,
        },
        args.jobs,
    );
    let (experiment, store, cancel) = super::prepare(&args.0)?;
    weightings::check(&experiment).with_context(|| args.0.config.display().to_string())?;
    let (folder, failed) = run(&experiment, &args.0, &store, args.1, verbose, &cancel)?;
    let all = weightings::weightings(&experiment, &folder)?;
    out(&weightings::write(&all, &folder)?)?;
    Ok(code(failed))
}

/// Does the missing runs; returns the folder and whether runs failed. Failures have already been
/// reported.
fn run(
    experiment: &Experiment,
    args: &RunArgs,
    store: &DataStore,
    jobs: Jobs,
    verbose: bool,
    cancel: &Cancel,
) -> Result<(PathBuf, bool)> {
    let progress = for_people(verbose, experiment.runs.len());
    let options =
        sweep::Options { jobs, checkpoints: args.checkpoints.every()?, ..Default::default() };
    let summary = sweep::run(experiment, &args.results, store, options, &*progress, cancel)?;
    for (name, error) in &summary.failed {
        say(format!("failed: {name}: {error}"));
    }
    Ok((summary.folder, !summary.failed.is_empty()))
}

fn code(failed: bool) -> ExitCode {
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Compares two folders, or two settings in one folder.
pub fn compare(args: &CompareArgs) -> Result<ExitCode> {
    let also = |selection: &str| [selection, &args.only].join(",").trim_matches(',').to_string();
    let (a, b) = match &args.b {
        Some(b) => {
            if !args.a.contains('=') || !b.contains('=') {
                bail!(
                    "with a folder and two settings, each is KEY=VALUE; two folders are given alone"
                );
            }
            let mut sides =
                (Side::read(&args.first, &also(&args.a))?, Side::read(&args.first, &also(b))?);
            (sides.0.label, sides.1.label) = (args.a.clone(), b.clone());
            sides
        }
        None => (
            Side::read(&args.first, &args.only)?.labelled(&args.first),
            Side::read(Path::new(&args.a), &args.only)?.labelled(Path::new(&args.a)),
        ),
    };
    let comparison = compare::compare(&a, &b)?;
    if args.json {
        data(&(serde_json::to_string_pretty(&comparison)? + "\n"))?;
    } else {
        out(&comparison.to_markdown())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the event files of an experiment's finished runs.
pub fn event_files(experiment: &Experiment, results: &Path) -> Result<()> {
    let folder = results.join(&experiment.name);
    for run in Plan::new(experiment)?.finished(&folder)? {
        tensorboard::write(&folder.join(&run.name))?;
    }
    note(format!("event files are there: tensorboard --logdir {}", folder.display()));
    Ok(())
}
