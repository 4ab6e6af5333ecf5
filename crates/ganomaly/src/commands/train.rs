//! `ganomaly train`.

use crate::Program;
use crate::args::RunArgs;
use crate::following::Followed;
use crate::live_events::{self, LiveEvents};
use anyhow::{Result, bail};
use clap::Args;
use ganomaly_experiment::plan::Plan;
use ganomaly_experiment::record::read_metrics;
use ganomaly_experiment::selection::Selection;
use ganomaly_report::plot;
use ganomaly_runner::progress::for_people;
use ganomaly_runner::sweep::run_one;
use ganomaly_runner::terminal::{data, note};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    args: RunArgs,
    /// Select the run by its values of swept settings: abnormal_class=2,seed=0.
    #[arg(long, value_name = "KEY=VALUE,...")]
    only: Option<Selection>,
    /// Write TensorBoard event files, which grow while it trains, and end in the run's folder.
    #[arg(long)]
    tensorboard: bool,
}

pub fn run(args: &TrainArgs, program: &Program) -> Result<ExitCode> {
    let (RunArgs { config: file, options }, only) = (&args.args, args.only.as_ref());
    let every = options.checkpoints.every()?;
    let (experiment, store, cancel) = options.prepare(file, program)?;
    let mut plan = Plan::new(&experiment)?;
    plan.runs = plan.choose(only, &program.registry)?.into_iter().cloned().collect();
    let [run] = plan.runs.as_slice() else {
        bail!(
            "{}: {} runs are to be done; choose one with --only, or use sweep",
            file.display(),
            plan.runs.len()
        );
    };
    let results = options.results.join(&plan.name);
    let mut progress = for_people(true, 1);
    if args.tensorboard {
        progress = Followed::by(Arc::new(LiveEvents::new(&results)), progress);
    }
    let folder = run_one(&run.config, &results, &store, &*progress, &cancel, every)?;
    plot::run::write(&plan, &results, &store)?;
    note(format!("results in {}", folder.display()));
    if args.tensorboard {
        live_events::finish(&plan, &results)?;
    }
    data(&(serde_json::to_string_pretty(&read_metrics(&folder)?)? + "\n"))?;
    Ok(ExitCode::SUCCESS)
}
