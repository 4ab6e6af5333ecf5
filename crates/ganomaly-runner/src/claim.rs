//! Who does which run, where several processes work on one folder.
//!
//! A claim is a file that only one process can create, kept fresh by a heartbeat. The claims of a run are numbered, `.claims/RUN.1`,
//! `.claims/RUN.2` and so on, and the highest number counts. Whoever finds that one stale creates the next, which again only one process
//! can; so a takeover never has to rename or remove a file that may have become someone else's in between.

use crate::files::{names_in, now_in, unique};
use crate::host;
use crate::progress::{Cancel, Progress, RunProgress};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Without a heartbeat for so long, a claim is stale.
pub const STALE_AFTER: Duration = Duration::from_secs(60);

/// What a claim says of its owner and of how far the run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Owner {
    /// The owner's machine, by its name.
    pub host: String,
    /// The owner's process.
    pub pid: u32,
    /// Whose process numbers `pid` is one of.
    machine: String,
    /// Unlike any other claim's.
    id: String,
    /// When it was claimed, by the owner's clock.
    pub started_unix_s: u64,
    /// How long the owner has been at it.
    pub running_s: f64,
    /// Without a heartbeat for so long, others may take over.
    stale_after_s: f64,
    /// The epoch of the last step; 0 before the first.
    pub epoch: u64,
    /// Training steps taken.
    pub steps_done: u64,
    /// Training steps in all; 0 before they are known.
    pub steps: u64,
}

/// A run's claim as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    number: u64,
    /// None where the file cannot be read as a claim: its owner is writing it, or died while doing so.
    pub owner: Option<Owner>,
    modified: SystemTime,
}

/// What became of the attempt to claim a run.
#[derive(Debug)]
pub enum Taken {
    /// The run is this process's.
    Ours(Claim),
    /// Someone else has it.
    Theirs,
}

/// The claims that this process holds in one folder, and the thread that keeps them fresh.
#[derive(Debug)]
pub struct Claims {
    shared: Arc<Shared>,
    heart: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    stale_after: Duration,
    machine: String,
    held: Mutex<Vec<Arc<Held>>>,
    ended: Mutex<bool>,
    wake: Condvar,
}

#[derive(Debug)]
struct Held {
    run: String,
    number: u64,
    owner: Owner,
    since: Instant,
    epoch: AtomicU64,
    steps_done: AtomicU64,
    steps: AtomicU64,
    lost: Cancel,
}

/// A claimed run; dropping it gives the claim back.
#[derive(Debug)]
pub struct Claim {
    shared: Arc<Shared>,
    held: Arc<Held>,
}

/// What a thread that panicked leaves is still good: every change here is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Claims {
    /// The claims of an experiment's folder, and their heartbeat: six for the time after which a claim is stale, and at least one in five seconds.
    pub fn open(results: &Path, stale_after: Duration) -> Result<Self> {
        let folder = claims_folder(results);
        fs::create_dir_all(&folder)
            .with_context(|| format!("{}: cannot create", folder.display()))?;
        let shared = Arc::new(Shared {
            folder,
            stale_after,
            machine: host::machine(),
            held: Mutex::default(),
            ended: Mutex::default(),
            wake: Condvar::new(),
        });
        let beating = shared.clone();
        let heart = std::thread::Builder::new().name("claims".into()).spawn(move || beating.beat());
        let heart = heart.context("the thread that keeps claims fresh cannot be made")?;
        Ok(Self { shared, heart: Some(heart) })
    }

    /// Claims a run, if nobody has it or only someone who is gone.
    pub fn take(&self, run: &str) -> Result<Taken> {
        let folder = &self.shared.folder;
        let number = match newest(folder, run)? {
            None => 1,
            Some(found) if self.shared.is_stale(&found)? => found.number + 1,
            Some(_) => return Ok(Taken::Theirs),
        };
        let held = Held::new(&self.shared, run, number);
        let path = held.path(folder);
        let mut file = match File::create_new(&path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(Taken::Theirs),
            file => file.with_context(|| format!("{}: cannot create", path.display()))?,
        };
        let claim = Claim { shared: self.shared.clone(), held: Arc::new(held) };
        let text = toml::to_string(&claim.held.owner).context("a claim cannot be written")?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_data())
            .with_context(|| format!("{}: cannot write", path.display()))?;
        // Between looking and creating, others may have taken over and removed the lower numbers.
        if !claim.held.is_newest(folder)? {
            return Ok(Taken::Theirs);
        }
        for lower in numbers(folder, run)?.into_iter().filter(|&n| n < number) {
            let _ = fs::remove_file(path_of(folder, run, lower));
        }
        lock(&self.shared.held).push(claim.held.clone());
        Ok(Taken::Ours(claim))
    }

    /// The claim that someone alive has on a run.
    pub fn alive(&self, run: &str) -> Result<Option<Found>> {
        Ok(match newest(&self.shared.folder, run)? {
            Some(found) if !self.shared.is_stale(&found)? => Some(found),
            _ => None,
        })
    }

    /// Hears how far each run is, for the heartbeat to write down, and passes it on.
    pub(crate) fn watching<'a>(&'a self, progress: &'a dyn Progress) -> Watching<'a> {
        Watching { shared: &self.shared, progress }
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        *lock(&self.shared.ended) = true;
        self.shared.wake.notify_all();
        if let Some(heart) = self.heart.take() {
            let _ = heart.join();
        }
    }
}

