//! An experiment: its runs, one or more at a time, in this and other processes, and the tables over
//! them.

use crate::cards::{self, Named};
use crate::checkpoint::{self, Checkpoints, Every};
use crate::claim::{Claim, Claims, STALE_AFTER, Taken};
use crate::collect::write_tables;
use crate::config::{DeviceName, Experiment, RunConfig};
use crate::data::DataStore;
use crate::failure::{self, Failure};
use crate::files::{names_in, remove_partial, remove_temporary};
use crate::interrupt::{Cancel, Interrupted};
use crate::jobs::{Jobs, side_by_side};
use crate::plan::{Plan, Run, head};
use crate::progress::Progress;
use crate::provenance::Provenance;
use crate::record::{self, Metrics};
use crate::selection::Selection;
use crate::sweep_log::Logged;
use crate::{lockstep, train};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a sweep does its runs. The results do not depend on it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Runs at once.
    pub jobs: Jobs,
    /// GPUs to spread runs over, by the driver's numbers; none: each run uses its own.
    pub devices: Vec<usize>,
    /// Do only these runs; the tables cover all that are there.
    pub only: Option<Selection>,
    /// Without a heartbeat for this long, other processes may take over this one's runs.
    pub stale_after: Duration,
    /// How often runs write checkpoints to resume from.
    pub checkpoints: Every,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            jobs: Jobs::default(),
            devices: Vec::new(),
            only: None,
            stale_after: STALE_AFTER,
            checkpoints: Every::default(),
        }
    }
}

impl From<Jobs> for Options {
    fn from(jobs: Jobs) -> Self {
        Self { jobs, ..Self::default() }
    }
}

/// The result of a sweep.
#[derive(Debug, Default)]
pub struct Summary {
    /// Where its results are.
    pub folder: PathBuf,
    /// Runs finished now.
    pub finished: usize,
    /// Runs that were there already.
    pub present: usize,
    /// Those of which only the small records are there, without scores and weights.
    pub records: usize,
    /// Runs that other processes finished in the meantime.
    pub elsewhere: usize,
    /// Runs that failed, with their errors.
    pub failed: Vec<(String, String)>,
    /// Runs at once.
    pub jobs: usize,
    /// Tables in Markdown, as in `table.md`.
    pub table: String,
}

/// The result of trying to do a run.
pub(crate) enum Ended {
    /// It is done, by this process.
    Finished,
    /// Another process has done it.
    Elsewhere,
    /// Another process is working on it.
    Claimed,
    /// It failed, here or in another process in the meantime.
    Failed(String),
    /// It was asked to end.
    Interrupted,
}

