//! Arguments that several commands share, and what they are turned into.

use crate::{Program, fetch};
use anyhow::{Context, Result, bail};
use clap::Args;
use ganomaly_experiment::config::{Experiment, RunConfig};
use ganomaly_experiment::plan::Plan;
use ganomaly_experiment::record::check_writable;
use ganomaly_experiment::registry::Source;
use ganomaly_experiment::run_data::{DataStore, is_partial};
use ganomaly_report::plot;
use ganomaly_report::tables::write_tables;
use ganomaly_runner::checkpoint::CheckpointInterval;
use ganomaly_runner::interrupt::Cancel;
use ganomaly_runner::progress::for_people;
use ganomaly_runner::sweep::jobs::Jobs;
use ganomaly_runner::sweep::{self, Options, Summary};
use ganomaly_runner::terminal::{note, say};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// An experiment and how its runs are done.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The experiment's TOML file.
    pub config: PathBuf,
    #[command(flatten)]
    pub options: RunOptions,
}

/// How the runs of an experiment are done.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Replace a setting, or sweep it with a list: --set w_con=10, --set seed=[0,1]. May be
    /// repeated; the result is another experiment, with its own folder and tables.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The experiment's name and folder name; default: the file's name with the --set changes.
    #[arg(long)]
    pub name: Option<String>,
    /// Folder for results; each experiment has its own folder in it.
    #[arg(long, default_value = "results")]
    pub results: PathBuf,
    /// The data folder; default: GANOMALY_DATA_DIR, else data.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Number of threads; default: all cores. The results do not depend on it.
    #[arg(long)]
    pub threads: Option<usize>,
    #[command(flatten)]
    pub checkpoints: CheckpointArgs,
}

impl RunOptions {
    /// Reads the experiment's file.
    pub fn experiment(&self, config: &Path, program: &Program) -> Result<Experiment> {
        let registry = program.registry.clone().in_data_dir(self.data_dir.as_deref());
        Experiment::read(config, &self.set, self.name.as_deref(), &registry)
    }

    /// Sets up what every training command needs: threads, Ctrl-C (SIGTERM and SIGHUP do the same),
    /// and the data, downloaded if missing.
    pub fn prepare(
        &self,
        config: &Path,
        program: &Program,
    ) -> Result<(Experiment, DataStore, Cancel)> {
        let experiment = self.experiment(config, program)?;
        use_threads(self.threads)?;
        let cancel = Cancel::of_signals()?;
        let store = program.store(self.data_dir.as_deref());
        let sources: BTreeSet<Source> = experiment.runs.iter().map(RunConfig::source).collect();
        for source in sources {
            fetch::if_missing(&store, &source, &cancel)?;
            let notes = store.registry().find_dataset(&source)?.notes(store.dir())?;
            notes.into_iter().for_each(note);
            let standing = store.standing(&source)?;
            if is_partial(&standing) {
                let at = match source.part.root {
                    Some(_) => String::new(),
                    None => format!(", in {}", store.dir().display()),
                };
                note(format!("{source}: {standing}{at}"));
            }
        }
        Ok((experiment, store, cancel))
    }
}

/// Fails if a file cannot be written where it is to be, before hours are spent.
pub fn check_file_writable(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    check_writable(folder.unwrap_or(Path::new(".")))
}

impl Program {
    /// The data in a folder, or by default in the environment's.
    pub fn store(&self, data_dir: Option<&Path>) -> DataStore {
        DataStore::new(self.registry.clone(), data_dir)
    }
}

/// Does the missing runs of an experiment that a command evaluates; returns its folder and the exit
/// code. Failures have already been reported.
pub fn do_runs(
    experiment: &Experiment,
    options: &RunOptions,
    jobs: Jobs,
    store: &DataStore,
    program: &Program,
    cancel: &Cancel,
) -> Result<(PathBuf, ExitCode)> {
    let progress = for_people(program.verbose, experiment.runs.len());
    let checkpoints = options.checkpoints.every()?;
    let how = Options { jobs, checkpoints, ..Options::default() };
    let summary = sweep::run(experiment, &options.results, store, how, &*progress, cancel)?;
    report_failures(&summary);
    write_outputs(&Plan::new(experiment)?, &summary, store)?;
    Ok((summary.folder, code(summary.failed.is_empty())))
}

/// Writes what a sweep's finished runs give: the tables, whose Markdown it returns, and the plots.
pub fn write_outputs(plan: &Plan, summary: &Summary, store: &DataStore) -> Result<String> {
    write_tables(plan, &summary.folder)
        .and_then(|table| plot::run::write(plan, &summary.folder, store).map(|()| table))
        .with_context(|| match summary.failed.first() {
            Some((name, error)) => {
                format!("{} runs failed; the first, {name}: {error}", summary.failed.len())
            }
            None => "the runs are done, but not the tables".into(),
        })
}

/// Prints why runs failed.
pub fn report_failures(summary: &Summary) {
    for (name, error) in &summary.failed {
        say(format!("failed: {name}: {error}"));
    }
}

/// Success, or the code of a failed check.
pub fn code(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How often a run writes a checkpoint to resume from. The results do not depend on it.
#[derive(Clone, Copy, Debug, Args)]
pub struct CheckpointArgs {
    /// Write a checkpoint every N training steps; 0: ignore the number of steps.
    #[arg(long, value_name = "N", default_value_t = 0)]
    checkpoint_steps: u64,
    /// Write a checkpoint every M minutes, and at Ctrl-C; 0: ignore the time. If both are 0, none
    /// is written.
    #[arg(long, value_name = "M", default_value_t = 10.0)]
    checkpoint_minutes: f64,
}

impl CheckpointArgs {
    /// The arguments that say the same.
    pub fn words(self) -> [String; 4] {
        let Self { checkpoint_steps: steps, checkpoint_minutes: minutes } = self;
        let [of_steps, of_minutes] =
            ["--checkpoint-steps", "--checkpoint-minutes"].map(String::from);
        [of_steps, steps.to_string(), of_minutes, minutes.to_string()]
    }

    pub fn every(self) -> Result<CheckpointInterval> {
        let minutes = self.checkpoint_minutes;
        if !(0.0..=1e6).contains(&minutes) {
            bail!("--checkpoint-minutes {minutes}: use 0 to 1000000");
        }
        let time = Duration::from_secs_f64(60.0 * minutes);
        Ok(CheckpointInterval { steps: self.checkpoint_steps, time })
    }
}

/// More than the cores of any machine; each thread costs memory.
const MOST_THREADS: usize = 1024;

/// Limits the process to this many threads, if a number is given.
pub fn use_threads(threads: Option<usize>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    if !(1..=MOST_THREADS).contains(&threads) {
        bail!("--threads {threads}: use 1 to {MOST_THREADS}");
    }
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("--threads")
}
