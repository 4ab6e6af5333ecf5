//! `ganomaly sweep`.

use crate::Program;
use crate::args::{RunArgs, code, report_failures, write_outputs};
use crate::commands::slurm::{self, SlurmArgs};
use crate::following::Followed;
use crate::live_events::{self, LiveEvents};
use crate::mlflow::Sender;
use anyhow::{Result, ensure};
use clap::Args;
use ganomaly_experiment::plan::Plan;
use ganomaly_experiment::selection::Selection;
use ganomaly_runner::progress::for_people;
use ganomaly_runner::sweep::jobs::Jobs;
use ganomaly_runner::sweep::status::Status;
use ganomaly_runner::sweep::{self, Options};
use ganomaly_runner::terminal::{note, out};
use std::process::ExitCode;
use std::sync::Arc;
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
    /// Write TensorBoard event files, which grow while runs train, and end in each run's folder.
    #[arg(long)]
    tensorboard: bool,
    /// Send settings, epochs, tables and models to an MLflow tracking server, such as
    /// http://127.0.0.1:5000. What it misses is sent by the next sweep.
    #[arg(long, value_name = "URI")]
    mlflow: Option<String>,
    #[command(flatten)]
    slurm: SlurmArgs,
    /// Leave the tables and plots to `collect`.
    #[arg(long, conflicts_with = "slurm")]
    runs_only: bool,
    /// Seconds without a sign of life after which other processes may take over this one's runs.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    stale_after: f64,
}

pub fn run(args: &SweepArgs, program: &Program) -> Result<ExitCode> {
    let (RunArgs { config, options: run }, only) = (&args.args, args.only.as_ref());
    if args.slurm.slurm {
        return slurm::submit(&args.slurm, &args.args, only, args.dry_run, program);
    }
    if args.dry_run {
        let plan = Plan::new(&run.experiment(config, program)?)?;
        let folder = run.results.join(&plan.name);
        let status = Status::read(plan, &folder)?;
        out(&status.dry_run(&status.plan.choose(only, &program.registry)?)?)?;
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
    ensure!(twice.len() == args.devices.len(), "--devices: a GPU is named twice");
    let (experiment, store, cancel) = run.prepare(config, program)?;
    let options = Options {
        jobs: args.jobs,
        devices: args.devices.clone(),
        only: args.only.clone(),
        stale_after: Duration::from_secs_f64(seconds),
        checkpoints: run.checkpoints.every()?,
    };
    let plan = Plan::new(&experiment)?;
    let mut progress = for_people(program.verbose, plan.choose(only, &program.registry)?.len());
    if args.tensorboard {
        let events = LiveEvents::new(&run.results.join(&plan.name));
        progress = Followed::by(Arc::new(events), progress);
    }
    let mlflow = args.mlflow.as_ref().map(|uri| Sender::start(uri, &plan.name)).transpose()?;
    if let Some(mlflow) = &mlflow {
        progress = Followed::by(mlflow.clone(), progress);
    }
    let summary = sweep::run(&experiment, &run.results, &store, options, &*progress, &cancel);
    drop(progress);
    let summary = summary?;
    let table = match args.runs_only {
        true => String::new(),
        false => write_outputs(&plan, &summary, &store)?,
    };
    if args.tensorboard {
        live_events::finish(&plan, &summary.folder)?;
    }
    if let Some(mlflow) = mlflow {
        mlflow.finish(&plan, &summary)?;
    }
    let printed = out(&table);
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
    report_failures(&summary);
    printed?;
    Ok(code(summary.failed.is_empty()))
}
