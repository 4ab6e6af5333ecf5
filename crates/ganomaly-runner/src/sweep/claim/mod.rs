//! Which process does which run when several work on one folder.
//!
//! A claim is a file that only one process can create, kept fresh by a heartbeat. The claims of a
//! run are numbered, `.claims/RUN.1`, `.claims/RUN.2` and so on, and the highest number counts.
//! Whoever finds it stale creates the next, which again only one process can do. So a takeover
//! never has to rename or remove a file that may have become someone else's in the meantime.

mod file;
mod watch;

pub(crate) use file::look;
pub use file::{FOLDER, Found, Owner, STALE_AFTER};

use crate::interrupt::Cancel;
use crate::progress::Progress;
use anyhow::{Context, Result};
use file::{claims_folder, newest, numbers, path_of, read};
use ganomaly_experiment::files::{names_in, now_in, remove_temporary, unique};
use ganomaly_experiment::host;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// The result of trying to claim a run.
#[derive(Debug)]
pub enum Taken {
    /// The run belongs to this process.
    Acquired(Claim),
    /// Someone else has it.
    Held,
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
    steps_before: AtomicU64,
    steps: AtomicU64,
    lost: Cancel,
}

/// A claimed run; dropping it gives the claim back.
#[derive(Debug)]
pub struct Claim {
    shared: Arc<Shared>,
    held: Arc<Held>,
}

/// The state that a panicked thread leaves is still valid: every change here is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Claims {
    /// Opens the claims of an experiment's folder and starts their heartbeat: six beats in the time
    /// after which a claim is stale, and at least one every five seconds.
    pub fn open(results: &Path, stale_after: Duration) -> Result<Self> {
        let folder = claims_folder(results);
        fs::create_dir_all(&folder)
            .with_context(|| format!("{}: cannot create", folder.display()))?;
        remove_temporary(&folder, stale_after, |_| Ok(false))?;
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

    /// Claims a run if nobody has it, or only a process that is gone.
    pub fn take(&self, run: &str) -> Result<Taken> {
        let folder = &self.shared.folder;
        let number = match newest(folder, run)? {
            None => 1,
            Some(found) if self.shared.is_stale(&found)? => {
                let next = found.number.checked_add(1);
                next.with_context(|| {
                    let path = path_of(folder, run, found.number);
                    format!("{}: no claim has such a number; remove it", path.display())
                })?
            }
            Some(_) => return Ok(Taken::Held),
        };
        let held = Held::new(&self.shared, run, number);
        let path = held.path(folder);
        let mut file = match File::create_new(&path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(Taken::Held),
            file => file.with_context(|| format!("{}: cannot create", path.display()))?,
        };
        let claim = Claim { shared: self.shared.clone(), held: Arc::new(held) };
        let text = toml::to_string(&claim.held.owner).context("a claim cannot be written")?;
        if let Err(e) = file.write_all(text.as_bytes()).and_then(|()| file.sync_data()) {
            // Half-written, it would belong to nobody, and everyone would wait until it is stale.
            let _ = fs::remove_file(&path);
            return Err(e).with_context(|| format!("{}: cannot write", path.display()));
        }
        // Between the look and the creation, others may have taken over and removed the lower
        // numbers.
        if !claim.held.is_newest(folder)? {
            return Ok(Taken::Held);
        }
        for lower in numbers(folder, run)?.into_iter().filter(|&n| n < number) {
            let _ = fs::remove_file(path_of(folder, run, lower));
        }
        lock(&self.shared.held).push(claim.held.clone());
        Ok(Taken::Acquired(claim))
    }

    /// Removes a leftover claim on a finished run whose owner is gone.
    pub(crate) fn tidy(&self, run: &str) -> Result<()> {
        match newest(&self.shared.folder, run)? {
            // It is taken over and given back at once.
            Some(found) if self.shared.is_stale(&found)? => self.take(run).map(drop),
            _ => Ok(()),
        }
    }

    /// The claim that a live process has on a run.
    pub fn alive(&self, run: &str) -> Result<Option<Found>> {
        Ok(match newest(&self.shared.folder, run)? {
            Some(found) if !self.shared.is_stale(&found)? => Some(found),
            _ => None,
        })
    }

    /// Removes stale claims on finished runs: their owners ended between finishing the run and
    /// giving it back, and nobody takes it again.
    pub fn remove_done(&self, is_done: impl Fn(&str) -> bool) -> Result<()> {
        for name in names_in(&self.shared.folder)? {
            let Some((run, _)) = name.rsplit_once('.') else { continue };
            if is_done(run) && self.alive(run)?.is_none() {
                // Another process may do the same.
                let _ = fs::remove_file(self.shared.folder.join(&name));
            }
        }
        Ok(())
    }

    /// Notes the progress of each run for the heartbeat to write down, and passes it on.
    pub(crate) fn watching<'a>(&'a self, progress: &'a dyn Progress) -> watch::Watching<'a> {
        watch::Watching { shared: &self.shared, progress }
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
    /// Refreshes every claim until the end.
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
                // A file system that does not answer may do so at the next beat; if it never does,
                // others take over.
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
        Ok(found.age(&self.machine, || now_in(&self.folder))? > limit)
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
            steps_before: 0,
            steps: 0,
            uptime_s: host::uptime_s(),
        };
        Self {
            run: run.to_string(),
            number,
            owner,
            since: Instant::now(),
            epoch: AtomicU64::default(),
            steps_done: AtomicU64::default(),
            steps_before: AtomicU64::default(),
            steps: AtomicU64::default(),
            lost: Cancel::default(),
        }
    }

    fn path(&self, folder: &Path) -> PathBuf {
        path_of(folder, &self.run, self.number)
    }

    /// Whether the file still belongs to this claim and is the one that counts.
    fn is_newest(&self, folder: &Path) -> Result<bool> {
        let newest = newest(folder, &self.run)?;
        let id = newest.and_then(|found| found.owner).map(|owner| owner.id);
        Ok(id.as_ref() == Some(&self.owner.id))
    }

    /// Writes down the run's progress; false if the claim is lost.
    fn freshen(&self, folder: &Path) -> Result<bool> {
        if !self.is_newest(folder)? {
            return Ok(false);
        }
        let owner = Owner {
            running_s: self.since.elapsed().as_secs_f64(),
            epoch: self.epoch.load(Ordering::Relaxed),
            steps_done: self.steps_done.load(Ordering::Relaxed),
            steps_before: self.steps_before.load(Ordering::Relaxed),
            steps: self.steps.load(Ordering::Relaxed),
            uptime_s: host::uptime_s(),
            ..self.owner.clone()
        };
        let text = toml::to_string(&owner)?;
        // Not created if it is gone: the claim is lost then.
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
    /// Set when `cancel` is, and when the claim is lost because this process was held up so long
    /// that another took the run over.
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
        // The number may have become someone else's; a claim that stays becomes stale after a
        // while.
        if matches!(read(&path), Ok(Some((Some(o), _))) if o.id == self.held.owner.id) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests;