/// Does every missing run of the experiment, as many at a time as `options` say, sharing the
/// threads, then writes its tables and plots. A run that fails does not stop the others. Other
/// processes may do the same in the same folder: each run is done by one of them, and all wait for
/// the last.
pub fn run(
    experiment: &Experiment,
    results: &Path,
    store: &DataStore,
    options: impl Into<Options>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Summary> {
    let options = options.into();
    let (jobs, stale_after) = (options.jobs, options.stale_after);
    let plan = Plan::new(experiment)?;
    let chosen = plan.choose(options.only.as_ref())?;
    let folder = results.join(&plan.name);
    // Results of another generation or of other images stay as they are; nothing is mixed with
    // them.
    Plan::read(&folder)?;
    let done = plan.finished(&folder)?;
    for run in &done {
        check_images(&folder.join(&run.name), &run.config, store)?;
    }
    record::check_writable(&folder)?;
    plan.write(&folder)?;
    let claims = Claims::open(&folder, stale_after)?;
    remove_temporary(&folder, stale_after, |run| Ok(claims.alive(run)?.is_some()))?;
    tidy(&folder, &claims)?;
    let mut summary = Summary { folder: folder.clone(), ..Summary::default() };
    let is_there = |run: &Run| done.iter().any(|done| done.name == run.name);
    let (there, mut left): (Vec<&Run>, Vec<&Run>) =
        chosen.iter().copied().partition(|run| is_there(run));
    summary.present = there.len();
    let is_record = |run: &&&Run| !folder.join(&run.name).join(record::SCORES).exists();
    summary.records = there.iter().filter(is_record).count();
    for run in there {
        claims.tidy(&run.name)?;
    }
    let logged = Logged::new(&folder, progress);
    let watching = claims.watching(&logged);
    let on_cards = left.iter().any(|run| matches!(run.config.device.0, DeviceName::Cuda(_)));
    ensure!(
        options.devices.is_empty() || on_cards || left.is_empty(),
        "--devices: no run of {} is for a card; set device = \"cuda:0\"",
        plan.name
    );
    let every = options.checkpoints;
    let work = Work::new(&folder, &claims, &left, store, &watching, cancel, every)?;
    let here = left.iter().map(|run| &run.config).filter(|c| c.device.0 == DeviceName::Cpu);
    let mut interrupted = false;
    match jobs.resolve(&here.collect::<Vec<_>>(), cancel) {
        Err(e) if e.is::<Interrupted>() => interrupted = true,
        resolved => summary.jobs = resolved?,
    }
    while !left.is_empty() && !interrupted {
        let ended = match work.pass(&left, &options, &mut summary.jobs) {
            Err(e) if e.is::<Interrupted>() => {
                interrupted = true;
                break;
            }
            ended => ended?,
        };
        left.clear();
        for (run, ended) in ended {
            match ended {
                Ended::Finished => summary.finished += 1,
                Ended::Elsewhere => summary.elsewhere += 1,
                Ended::Claimed => left.extend(chosen.iter().find(|r| r.name == run)),
                Ended::Failed(error) => summary.failed.push((run, error)),
                Ended::Interrupted => interrupted = true,
            }
        }
        match work.wait(&left) {
            Err(e) if e.is::<Interrupted>() => interrupted = true,
            waited => waited?,
        }
    }
    if interrupted {
        let done = plan.finished(&folder)?;
        let done = chosen.iter().filter(|run| done.iter().any(|d| d.name == run.name)).count();
        return Err(anyhow!(Interrupted)
            .context(format!("{done} of {} runs are done and kept", chosen.len())));
    }
    for run in &chosen {
        if run.is_done(&folder)? {
            continue;
        }
        if summary.failed.iter().all(|(name, _)| *name != run.name) {
            let path = folder.join(&run.name);
            let error = format!("{}: it was done, and the folder has vanished", path.display());
            summary.failed.push((run.name.clone(), error));
        }
    }
    if plan.finished(&folder)?.is_empty() {
        let (name, error) = summary.failed.first().cloned().unwrap_or_default();
        bail!("all {} runs failed; the first, {name}: {error}", summary.failed.len());
    }
    summary.table = write_tables(&plan, &folder).with_context(|| match summary.failed.first() {
        Some((name, error)) => {
            format!("{} runs failed; the first, {name}: {error}", summary.failed.len())
        }
        None => "the runs are done, but not the tables".into(),
    })?;
    Ok(summary)
}

/// Removes what processes left of runs that they had just finished: checkpoints and claims.
fn tidy(results: &Path, claims: &Claims) -> Result<()> {
    checkpoint::remove_done(results)?;
    claims.remove_done(|run| record::is_run(&results.join(run)))
}

/// Rejects a finished run that used other images than those in the data folder.
fn check_images(run: &Path, config: &RunConfig, store: &DataStore) -> Result<()> {
    let theirs = Provenance::read(run)?.images_sha256.unwrap_or_default();
    let ours = store.images_sha256(&config.dataset)?;
    ensure!(
        theirs == ours,
        "{}: this run saw other images of {} (SHA-256 {}) than those in {} ({}). Bring those images \
         back, or use another folder for the results of these (--results, or --name for a sweep)",
        run.display(),
        config.dataset,
        head(&theirs),
        store.dir().display(),
        head(&ours)
    );
    Ok(())
}

/// Does one run in `results` of its experiment and returns its folder. Fails if another process is
/// working on it.
pub fn run_one(
    config: &RunConfig,
    results: &Path,
    store: &DataStore,
    progress: &dyn Progress,
    cancel: &Cancel,
    every: Every,
) -> Result<PathBuf> {
    let run = Run { name: config.run_name()?, config: config.clone() };
    let folder = results.join(&run.name);
    // A folder of another generation is left alone.
    Plan::read(results)?;
    if run.is_done(results)? {
        check_images(&folder, config, store)?;
        checkpoint::remove(results, &run.name)?;
        return Ok(folder);
    }
    record::check_writable(results)?;
    let claims = Claims::open(results, STALE_AFTER)?;
    tidy(results, &claims)?;
    let logged = Logged::new(results, progress);
    let watching = claims.watching(&logged);
    let work = Work::new(results, &claims, &[&run], store, &watching, cancel, every)?;
    match work.one(&run)? {
        Ended::Finished | Ended::Elsewhere => Ok(folder),
        Ended::Claimed => bail!("{}: another process is at this run", folder.display()),
        Ended::Failed(error) => Err(anyhow!(error)),
        Ended::Interrupted => Err(anyhow!(Interrupted)),
    }
}

/// What every run of a sweep needs.
pub(crate) struct Work<'a> {
    pub(crate) folder: &'a Path,
    claims: &'a Claims,
    pub(crate) store: &'a DataStore,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) cancel: &'a Cancel,
    every: Every,
    /// Runs that had failed before this sweep began.
    before: HashMap<String, Failure>,
}