impl Shared {
    /// Freshens every claim until the end.
    fn beat(&self) {
        let period = (self.stale_after / 6).min(Duration::from_secs(5));
        let mut ended = lock(&self.ended);
        while !*ended {
            let wait = self.wake.wait_timeout(ended, period);
            ended = wait.unwrap_or_else(PoisonError::into_inner).0;
            if *ended {
                break;
            }
            drop(ended);
            let all = lock(&self.held).clone();
            for held in all {
                // A file system that does not answer may do so at the next beat; if it never does, others take over.
                if let Ok(false) = held.freshen(&self.folder) {
                    held.lost.set();
                }
            }
            ended = lock(&self.ended);
        }
    }

    fn is_stale(&self, found: &Found) -> Result<bool> {
        if found.owner_is_dead(&self.machine) {
            return Ok(true);
        }
        let limit = found.stale_after().unwrap_or(self.stale_after);
        Ok(found.age(now_in(&self.folder)?) > limit)
    }
}

impl Found {
    /// Whether its owner was a process of this machine that is no more.
    fn owner_is_dead(&self, machine: &str) -> bool {
        self.owner.as_ref().is_some_and(|o| o.machine == machine && !host::is_alive(o.pid))
    }

    fn stale_after(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.owner.as_ref()?.stale_after_s).ok()
    }

    fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.modified).unwrap_or_default()
    }
}

impl Held {
    fn new(shared: &Shared, run: &str, number: u64) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let owner = Owner {
            host: host::name(),
            pid: std::process::id(),
            machine: shared.machine.clone(),
            id: unique(),
            started_unix_s: since.map_or(0, |d| d.as_secs()),
            running_s: 0.0,
            stale_after_s: shared.stale_after.as_secs_f64(),
            epoch: 0,
            steps_done: 0,
            steps: 0,
        };
        Self {
            run: run.to_string(),
            number,
            owner,
            since: Instant::now(),
            epoch: AtomicU64::default(),
            steps_done: AtomicU64::default(),
            steps: AtomicU64::default(),
            lost: Cancel::default(),
        }
    }

    fn path(&self, folder: &Path) -> PathBuf {
        path_of(folder, &self.run, self.number)
    }

    /// Whether the file is still this claim's, and the one that counts.
    fn is_newest(&self, folder: &Path) -> Result<bool> {
        let newest = newest(folder, &self.run)?;
        let id = newest.and_then(|found| found.owner).map(|owner| owner.id);
        Ok(id.as_ref() == Some(&self.owner.id))
    }

    /// Writes down how far the run is; false where the claim is lost.
    fn freshen(&self, folder: &Path) -> Result<bool> {
        if !self.is_newest(folder)? {
            return Ok(false);
        }
        let owner = Owner {
            running_s: self.since.elapsed().as_secs_f64(),
            epoch: self.epoch.load(Ordering::Relaxed),
            steps_done: self.steps_done.load(Ordering::Relaxed),
            steps: self.steps.load(Ordering::Relaxed),
            ..self.owner.clone()
        };
        let text = toml::to_string(&owner)?;
        // Not created where it is gone: it is lost then.
        let mut file = match OpenOptions::new().write(true).open(self.path(folder)) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)?;
        file.sync_data()?;
        Ok(true)
    }
}

