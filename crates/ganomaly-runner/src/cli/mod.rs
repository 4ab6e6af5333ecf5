//! The commands: each resolves its arguments and calls the library.

mod bench;
mod cards;
mod chaos;
mod data_sets;
mod experiments;
mod metrics;
mod report;
mod sweep;
mod verify;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use ganomaly_runner::checkpoint::Every;
use ganomaly_runner::config::{DeviceName, Experiment};
use ganomaly_runner::data::{DataStore, is_partial};
use ganomaly_runner::interrupt::Cancel;
use ganomaly_runner::plan::Plan;
use ganomaly_runner::progress::for_people;
use ganomaly_runner::score::Scorer;
use ganomaly_runner::selection::Selection;
use ganomaly_runner::sweep::run_one;
use ganomaly_runner::terminal::{be_quiet, data, note, out, say};
use ganomaly_runner::{parity, record};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// GANomaly anomaly detection: train, score, sweep, verify.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one line per epoch even with many runs; sweep.log in the results always has them.
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Print only results and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Do every run of an experiment and write its tables and plots.
    Sweep(sweep::SweepArgs),
    /// Show what is done, running, failed and missing in experiments, and the time left.
    Status(sweep::StatusArgs),
    /// Rebuild an experiment's tables and plots from its results alone.
    Collect(sweep::CollectArgs),
    /// Recompute results from stored data, check every checksum, and report mismatches.
    Verify(verify::VerifyArgs),
    /// Do one run of an experiment; with a [sweep], select it with --only.
    Train {
        #[command(flatten)]
        args: RunArgs,
        /// Select the run by its values of swept settings: abnormal_class=2,seed=0.
        #[arg(long, value_name = "KEY=VALUE,...")]
        only: Option<Selection>,
        /// Write TensorBoard event files into the run's folder.
        #[arg(long)]
        tensorboard: bool,
    },
    /// Score images with a trained model; prints CSV, one row per image.
    Score {
        /// A run's folder, or its weights.safetensors.
        model: PathBuf,
        /// PNG, JPEG or BMP files.
        #[arg(required = true)]
        pictures: Vec<PathBuf>,
    },
    /// Compute every metric of a list of scores; prints JSON.
    Metrics {
        /// A CSV file with columns score and label (1 or 0), or a JSON file with a list `cases` of
        /// {name, scores, labels}.
        file: PathBuf,
    },
    /// Evaluate an experiment's weights under every protocol: statistics and order, epoch, score.
    Audit(experiments::AuditArgs),
    /// Compare weightings of the three losses in a design.
    Weights(experiments::WeightsArgs),
    /// Compare two configurations, paired by class and seed: two results folders, or a folder and
    /// two settings.
    Compare(experiments::CompareArgs),
    /// Compare this implementation with traces of the published one.
    Parity {
        /// Each trace's path without its extension.
        #[arg(required = true)]
        traces: Vec<PathBuf>,
        /// Device to compute on: cpu, cuda:0, ... or twin (the GPU kernels on the CPU).
        #[arg(long, default_value_t = DeviceName::Cpu)]
        device: DeviceName,
    },
    /// Write each experiment's report as one self-contained page, or compare two.
    Report(report::ReportArgs),
    /// Time a training step and scoring; prints JSON.
    Bench(bench::BenchArgs),
    /// Kill sweeps of an experiment at random moments, and check that they result in the same
    /// bytes.
    Chaos(chaos::ChaosArgs),
    /// Show the available GPUs, and what is missing to train on them.
    Cards,
    /// Fetch or check data sets.
    Data(data_sets::DataArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The experiment's TOML file.
    config: PathBuf,
    /// Replace a setting, or sweep it with a list: --set w_con=10, --set seed=[0,1]. May be
    /// repeated; the result is another experiment, with its own folder and tables.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The experiment's name and folder name; default: the file's name with the --set changes.
    #[arg(long)]
    name: Option<String>,
    /// Folder for results; each experiment has its own folder in it.
    #[arg(long, default_value = "results")]
    results: PathBuf,
    /// The data folder; default: GANOMALY_DATA_DIR, else data.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Number of threads; default: all cores. The results do not depend on it.
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    checkpoints: CheckpointArgs,
}

impl RunArgs {
    fn experiment(&self) -> Result<Experiment> {
        Experiment::read(&self.config, &self.set, self.name.as_deref())
    }
}

/// How often a run writes a checkpoint to resume from. The results do not depend on it.
#[derive(Clone, Copy, Debug, Args)]
struct CheckpointArgs {
    /// Write a checkpoint every N training steps; 0: ignore the number of steps.
    #[arg(long, value_name = "N", default_value_t = 0)]
    checkpoint_steps: u64,
    /// Write a checkpoint every M minutes, and at Ctrl-C; 0: ignore the time. If both are 0, none
    /// is written.
    #[arg(long, value_name = "M", default_value_t = 10.0)]
    checkpoint_minutes: f64,
}