impl<'a> Work<'a> {
    fn new(
        folder: &'a Path,
        claims: &'a Claims,
        runs: &[&Run],
        store: &'a DataStore,
        progress: &'a dyn Progress,
        cancel: &'a Cancel,
        every: Every,
    ) -> Result<Self> {
        let mut before = HashMap::new();
        for run in runs {
            before.extend(failure::last(folder, &run.name)?.map(|f| (run.name.clone(), f)));
        }
        Ok(Self { folder, claims, store, progress, cancel, every, before })
    }

    /// The checkpoints of a run.
    pub(crate) fn checkpoints(&self, run: &str, config: &RunConfig) -> Result<Checkpoints> {
        Checkpoints::new(self.folder, run, config, self.every)
    }

    /// Tries each run once.
    fn pass(
        &self,
        runs: &[&Run],
        options: &Options,
        most: &mut usize,
    ) -> Result<Vec<(String, Ended)>> {
        let on_processor = |run: &&Run| run.config.device.0 == DeviceName::Cpu;
        let (here, on_cards): (Vec<&Run>, Vec<_>) = runs.iter().copied().partition(on_processor);
        let at_once = (*most).min(here.len()).max(1);
        let ended = side_by_side(here.len(), at_once, |index| self.one(here[index]))?;
        let mut all = Vec::new();
        for (run, ended) in here.iter().zip(ended) {
            // A problem with one run, such as a claim that cannot be written, is no reason to skip
            // the others.
            let ended = ended.unwrap_or_else(|e| Ended::Failed(format!("{e:#}")));
            all.push((run.name.clone(), ended));
        }
        let on_cards: Vec<Named<'_>> =
            on_cards.iter().map(|run| (run.name.clone(), &run.config)).collect();
        let (groups, on_cards) = cards::run(&on_cards.iter().collect::<Vec<_>>(), options, self)?;
        *most = (*most).max(groups);
        all.extend(on_cards);
        Ok(all)
    }

    /// Takes one run from config to folder, if it can be claimed.
    fn one(&self, run: &Run) -> Result<Ended> {
        let claim = match self.claim(&run.name)? {
            Ok(claim) => claim,
            Err(ended) => return Ok(ended),
        };
        let done = self.train(run, &claim.cancel(self.cancel));
        self.end(&run.name, claim, done)
    }

