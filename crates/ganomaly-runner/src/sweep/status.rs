//! The progress of an experiment: what is done, running, failed and missing, and the time left.

use crate::sweep::claim::{self, Owner};
use crate::sweep::failure::{self, Failure};
use crate::sweep::slurm::Queue;
use anyhow::{Context, Result};
use ganomaly_experiment::plan::{Plan, Run};
use ganomaly_experiment::record;
use indicatif::HumanDuration;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The state of a run.
#[derive(Clone, Debug)]
pub enum State {
    /// Its results are there.
    Done,
    /// A process is working on it; its owner, if the claim can be read.
    Running(Option<Owner>),
    /// The last attempt failed.
    Failed(Failure),
    /// Not done; with the owner of any stale claim.
    Missing(Option<Owner>),
    /// Something else has its name; the text says what.
    Blocked(String),
}

/// The progress of an experiment.
#[derive(Debug)]
pub struct Status {
    /// The plan.
    pub plan: Plan,
    /// Where its results are.
    pub folder: PathBuf,
    /// The state of each run of the plan.
    pub states: Vec<State>,
    /// Finished runs in the folder that are not in the plan.
    pub others: Vec<String>,
    /// What Slurm has of them, or why it cannot be asked.
    pub queue: Result<Queue, String>,
}

/// How long the rest will take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TimeLeft {
    /// Nothing is left.
    None,
    /// No run has progressed far enough for an estimate.
    Unknown,
    /// This long, with as many runs at once as now.
    Running {
        /// The time left.
        left: Duration,
        /// Runs in progress.
        at_once: usize,
    },
    /// Nothing is running; this long, one run after another.
    Idle(Duration),
}

impl Status {
    /// Reads the folder of the plan's results; writes nothing.
    pub fn read(plan: Plan, folder: &Path) -> Result<Self> {
        let states: Vec<State> =
            plan.runs.iter().map(|run| state(run, folder)).collect::<Result<_>>()?;
        let others = plan.others(folder)?;
        let left = states.iter().any(|state| !matches!(state, State::Done));
        let queue = if left { Queue::look(folder) } else { Ok(Queue::default()) };
        let queue = queue.map_err(|e| format!("{e:#}"));
        Ok(Self { plan, folder: folder.to_path_buf(), states, others, queue })
    }

    /// The runs with their states.
    pub fn runs(&self) -> impl Iterator<Item = (&Run, &State)> {
        self.plan.runs.iter().zip(&self.states)
    }

    /// The run's name, plus the swept settings that its name does not show.
    fn title(&self, run: &Run) -> String {
        let named = ["abnormal_class", "normal_class", "seed"];
        let keys = self.plan.swept.iter().filter(|key| !named.contains(&key.as_str()));
        let settings = run.settings(&keys.cloned().collect::<Vec<_>>()).unwrap_or_default();
        let settings: Vec<_> = settings.iter().map(|(k, v)| format!("{k} = {v}")).collect();
        [run.name.clone(), settings.join(", ")].join("  ").trim_end().to_string()
    }

    fn count(&self, of: impl Fn(&State) -> bool) -> usize {
        self.states.iter().filter(|state| of(state)).count()
    }

    /// Estimated from the times of finished runs and the progress of running ones; an epoch counts
    /// the same in every run.
    pub fn time_left(&self) -> TimeLeft {
        let (mut known_s, mut known_epochs, mut left_epochs, mut at_once) = (0.0, 0.0, 0.0, 0);
        for (run, state) in self.runs() {
            let epochs = run.config.epochs as f64;
            match state {
                State::Done => {
                    if let Some(seconds) = record::read_seconds(&self.folder.join(&run.name)) {
                        known_s += seconds;
                        known_epochs += epochs;
                    }
                }
                State::Running(owner) => {
                    at_once += 1;
                    let done = owner.as_ref().map_or(0.0, |o| share(o) * epochs);
                    let own = owner.as_ref().map_or(0.0, |o| own_share(o) * epochs);
                    if let Some(owner) = owner.as_ref().filter(|_| own > 0.0) {
                        known_s += owner.running_s;
                        known_epochs += own;
                    }
                    left_epochs += epochs - done;
                }
                State::Failed(_) | State::Missing(_) | State::Blocked(_) => left_epochs += epochs,
            }
        }
        if self.count(|s| !matches!(s, State::Done)) == 0 {
            return TimeLeft::None;
        }
        let left = known_s / known_epochs * left_epochs / at_once.max(1) as f64;
        match (Duration::try_from_secs_f64(left), at_once) {
            (Err(_), _) => TimeLeft::Unknown,
            (Ok(left), 0) => TimeLeft::Idle(left),
            (Ok(left), at_once) => TimeLeft::Running { left, at_once },
        }
    }

