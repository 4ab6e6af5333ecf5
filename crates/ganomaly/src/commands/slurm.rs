//! `ganomaly sweep --slurm`.

use crate::Program;
use crate::args::RunArgs;
use anyhow::{Context, Result};
use clap::Args;
use ganomaly_data::shown;
use ganomaly_experiment::config::DeviceName;
use ganomaly_experiment::plan::{Plan, Run};
use ganomaly_experiment::selection::Selection;
use ganomaly_runner::sweep::slurm::Order;
use ganomaly_runner::sweep::status::{State, Status};
use ganomaly_runner::terminal::out;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct SlurmArgs {
    /// Submit the missing runs to Slurm, a task each, and behind them a job that writes the tables.
    #[arg(long)]
    pub slurm: bool,
    /// A file with lines for the tasks' script, such as #SBATCH --time=4:00:00.
    #[arg(long, requires = "slurm", value_name = "FILE")]
    slurm_options: Option<PathBuf>,
    /// Runs of each task; on a GPU they train together.
    #[arg(long, requires = "slurm", value_name = "N", default_value_t = 1)]
    slurm_group: usize,
    /// Maximum number of tasks at once.
    #[arg(long, requires = "slurm", value_name = "N")]
    slurm_at_once: Option<usize>,
}

/// Submits what is neither done nor in the queue, or shows the scripts.
pub fn submit(
    args: &SlurmArgs,
    RunArgs { config, options: run }: &RunArgs,
    only: Option<&Selection>,
    dry_run: bool,
    program: &Program,
) -> Result<ExitCode> {
    let experiment = match dry_run {
        true => run.experiment(config, program)?,
        // The data are fetched here: a cluster's machines may have no network.
        false => run.prepare(config, program)?.0,
    };
    let plan = Plan::new(&experiment)?;
    let results = std::path::absolute(&run.results)?.join(&plan.name);
    let status = Status::read(plan, &results)?;
    let queue = status.queue.as_ref().map_err(|e| anyhow::anyhow!("{e}"))?;
    let chosen = status.plan.choose(only, &program.registry)?;
    let is_missing = |run: &Run, state: &State| {
        matches!(state, State::Missing(_) | State::Failed(_))
            && queue.of(&run.name).is_none()
            && chosen.iter().any(|chosen| chosen.name == run.name)
    };
    let missing: Vec<&Run> =
        status.runs().filter(|(run, state)| is_missing(run, state)).map(|(run, _)| run).collect();
    let there = chosen.len() - missing.len();
    if missing.is_empty() {
        out(&format!("nothing to submit: all {there} runs are done, under way or in the queue\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut arguments = vec!["--name".to_string(), status.plan.name.clone()];
    let results_root = results.parent().context("no folder for results")?;
    arguments.extend(["--results".into(), results_root.to_string_lossy().into_owned()]);
    for setting in &run.set {
        arguments.extend(["--set".into(), setting.clone()]);
    }
    // What was settled here: a machine with another device would make other runs of "auto".
    let mut devices: Vec<String> =
        status.plan.runs.iter().map(|run| run.config.device.0.to_string()).collect();
    devices.dedup();
    if let [device] = devices.as_slice() {
        arguments.extend(["--set".into(), format!("device={device}")]);
    }
    if let Some(folder) = &run.data_dir {
        let folder = std::path::absolute(folder)?;
        arguments.extend(["--data-dir".into(), folder.to_string_lossy().into_owned()]);
    }
    arguments.extend(run.checkpoints.words());
    arguments.extend(["--jobs".into(), args.slurm_group.to_string()]);
    let options = args.slurm_options.as_ref();
    let options = options.map(|path| fs::read_to_string(path).with_context(|| shown(path)));
    let order = Order {
        program: std::env::current_exe().context("the path of this program is not known")?,
        results: results.clone(),
        config: fs::read_to_string(config).with_context(|| shown(config))?,
        arguments,
        group: args.slurm_group,
        at_once: args.slurm_at_once,
        options: options.transpose()?.unwrap_or_default(),
        gpu: missing.iter().any(|run| matches!(run.config.device.0, DeviceName::Cuda(_))),
    };
    if dry_run {
        out(&order.scripts(&missing)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    fs::create_dir_all(&results).with_context(|| shown(&results))?;
    status.plan.write(&results)?;
    let submitted = order.submit(&missing)?;
    out(&format!(
        "submitted as Slurm job {}: {} tasks, {} runs; {there} are done, under way or in the queue\n\
         scripts and logs: {}\nto see how they do: ganomaly status {}\n",
        submitted.job,
        submitted.tasks,
        missing.len(),
        shown(&submitted.folder),
        shown(&results)
    ))?;
    Ok(ExitCode::SUCCESS)
}