    fn train(&self, run: &Run, cancel: &Cancel) -> Result<Metrics> {
        let Run { name, config } = run;
        let checkpoints = &self.checkpoints(name, config)?;
        let outcome = if config.device.0 == DeviceName::Cpu {
            train::train(config, name, self.store, self.progress, cancel, checkpoints)?
        } else {
            // `cancel` is set when the claim is lost, too.
            let lost = &Cancel::default();
            let member = lockstep::Member { config, name, checkpoints, lost };
            let device = config.device.0;
            let outcomes = lockstep::train(&[member], device, self.store, self.progress, cancel)?;
            outcomes.into_iter().next().context("no outcome")??
        };
        record::write(&self.folder.join(name), name, config, &outcome)
    }

    /// Claims a run, or returns why it need not or cannot be done now.
    pub(crate) fn claim(&self, run: &str) -> Result<Result<Claim, Ended>> {
        // After Ctrl-C no run begins, and each one left returns that.
        if self.cancel.is_set() {
            return Ok(Err(Ended::Interrupted));
        }
        if self.folder.join(run).exists() {
            return Ok(Err(Ended::Elsewhere));
        }
        let Taken::Ours(claim) = self.claims.take(run)? else { return Ok(Err(Ended::Claimed)) };
        // Checked again, as its last owner may have ended since; by listing the folder, which
        // shared file systems read afresh.
        if names_in(self.folder)?.iter().any(|name| name == run) {
            return Ok(Err(Ended::Elsewhere));
        }
        match failure::last(self.folder, run)? {
            Some(failure) if self.before.get(run) != Some(&failure) => {
                let Failure { host, pid, error, .. } = failure;
                return Ok(Err(Ended::Failed(format!("{error} (on {host}, process {pid})"))));
            }
            _ => {}
        }
        // The process that was writing them is dead, or has lost the run.
        remove_partial(self.folder, run)?;
        Ok(Ok(claim))
    }

    /// Keeps the error of a run that failed, and gives its claim back.
    pub(crate) fn end(&self, run: &str, claim: Claim, outcome: Result<Metrics>) -> Result<Ended> {
        let ended = match outcome {
            Ok(metrics) => {
                let (auroc, [low, high]) = (metrics.auroc, metrics.auroc_interval);
                self.progress.say(&format!("{run}: done, AUROC {auroc:.3} [{low:.3}, {high:.3}]"));
                // The run is there; its earlier failure no longer matters.
                if let Err(e) = failure::forget(self.folder, run) {
                    self.progress.say(&format!("{e:#}"));
                }
                checkpoint::remove(self.folder, run)?;
                Ended::Finished
            }
            // Held up so long that another process took over and was faster.
            Err(_) if self.folder.join(run).exists() => {
                // What this process wrote after that.
                checkpoint::remove(self.folder, run)?;
                Ended::Elsewhere
            }
            Err(e) if e.is::<Interrupted>() && self.cancel.is_set() => Ended::Interrupted,
            Err(_) if claim.is_lost() => Ended::Claimed,
            Err(e) => {
                let mut error = format!("{e:#}");
                // On a full disk this also fails.
                if let Err(e) = failure::keep(self.folder, run, &error) {
                    error += &format!("; nor can the error be kept: {e:#}");
                }
                self.progress.say(&format!("{run}: failed: {error}"));
                Ended::Failed(error)
            }
        };
        drop(claim);
        Ok(ended)
    }

    /// Waits until all of the runs are done or one of them can be claimed.
    fn wait(&self, runs: &[&Run]) -> Result<()> {
        let mut said = false;
        loop {
            self.cancel.check()?;
            let mut waiting = Vec::new();
            for run in runs {
                if run.is_done(self.folder)? {
                    continue;
                }
                match self.claims.alive(&run.name)? {
                    Some(found) => waiting.push((run, found.owner)),
                    None => return Ok(()),
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
            if !said {
                self.progress.say(&format!("waiting for {} that others are at:", waiting.len()));
                for (run, owner) in waiting {
                    let owner = owner.map(|o| format!(" on {}, process {}", o.host, o.pid));
                    self.progress.say(&format!("  {}{}", run.name, owner.unwrap_or_default()));
                }
                said = true;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}
