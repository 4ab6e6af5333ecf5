//! How a process is asked to end: Ctrl-C, SIGTERM, and SIGHUP, which a closing terminal sends.

use crate::terminal::say;
use anyhow::{Context, Result, bail};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by Ctrl-C; every loop checks it once per batch.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    own: Arc<AtomicBool>,
    /// Other flags that set this one.
    others: Vec<Arc<AtomicBool>>,
}

/// The error of a run that was asked to end.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// The exit code of a process that ended because it was asked to.
pub const EXIT_CODE: u8 = 130;

impl Cancel {
    /// Sets it.
    pub fn set(&self) {
        self.own.store(true, Ordering::Relaxed);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        std::iter::once(&self.own).chain(&self.others).any(|flag| flag.load(Ordering::Relaxed))
    }

    /// The flag that setting this sets.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.own.clone()
    }

    /// Returns one that is set when this one or the other is; setting it sets this one.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let others = self.others.iter().chain([&other.own]).chain(&other.others);
        Self { own: self.own.clone(), others: others.cloned().collect() }
    }

    /// Returns an [`Interrupted`] error once it is set.
    pub fn check(&self) -> Result<()> {
        if self.is_set() {
            bail!(Interrupted);
        }
        Ok(())
    }

    /// One that Ctrl-C, SIGTERM and SIGHUP set; the second signal ends the process at once. A
    /// signal that this process was started to ignore (`nohup`) stays ignored, if the system
    /// reports it.
    pub fn of_signals() -> Result<Self> {
        let cancel = Self::default();
        let wanted = wanted();
        for &signal in &wanted {
            // In this order: the first signal sets what the second checks.
            signal_hook::flag::register_conditional_shutdown(
                signal,
                EXIT_CODE.into(),
                cancel.flag(),
            )
            .and_then(|_| signal_hook::flag::register(signal, cancel.flag()))
            .with_context(|| format!("signal {signal} cannot be caught"))?;
        }
        #[cfg(unix)]
        acknowledge(&wanted)?;
        Ok(cancel)
    }
}

/// Reports a signal on its own thread: a handler must not wait for a terminal.
#[cfg(unix)]
fn acknowledge(wanted: &[i32]) -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new(wanted)?;
    let wait = move || {
        if signals.forever().next().is_some() {
            say("ending after this step; again to end at once");
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)?;
    Ok(())
}

#[cfg(unix)]
fn wanted() -> Vec<i32> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let ignored = ignored();
    let all = [SIGINT, SIGTERM, SIGHUP];
    all.into_iter().filter(|signal| (ignored >> (signal - 1)) & 1 == 0).collect()
}

#[cfg(not(unix))]
fn wanted() -> Vec<i32> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    vec![SIGINT, SIGTERM]
}

/// The signals that this process ignores, one bit each; none if the system does not report them
/// (Linux does).
#[cfg(unix)]
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