    /// Human-readable: the counts, one line per unfinished run, the time left, and what is not in
    /// the plan.
    pub fn to_text(&self) -> String {
        let counts = [
            (self.count(|s| matches!(s, State::Done)), "done"),
            (self.count(|s| matches!(s, State::Running(_))), "running"),
            (self.count(|s| matches!(s, State::Failed(_))), "failed"),
            (self.count(|s| matches!(s, State::Missing(_))), "missing"),
        ];
        let blocked = self.count(|s| matches!(s, State::Blocked(_)));
        let blocked = if blocked > 0 { format!(", {blocked} blocked") } else { String::new() };
        let counts = counts.map(|(n, what)| format!("{n} {what}")).join(", ") + &blocked;
        let mut text = format!("{}: {} runs: {counts}\n", self.plan.name, self.states.len());
        let names: Vec<String> = self.plan.runs.iter().map(|run| self.title(run)).collect();
        let width = names.iter().map(String::len).max().unwrap_or(0);
        for (name, (run, state)) in names.iter().zip(self.runs()) {
            let (state, more) = match state {
                State::Done => continue,
                State::Running(owner) => ("running", at_work(run, owner)),
                State::Failed(failure) => {
                    let error = failure.error.lines().next().unwrap_or_default();
                    ("failed", format!("{} ago: {error}", ago(failure.time_unix_s)))
                }
                State::Blocked(why) => ("blocked", why.clone()),
                State::Missing(None) => ("missing", String::new()),
                State::Missing(Some(o)) => {
                    let left = format!("left by process {} on {}, which is gone", o.pid, o.host);
                    ("missing", left)
                }
            };
            let queued = self.queue.as_ref().ok().and_then(|queue| queue.of(&run.name));
            let more = [more.as_str(), queued.unwrap_or_default()];
            let more = more.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
            let line = format!("  {state:7}  {name:width$}  {}", more.join("; "));
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let left = match self.time_left() {
            TimeLeft::None => None,
            TimeLeft::Unknown => Some("time left: not known, as no run is far enough".to_string()),
            TimeLeft::Running { left, at_once } => {
                Some(format!("time left: about {}, {at_once} at once", HumanDuration(left)))
            }
            TimeLeft::Idle(left) => Some(format!(
                "nothing is running; what is left takes about {}, one run after another",
                HumanDuration(left)
            )),
        };
        text.extend(left.map(|left| format!("  {left}\n")));
        if let Err(why) = &self.queue {
            let _ = writeln!(text, "  what Slurm has is not known: {why}");
        }
        if !self.others.is_empty() {
            let _ = writeln!(
                text,
                "  {} finished with other configs or generations, not in this plan: {}",
                self.others.len(),
                self.others.join(", ")
            );
        }
        text
    }

    /// Human-readable: what a sweep would do, one line per run of `chosen`.
    pub fn dry_run(&self, chosen: &[&Run]) -> Result<String> {
        let mut text = String::new();
        let mut to_do = 0;
        for (run, state) in self.runs() {
            if chosen.iter().all(|c| c.name != run.name) {
                continue;
            }
            let what = match state {
                State::Done => "there already".to_string(),
                State::Running(owner) => format!("under way: {}", at_work(run, owner)),
                State::Failed(failure) => format!("would be tried again, after: {}", failure.error),
                State::Missing(_) => "would be done".to_string(),
                State::Blocked(why) => format!("would stop the sweep: {why}"),
            };
            to_do += usize::from(matches!(state, State::Failed(_) | State::Missing(_)));
            let settings = run.settings(&self.plan.swept)?;
            let settings: Vec<_> = settings.iter().map(|(k, v)| format!("{k} = {v}")).collect();
            let settings = settings.join(", ");
            let _ = writeln!(
                text,
                "{}  {settings}{}{what}",
                run.name,
                if settings.is_empty() { "" } else { "; " }
            );
        }
        let _ = writeln!(
            text,
            "{to_do} of {} runs would be done, into {}; nothing has been written",
            chosen.len(),
            self.folder.display()
        );
        Ok(text)
    }
}

fn state(run: &Run, folder: &Path) -> Result<State> {
    match run.is_done(folder) {
        Ok(true) => return Ok(State::Done),
        Ok(false) => {}
        Err(e) => return Ok(State::Blocked(format!("{e:#}"))),
    }
    let claim = match claim::look(folder, &run.name) {
        Err(e) => return Ok(State::Blocked(format!("{e:#}"))),
        claim => claim?,
    };
    if let Some((found, false)) = claim {
        return Ok(State::Running(found.owner));
    }
    // Checked last: a run may have ended in the meantime, which is not a gap.
    if run.is_done(folder)? {
        return Ok(State::Done);
    }
    let failure = failure::last(folder, &run.name).context("the last failure")?;
    Ok(match failure {
        Some(failure) => State::Failed(failure),
        None => State::Missing(claim.and_then(|(found, _)| found.owner)),
    })
}

/// The fraction of its training that a running run has done, from 0 to 1.
fn share(owner: &Owner) -> f64 {
    match owner.steps {
        0 => 0.0,
        steps => (owner.steps_done as f64 / steps as f64).min(1.0),
    }
}

/// The fraction that this owner has done, without what an earlier owner's checkpoint held.
fn own_share(owner: &Owner) -> f64 {
    share(owner) * (owner.steps_done.saturating_sub(owner.steps_before)) as f64
        / owner.steps_done.max(1) as f64
}

fn at_work(run: &Run, owner: &Option<Owner>) -> String {
    let Some(owner) = owner else { return "just begun".into() };
    let epoch = match owner.epoch {
        0 => "before its first step".to_string(),
        epoch => {
            let percent = 100.0 * share(owner);
            format!("epoch {epoch} of {} ({percent:.0} %)", run.config.epochs)
        }
    };
    let running = HumanDuration(Duration::try_from_secs_f64(owner.running_s).unwrap_or_default());
    format!("{epoch}, for {running}, by process {} on {}", owner.pid, owner.host)
}

/// Time since then, by this machine's clock.
fn ago(unix_s: u64) -> HumanDuration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    HumanDuration(now.saturating_sub(Duration::from_secs(unix_s)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ganomaly_experiment::config::Experiment;
    use ganomaly_experiment::registry::Registry;
    use std::fs;

    /// Four runs of 10 epochs.
    fn status(folder: &Path, states: Vec<State>) -> Status {
        let text = "dataset = \"synthetic\"\nepochs = 10\nseed = 0\n[sweep]\nabnormal_class = [0, 1, 2, 3]\n";
        let plan =
            Plan::new(&Experiment::parse("p", text, &[], &Registry::builtin()).unwrap()).unwrap();
        let folder = folder.to_path_buf();
        Status { plan, folder, states, others: Vec::new(), queue: Ok(Queue::default()) }
    }

    fn running(running_s: f64, steps_done: u64) -> State {
        let text = format!(
            "host = \"h\"\npid = 1\nmachine = \"m\"\nid = \"i\"\nstarted_unix_s = 0\nrunning_s = {running_s:?}\n\
             stale_after_s = 60.0\nepoch = 5\nsteps_done = {steps_done}\nsteps = 100\n"
        );
        State::Running(Some(toml::from_str(&text).unwrap()))
    }

    #[test]
    fn the_time_left_comes_from_finished_and_running_runs() {
        let folder = tempfile::tempdir().unwrap();
        let missing = || State::Missing(None);
        let left = |states| status(folder.path(), states).time_left();
        assert_eq!(left(vec![missing(), missing(), missing(), missing()]), TimeLeft::Unknown);
        assert_eq!(left(vec![running(9.0, 0), missing(), missing(), missing()]), TimeLeft::Unknown);
        // Half a run in 20 s: 40 s per run, and three and a half are left.
        assert_eq!(
            left(vec![running(20.0, 50), missing(), missing(), missing()]),
            TimeLeft::Running { left: Duration::from_secs(140), at_once: 1 }
        );
        // One in 60 s, another half in 20 s: 80 s for 15 epochs; 25 are left, two runs at once.
        let name = status(folder.path(), Vec::new()).plan.runs[0].name.clone();
        fs::create_dir(folder.path().join(&name)).unwrap();
        let record = r#"{"version": "", "dataset": "", "threads": 1, "target": "", "finished_unix_s": 1, "train_s": 50, "score_s": 10}"#;
        fs::write(folder.path().join(&name).join("run.json"), record).unwrap();
        let TimeLeft::Running { left: time, at_once: 2 } =
            left(vec![State::Done, running(20.0, 50), running(0.0, 0), missing()])
        else {
            panic!("two are running")
        };
        assert!((time.as_secs_f64() - 80.0 / 15.0 * 25.0 / 2.0).abs() < 1e-6, "{time:?}");
        assert_eq!(
            left(vec![State::Done, missing(), missing(), missing()]),
            TimeLeft::Idle(Duration::from_secs(180))
        );
        assert_eq!(left(vec![State::Done, State::Done, State::Done, State::Done]), TimeLeft::None);
        let text =
            status(folder.path(), vec![State::Done, running(20.0, 50), missing(), missing()]);
        assert!(text.to_text().contains("epoch 5 of 10 (50 %), for 20 seconds, by process 1 on h"));
    }
}
