//! Kills at random moments: a sweep that is killed with `kill -9` again and again must result in
//! the same bytes as an undisturbed one.

use anyhow::{Context, Result, bail, ensure};
use ganomaly_experiment::config::Experiment;
use ganomaly_experiment::files::names_in;
use ganomaly_experiment::plan::Plan;
use ganomaly_experiment::record::{EPOCHS, PROVENANCE, SHA256SUMS, epochs};
use ganomaly_experiment::registry::Registry;
use ganomaly_runner::checkpoint;
use ganomaly_runner::sweep::claim;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is killed, and how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `ganomaly` binary.
    pub binary: PathBuf,
    /// The experiment file.
    pub config: PathBuf,
    /// Settings to replace in it, as for a sweep.
    pub set: Vec<String>,
    /// The data folder.
    pub data_dir: Option<PathBuf>,
    /// How often a process is killed.
    pub kills: usize,
    /// Seed of the random moments.
    pub seed: u64,
    /// Training steps between checkpoints.
    pub checkpoint_steps: u64,
}

/// What a process was doing when it was killed, judged by its output and its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before its first step: reading data, a claim or a checkpoint.
    Starting,
    /// Between two steps.
    Training,
    /// After an epoch's last step.
    Scoring,
    /// A half-written checkpoint was there.
    WritingACheckpoint,
    /// After the last epoch: confidence intervals, plots, tables; or a half-written folder was
    /// there.
    WritingResults,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Training => "training",
            Self::Scoring => "scoring",
            Self::WritingACheckpoint => "writing a checkpoint",
            Self::WritingResults => "writing results",
        })
    }
}

/// The result. There is a report only if every byte is equal.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Kills by what they interrupted.
    pub kills: BTreeMap<Moment, usize>,
    /// How often the experiment was done from the beginning.
    pub rounds: usize,
    /// How often a run resumed from a checkpoint.
    pub resumed: usize,
    /// Runs compared with the undisturbed ones.
    pub compared: usize,
    /// Files compared.
    pub files: usize,
    /// Duration of the undisturbed sweep, in seconds.
    pub undisturbed_s: f64,
    /// Total duration, in seconds.
    pub wall_s: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kills: Vec<String> =
            self.kills.iter().map(|(moment, n)| format!("{n} while {moment}")).collect();
        write!(
            f,
            "{} kills ({}) in {} rounds; a run was resumed from a checkpoint {} times\n\
             {} runs, {} files: all equal to the undisturbed ones; nothing else is left\n\
             {:.0} s, of which {:.1} s for the undisturbed sweep",
            self.kills.values().sum::<usize>(),
            kills.join(", "),
            self.rounds,
            self.resumed,
            self.compared,
            self.files,
            self.wall_s,
            self.undisturbed_s
        )
    }
}

/// Does the experiment in `folder`, first undisturbed, then with kills until there are enough, and
/// compares. Returns an error if anything differs or is left over.
pub fn run(
    options: &Options,
    folder: &Path,
    registry: &Registry,
    say: &dyn Fn(&str),
) -> Result<Report> {
    let registry = registry.clone().in_data_dir(options.data_dir.as_deref());
    let experiment = Experiment::read(&options.config, &options.set, None, &registry)?;
    let plan = Plan::new(&experiment)?;
    let (left_alone, killed) = (folder.join("undisturbed"), folder.join("killed"));
    let started = Instant::now();
    let mut process = Process::start(options, &left_alone)?;
    process.wait()?;
    let undisturbed = started.elapsed();
    let mut report = Report { undisturbed_s: undisturbed.as_secs_f64(), ..Report::default() };
    // Long enough for most kills to hit a run that has begun, short enough for many kills.
    let mut longest = (undisturbed / plan.runs.len() as u32).max(Duration::from_millis(300));
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let results = killed.join(&plan.name);
    let mut kills = 0;
    loop {
        let mut process = Process::start(options, &killed)?;
        if kills < options.kills {
            let delay = longest.mul_f64(rng.random::<f64>());
            if process.kill_after(delay)? {
                kills += 1;
                let moment = moment(&process.said(), &results, &plan)?;
                *report.kills.entry(moment).or_default() += 1;
                if moment == Moment::Starting {
                    // The machine may be busier than it was, and starting takes longer.
                    longest = longest.mul_f64(1.25);
                }
                say(&format!("kill {kills} after {:.2} s, {moment}", delay.as_secs_f64()));
            }
        } else {
            process.wait()?;
        }
        let said = process.said();
        report.resumed += said.iter().filter(|line| line.contains(": resumed ")).count();
        if let Some(line) = said.iter().find(|line| line.contains("checkpoint refused")) {
            bail!("a kill damaged a checkpoint: {line}");
        }
        if process.is_done() {
            report.rounds += 1;
            // The first sweep that finds half-written leftovers stale removes them.
            std::thread::sleep(STALE_AFTER * 2);
            Process::start(options, &killed)?.wait()?;
            let undisturbed = left_alone.join(&plan.name);
            report.files += compare(&plan, &undisturbed, &results)?;
            report.compared += plan.runs.len();
            if kills == options.kills {
                break;
            }
            fs::remove_dir_all(&killed)?;
        }
    }
    report.wall_s = started.elapsed().as_secs_f64();
    Ok(report)
}

/// A sweep in a process of its own.
struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
    done: bool,
}