impl Claim {
    /// Set when `cancel` is, and when the claim is lost: this process was held up for so long that another took the run over.
    pub fn cancel(&self, cancel: &Cancel) -> Cancel {
        self.held.lost.or(cancel)
    }

    /// Whether it is lost, as far as the heartbeat knows.
    pub fn is_lost(&self) -> bool {
        self.held.lost.is_set()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.shared.held).retain(|held| held.owner.id != self.held.owner.id);
        let path = self.held.path(&self.shared.folder);
        // The number may have become someone else's; a claim that stays is stale in a while.
        if read(&path).is_ok_and(|(o, _)| o.is_some_and(|o| o.id == self.held.owner.id)) {
            let _ = fs::remove_file(path);
        }
    }
}

fn claims_folder(results: &Path) -> PathBuf {
    results.join(".claims")
}

fn path_of(folder: &Path, run: &str, number: u64) -> PathBuf {
    folder.join(format!("{run}.{number}"))
}

/// The numbers of a run's claims.
fn numbers(folder: &Path, run: &str) -> Result<Vec<u64>> {
    let number = |name: String| {
        let (of, number) = name.rsplit_once('.')?;
        if of == run { number.parse().ok() } else { None }
    };
    Ok(names_in(folder)?.into_iter().filter_map(number).collect())
}

/// The claim that counts.
fn newest(folder: &Path, run: &str) -> Result<Option<Found>> {
    loop {
        let Some(number) = numbers(folder, run)?.into_iter().max() else { return Ok(None) };
        let path = path_of(folder, run, number);
        match read(&path) {
            Ok((owner, modified)) => return Ok(Some(Found { number, owner, modified })),
            // Given back or taken over since the folder was read.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| format!("{}: cannot read", path.display())),
        }
    }
}

/// Opened anew each time: that is when a shared file system looks whether its copy is up to date.
fn read(path: &Path) -> std::io::Result<(Option<Owner>, SystemTime)> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let modified = file.metadata()?.modified()?;
    Ok((toml::from_str(&String::from_utf8_lossy(&bytes)).ok(), modified))
}

/// A run's claim and whether it is stale, by this machine's own clock, for looking without writing.
pub(crate) fn look(results: &Path, run: &str) -> Result<Option<(Found, bool)>> {
    let Some(found) = newest(&claims_folder(results), run)? else { return Ok(None) };
    let limit = found.stale_after().unwrap_or(STALE_AFTER);
    let stale = found.owner_is_dead(&host::machine()) || found.age(SystemTime::now()) > limit;
    Ok(Some((found, stale)))
}

/// Passes progress on and notes it in the claims.
pub(crate) struct Watching<'a> {
    shared: &'a Shared,
    progress: &'a dyn Progress,
}

struct WatchingRun(Option<Arc<Held>>, Box<dyn RunProgress>);

impl Progress for Watching<'_> {
    fn run(&self, name: &str, steps: u64) -> Box<dyn RunProgress> {
        let held = lock(&self.shared.held).iter().find(|held| held.run == name).cloned();
        if let Some(held) = &held {
            held.steps.store(steps, Ordering::Relaxed);
        }
        Box::new(WatchingRun(held, self.progress.run(name, steps)))
    }

    fn say(&self, line: &str) {
        self.progress.say(line);
    }
}

impl RunProgress for WatchingRun {
    fn step(&self, epoch: usize, losses: &[(&'static str, f64)], images_per_s: f64) {
        if let Some(held) = &self.0 {
            held.epoch.store(epoch as u64, Ordering::Relaxed);
            held.steps_done.fetch_add(1, Ordering::Relaxed);
        }
        self.1.step(epoch, losses, images_per_s);
    }

    fn say(&self, line: &str) {
        self.1.say(line);
    }
}
