//! An experiment: its runs, one or more at a time, in this and other processes.

pub mod all;
pub mod claim;
pub mod failure;
mod fastest;
mod groups;
pub mod jobs;
mod log;
mod pass;
pub mod slurm;
pub mod status;
mod work;

pub use work::Options;

use crate::checkpoint::{self, CheckpointInterval};
use crate::interrupt::{Cancel, Interrupted};
use crate::progress::Progress;
use anyhow::{Result, anyhow, bail, ensure};
use claim::{Claims, STALE_AFTER};
use ganomaly_experiment::config::{DeviceName, Experiment, RunConfig};
use ganomaly_experiment::files::remove_temporary;
use ganomaly_experiment::plan::{Plan, Run, head};
use ganomaly_experiment::record;
use ganomaly_experiment::record::provenance::Provenance;
use ganomaly_experiment::run_data::DataStore;
use log::Logged;
use std::path::{Path, PathBuf};
use work::{RunEnd, SweepContext};

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
}

/// Does every missing run of the experiment, as many at a time as `options` say, sharing the
/// threads. A run that fails does not stop the others. Other
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
    let chosen = plan.choose(options.only.as_ref(), store.registry())?;
    let folder = results.join(&plan.name);
    // Results of another generation or of other images stay as they are; nothing is mixed with
    // them.
    Plan::read(&folder, store.registry())?;
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
        "--devices: no run of {} is for a GPU; set device = \"cuda:0\"",
        plan.name
    );
    let every = options.checkpoints;
    let work = SweepContext::new(&folder, &claims, &left, store, &watching, cancel, every)?;
    let here = left.iter().map(|run| &run.config).filter(|c| c.device.0 == DeviceName::Cpu);
    let mut interrupted = false;
    match jobs.resolve(&here.collect::<Vec<_>>(), store.registry(), cancel) {
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
                RunEnd::Finished => summary.finished += 1,
                RunEnd::Elsewhere => summary.elsewhere += 1,
                RunEnd::Claimed => left.extend(chosen.iter().find(|r| r.name == run)),
                RunEnd::Failed(error) => summary.failed.push((run, error)),
                RunEnd::Interrupted => interrupted = true,
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
    let ours = store.images_sha256(&config.source())?;
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
    every: CheckpointInterval,
) -> Result<PathBuf> {
    let run = Run { name: config.run_name()?, config: config.clone() };
    let folder = results.join(&run.name);
    // A folder of another generation is left alone.
    Plan::read(results, store.registry())?;
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
    let work = SweepContext::new(results, &claims, &[&run], store, &watching, cancel, every)?;
    match work.one(&run)? {
        RunEnd::Finished | RunEnd::Elsewhere => Ok(folder),
        RunEnd::Claimed => bail!("{}: another process is at this run", folder.display()),
        RunEnd::Failed(error) => Err(anyhow!(error)),
        RunEnd::Interrupted => Err(anyhow!(Interrupted)),
    }
}