impl CheckpointArgs {
    fn every(self) -> Result<Every> {
        let minutes = self.checkpoint_minutes;
        if !(0.0..=1e6).contains(&minutes) {
            bail!("--checkpoint-minutes {minutes}: use 0 to 1000000");
        }
        let time = Duration::from_secs_f64(60.0 * minutes);
        Ok(Every { steps: self.checkpoint_steps, time })
    }
}

/// Runs one command. The exit code is 1 if the command itself worked but a check failed.
pub fn run(cli: Cli) -> Result<ExitCode> {
    if cli.quiet {
        be_quiet();
    }
    match cli.command {
        Command::Sweep(args) => sweep::sweep(&args, cli.verbose),
        Command::Status(args) => sweep::status(&args),
        Command::Collect(args) => sweep::collect(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Parity { traces, device } => check_parity(&traces, device),
        Command::Report(args) => report::run(&args),
        Command::Train { args, only, tensorboard } => train(&args, only.as_ref(), tensorboard),
        Command::Score { model, pictures } => score(&model, &pictures),
        Command::Metrics { file } => metrics::print(&file),
        Command::Audit(args) => experiments::audit(&args, cli.verbose),
        Command::Weights(args) => experiments::weights(&args, cli.verbose),
        Command::Compare(args) => experiments::compare(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Cards => cards::run(),
        Command::Data(args) => data_sets::run(&args),
    }
}

/// More than the cores of any machine; each thread costs memory.
const MOST_THREADS: usize = 1024;

/// Limits the process to this many threads, if a number is given.
fn use_threads(threads: Option<usize>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    if !(1..=MOST_THREADS).contains(&threads) {
        bail!("--threads {threads}: use 1 to {MOST_THREADS}");
    }
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("--threads")
}

/// Sets up what every training command needs: threads, Ctrl-C (SIGTERM and SIGHUP do the same), and
/// the data, downloaded if missing.
fn prepare(args: &RunArgs) -> Result<(Experiment, DataStore, Cancel)> {
    let experiment = args.experiment()?;
    use_threads(args.threads)?;
    let cancel = Cancel::of_signals()?;
    let store = DataStore::new(args.data_dir.as_deref());
    // An experiment uses one data set.
    if let Some(config) = experiment.runs.first() {
        data_sets::fetch_if_missing(&store, &config.dataset, &cancel)?;
        let standing = store.standing(&config.dataset)?;
        if is_partial(&standing) {
            note(format!("{}: {standing}, in {}", config.dataset, store.dir().display()));
        }
    }
    Ok((experiment, store, cancel))
}

fn train(args: &RunArgs, only: Option<&Selection>, tensorboard: bool) -> Result<ExitCode> {
    let every = args.checkpoints.every()?;
    let (mut experiment, store, cancel) = prepare(args)?;
    let plan = Plan::new(&experiment)?;
    experiment.runs = plan.choose(only)?.into_iter().map(|run| run.config.clone()).collect();
    let [config] = experiment.runs.as_slice() else {
        bail!(
            "{}: {} runs are to be done; choose one with --only, or use sweep",
            args.config.display(),
            experiment.runs.len()
        );
    };
    let results = args.results.join(&experiment.name);
    let progress = for_people(true, 1);
    let folder = run_one(config, &results, &store, &*progress, &cancel, every)?;
    note(format!("results in {}", folder.display()));
    if tensorboard {
        experiments::event_files(&experiment, &args.results)?;
    }
    let metrics = record::read_metrics(&folder)?;
    data(&(serde_json::to_string_pretty(&metrics)? + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn score(model: &std::path::Path, pictures: &[PathBuf]) -> Result<ExitCode> {
    let scorer = Scorer::load(model)?;
    let row = |row: [String; 4]| -> Result<()> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(row)?;
        data(&String::from_utf8(csv.into_inner()?)?)
    };
    row(["picture", "l2", "l1", "con"].map(String::from))?;
    let mut failed = false;
    for path in pictures {
        match scorer.score(path) {
            // Quoted if necessary; bytes that are not text are escaped, so that the table is text.
            Ok(s) => row([name(path), s.l2.to_string(), s.l1.to_string(), s.con.to_string()])?,
            Err(e) => {
                failed = true;
                say(format!("error: {e:#}"));
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A file's name unchanged, with bytes that are not UTF-8 as `\xff`.
fn name(path: &std::path::Path) -> String {
    path.to_str().map_or_else(|| ganomaly_data::shown(path), str::to_string)
}

fn check_parity(traces: &[PathBuf], device: DeviceName) -> Result<ExitCode> {
    let mut holds = true;
    for trace in traces {
        let parity = parity::check_trace(trace, device)?;
        out(&format!("{}\n", parity.table()))?;
        holds &= parity.holds();
    }
    out(if holds {
        "every deviation is within its limit\n"
    } else {
        "NOT EQUAL to the published code\n"
    })?;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// This process's command line, quoted for a shell.
pub fn command_line() -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    let quoted = |arg: String| match arg.chars().all(plain) && !arg.is_empty() {
        true => arg,
        false => format!("'{}'", arg.replace('\'', "'\\''")),
    };
    let args = std::env::args_os().map(|arg| quoted(arg.to_string_lossy().into_owned()));
    args.collect::<Vec<_>>().join(" ")
}