impl Process {
    fn start(options: &Options, results: &Path) -> Result<Self> {
        let mut command = Command::new(&options.binary);
        command.arg("sweep").arg(&options.config).arg("--results").arg(results);
        command.args(options.set.iter().flat_map(|set| ["--set", set]));
        command.args(["--jobs", "1", "--checkpoint-minutes", "0"]);
        command.args(["--stale-after", &STALE_AFTER.as_secs().to_string()]);
        command.args(["--checkpoint-steps", &options.checkpoint_steps.to_string()]);
        command.args(options.data_dir.iter().flat_map(|dir| ["--data-dir".into(), dir.clone()]));
        command
            .env(ganomaly_runner::progress::SAY_STEPS, "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("{} cannot be run", options.binary.display()))?;
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let stderr = child.stderr.take().context("no errors to read")?;
        let to = lines.clone();
        let read = move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                to.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        };
        let reader = std::thread::Builder::new().name("reader".into()).spawn(read)?;
        Ok(Self { child, lines, reader: Some(reader), done: false })
    }

    /// Its output so far.
    fn said(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for it to end; it must succeed.
    fn wait(&mut self) -> Result<()> {
        let status = self.child.wait()?;
        self.join();
        ensure!(status.success(), "the sweep failed: {}", self.said().join("\n"));
        self.done = true;
        Ok(())
    }

    /// Kills it after `delay`; false if it ended before.
    fn kill_after(&mut self, delay: Duration) -> Result<bool> {
        std::thread::sleep(delay);
        if self.child.try_wait()?.is_some() {
            self.wait()?;
            return Ok(false);
        }
        self.child.kill()?;
        // It may have ended between the two.
        let status = self.child.wait()?;
        self.join();
        self.done = status.success();
        ensure!(
            self.done || status.code().is_none(),
            "the sweep failed: {}",
            self.said().join("\n")
        );
        Ok(!self.done)
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended, unless an error is on its way.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.join();
    }
}

/// How long the leftovers of a killed process may still belong to someone.
const STALE_AFTER: Duration = Duration::from_secs(1);

/// What the process was doing.
fn moment(said: &[String], results: &Path, plan: &Plan) -> Result<Moment> {
    let half_written = |folder: &Path, ending: &str| {
        Ok::<_, anyhow::Error>(names_in(folder)?.iter().any(|name| name.ends_with(ending)))
    };
    for run in names_in(&results.join(checkpoint::FOLDER))? {
        if half_written(&results.join(checkpoint::FOLDER).join(run), ".tmp")? {
            return Ok(Moment::WritingACheckpoint);
        }
    }
    // The probe for whether the folder is writable is also a half-written folder.
    let probe = names_in(results)?.iter().any(|name| name.starts_with(".probe."));
    if !probe && half_written(results, ".partial")? {
        return Ok(Moment::WritingResults);
    }
    let epochs = plan.runs.first().map_or(0, |run| run.config.epochs);
    // "RUN: step 3 of 54", "RUN: epoch 1: AUROC …", "RUN: resumed at epoch 1, step 3", "RUN: 54
    // training steps".
    let last = said.iter().rev().find_map(|line| {
        let (_, what) = line.split_once(": ")?;
        let words: Vec<&str> = what.split([' ', ':']).collect();
        match words.as_slice() {
            ["step", done, "of", all] => {
                let (done, all): (usize, usize) = (done.parse().ok()?, all.parse().ok()?);
                let whole = all > 0 && (done * epochs).is_multiple_of(all);
                Some(if whole { Moment::Scoring } else { Moment::Training })
            }
            ["epoch", epoch, ..] if epoch.parse() == Ok(epochs) => Some(Moment::WritingResults),
            ["epoch", ..] => Some(Moment::Training),
            [_, "training", "steps"] | ["resumed", ..] => Some(Moment::Starting),
            _ => None,
        }
    });
    Ok(last.unwrap_or(Moment::Starting))
}

/// Compares all runs of two folders and returns the number of equal files. Times may differ.
fn compare(plan: &Plan, undisturbed: &Path, killed: &Path) -> Result<usize> {
    let mut files = 0;
    for run in &plan.runs {
        let (a, b) = (undisturbed.join(&run.name), killed.join(&run.name));
        let names = names_in(&a)?;
        ensure!(names == names_in(&b)?, "{}: other files than undisturbed", b.display());
        for name in names.iter().filter(|name| *name != PROVENANCE) {
            let read = |folder: &Path| {
                let path = folder.join(name);
                let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
                Ok::<_, anyhow::Error>(match name.as_str() {
                    EPOCHS => epochs::without_times(&bytes)?,
                    SHA256SUMS => sums_without_times(&bytes),
                    _ => bytes,
                })
            };
            ensure!(
                read(&a)? == read(&b)?,
                "{}: differs from that of the undisturbed run",
                b.join(name).display()
            );
            files += 1;
        }
    }
    for table in ["table.md", "table.csv"] {
        let (a, b) = (fs::read(undisturbed.join(table))?, fs::read(killed.join(table))?);
        ensure!(a == b, "{}: differs", killed.join(table).display());
        files += 1;
    }
    let left = names_in(killed)?.into_iter().filter(|name| {
        name.ends_with(".tmp") || name.ends_with(".partial") || name == checkpoint::FOLDER
    });
    let claims = names_in(&killed.join(claim::FOLDER))?;
    let left: Vec<String> = left.chain(claims).collect();
    ensure!(left.is_empty(), "{}: left over: {}", killed.display(), left.join(", "));
    Ok(files)
}

/// `SHA256SUMS` without the lines of files that contain times.
fn sums_without_times(sums: &[u8]) -> Vec<u8> {
    let timed = |line: &&[u8]| line.ends_with(b"  epochs.csv") || line.ends_with(b"  run.json");
    let lines = sums.split(|&byte| byte == b'\n').filter(|line| !timed(line));
    lines.collect::<Vec<_>>().join(&b'\n')
}
