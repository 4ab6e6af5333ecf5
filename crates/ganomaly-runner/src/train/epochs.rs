//! The only training loop: epochs, scoring, checkpoints, interruption, and losses that are not
//! finite, for one run as for thirty.

use super::engine::{Engine, Losses, Taken};
use super::start::Member;
use crate::checkpoint::{Checkpoint, Checkpoints, RunState};
use crate::interrupt::{Cancel, Interrupted};
use crate::progress::RunProgress;
use anyhow::{Context, Result, anyhow};
use ganomaly_data::{Purpose, shuffled};
use ganomaly_experiment::config::{OnNan, RunConfig};
use ganomaly_experiment::record::Lowered;
use ganomaly_experiment::run_data::RunData;
use ganomaly_model::NamedTensors;
use std::time::Instant;

/// What may help if a loss is not finite.
const NAN_ADVICE: &str =
    "A lower lr, other weights of the losses, or on_nan = \"lower-lr\" may help";

/// The learning rate is divided by this if a loss is not finite.
const LOWER_BY: f64 = 10.0;

/// How often it is lowered at most.
const LOWERED_AT_MOST: usize = 3;

/// Runs in progress, all at the same place. Between any two calls of the engine, `states` and the
/// engine belong together.
pub(super) struct Training<'a, E: Engine> {
    pub engine: E,
    pub members: &'a [Member<'a>],
    pub data: &'a [RunData],
    pub bars: Vec<Box<dyn RunProgress>>,
    pub cancel: &'a Cancel,
    pub states: Vec<RunState>,
    /// Why a run goes no further; the others of its group do.
    pub failed: Vec<Option<anyhow::Error>>,
    /// The only run's state at the start of the epoch, if its config says to go back there.
    pub epoch_start: NamedTensors,
}

/// A loss or a weight that is not finite.
struct NotFinite {
    step: usize,
    what: String,
}

impl<E: Engine> Training<'_, E> {
    /// Does epochs until all runs are done or have failed. When interrupted, it leaves checkpoints.
    pub fn run(&mut self) -> Result<()> {
        if let [state] = self.states.as_slice()
            && !state.lowered.is_empty()
        {
            let states = self.engine.training_states()?;
            let state = states.first().context("a run without a state")?;
            self.engine.go_back(state, self.learning_rate())?;
        }
        let done = self.epochs();
        if done.as_ref().is_err_and(anyhow::Error::is::<Interrupted>) {
            self.save();
        }
        done
    }

    fn epochs(&mut self) -> Result<()> {
        let epochs = self.config().epochs;
        while self.states[0].epoch <= epochs && self.failed.iter().any(Option::is_none) {
            self.cancel.check()?;
            self.drop_lost();
            match self.train_epoch()? {
                None => {
                    self.cancel.check()?;
                    self.score_epoch()?;
                }
                Some(wrong) => self.lower_learning_rate(wrong)?,
            }
        }
        Ok(())
    }

    /// What all runs share; they differ in class and seed.
    pub(super) fn config(&self) -> &RunConfig {
        self.members[0].config
    }

    /// Steps per epoch of a run.
    pub(super) fn steps(&self, run: usize) -> usize {
        self.data[run].split.train.len() / self.config().batch_size
    }

    /// Steps of the whole run so far.
    fn steps_taken(&self, run: usize) -> u64 {
        ((self.states[run].epoch - 1) * self.steps(run) + self.states[run].step) as u64
    }

    /// Ends the runs that other processes have taken over. A group's kernels process all of its
    /// runs, so these continue with the others, and their results are ignored.
    fn drop_lost(&mut self) {
        for (member, failed) in self.members.iter().zip(&mut self.failed) {
            if member.lost.is_set() {
                failed.get_or_insert_with(|| Interrupted.into());
            }
        }
    }

    /// Takes the rest of the epoch's steps. Ends early if a loss of the only run is not finite and
    /// its config says to go back.
    fn train_epoch(&mut self) -> Result<Option<NotFinite>> {
        let goes_back = self.config().on_nan.0 == OnNan::LowerLr;
        if self.states[0].step == 0 && goes_back {
            self.epoch_start = self.engine.training_states()?.pop().unwrap_or_default();
        }
        // Configs have at most ten million epochs.
        let epoch = self.states[0].epoch as u32;
        let batch = self.config().batch_size;
        let runs = self.members.iter().zip(self.data).zip(&self.states);
        let orders = runs.map(|((member, data), state)| {
            let seed = member.config.seed();
            shuffled(&data.split.train, seed, Purpose::EPOCH, epoch.into())
                .split_off(state.step * batch)
        });
        self.engine.begin(epoch, orders.collect())?;
        let from: Vec<(usize, f64)> = self.states.iter().map(|s| (s.step, s.train_s)).collect();
        let started = Instant::now();
        loop {
            self.cancel.check()?;
            let Some(taken) = self.engine.advance()? else { break };
            let seconds = started.elapsed().as_secs_f64();
            for (run, taken) in taken.into_iter().enumerate() {
                let wrong = self.record(run, taken, from[run], seconds);
                match wrong {
                    Some(wrong) if goes_back => return Ok(Some(wrong)),
                    Some(wrong) => self.fail(run, &wrong),
                    None => {}
                }
            }
            if self.failed.iter().all(Option::is_some) {
                return Ok(None);
            }
            // Of a whole epoch, scoring is the shorter part and can be repeated.
            if !E::WHOLE_EPOCHS {
                self.save_if_due();
            }
        }
        for (run, what) in self.engine.not_finite()?.into_iter().enumerate() {
            let Some(what) = what else { continue };
            let wrong = NotFinite { step: self.states[run].step, what };
            if goes_back {
                return Ok(Some(wrong));
            }
            self.fail(run, &wrong);
        }
        Ok(None)
    }

    /// Takes note of a run's steps, unless their losses are not finite. `from` is where the epoch
    /// was entered, `seconds` ago.
    fn record(
        &mut self,
        run: usize,
        Taken { steps, losses }: Taken,
        from: (usize, f64),
        seconds: f64,
    ) -> Option<NotFinite> {
        if self.failed[run].is_some() {
            // It continues with the others, and its results are ignored.
            self.states[run].step += steps;
            return None;
        }
        if let Some((loss, value)) = losses.iter().find(|(_, value)| !value.is_finite()) {
            let what = match E::WHOLE_EPOCHS {
                true => format!(
                    "the mean loss {loss} is {value} (a GPU's losses are read once an epoch)"
                ),
                false => format!("the loss {loss} is {value}"),
            };
            self.states[run].step += if E::WHOLE_EPOCHS { steps } else { 0 };
            let step = self.states[run].step + usize::from(!E::WHOLE_EPOCHS);
            return Some(NotFinite { step, what });
        }
        let config = self.members[run].config;
        let (watched, state) = (headlines(&losses, config), &mut self.states[run]);
        state.step += steps;
        state.train_s = from.1 + seconds;
        let images = ((state.step - from.0) * config.batch_size) as f64;
        for _ in 0..steps {
            self.bars[run].step(state.epoch, &watched, images / seconds);
        }
        if state.losses.is_empty() {
            state.losses = losses;
        } else {
            for (sum, (_, value)) in state.losses.iter_mut().zip(losses) {
                sum.1 += value;
            }
        }
        None
    }

    pub(super) fn save_if_due(&mut self) {
        let mut runs = self.members.iter().enumerate();
        if runs.any(|(run, member)| member.checkpoints.is_due(self.steps_taken(run))) {
            self.save();
        }
    }

    /// Writes the checkpoints of all runs that have begun and not failed. If that fails, the runs
    /// are unaffected and continue.
    fn save(&mut self) {
        // The process that took over a lost run writes its checkpoints.
        let keeps = |run: &usize| {
            let begun = self.steps_taken(*run) > 0 || !self.states[*run].lowered.is_empty();
            let member = &self.members[*run];
            let gone = self.failed[*run].is_some() || member.lost.is_set();
            begun && !gone && member.checkpoints.are_wanted()
        };
        let runs: Vec<usize> = (0..self.members.len()).filter(keeps).collect();
        if runs.is_empty() {
            return;
        }
        let states = self.engine.training_states();
        for run in runs {
            let detector = match &states {
                Ok(states) => states[run].clone(),
                Err(e) => {
                    self.bars[run].say(&format!("no checkpoint is written: {e:#}"));
                    continue;
                }
            };
            let (state, epoch_start) = (self.states[run].clone(), self.epoch_start.clone());
            let (epoch, step) = (state.epoch, state.step);
            let checkpoint = Checkpoint { state, detector, epoch_start };
            let (taken, checkpoints) = (self.steps_taken(run), self.members[run].checkpoints);
            let saved = checkpoint
                .check_finite()
                .and_then(|()| checkpoints.save(&checkpoint, taken, &self.data[run]));
            match saved {
                Err(e) => self.bars[run].say(&format!("no checkpoint is written: {e:#}")),
                Ok(_) if self.cancel.is_set() => {
                    self.bars[run].say(&format!("checkpoint at epoch {epoch}, step {step}"));
                }
                Ok(_) => {}
            }
        }
    }

    /// Ends a run whose loss or weight is not finite.
    fn fail(&mut self, run: usize, NotFinite { step, what }: &NotFinite) {
        let (epoch, steps) = (self.states[run].epoch, self.steps(run));
        let good = last_good(self.members[run].checkpoints);
        self.failed[run] =
            Some(anyhow!("epoch {epoch}, step {step} of {steps}: {what}. {NAN_ADVICE}; {good}"));
    }

    /// Goes back to the epoch's start with a lower learning rate, if the rate has not been lowered
    /// too often; else the run fails.
    fn lower_learning_rate(&mut self, NotFinite { step, what }: NotFinite) -> Result<()> {
        let (epoch, steps) = (self.states[0].epoch, self.steps(0));
        let place = format!("epoch {epoch}, step {step} of {steps}: {what}");
        let checkpoints = self.members[0].checkpoints;
        if self.states[0].lowered.len() == LOWERED_AT_MOST {
            let good = last_good(checkpoints);
            let error = anyhow!("{place}, with lr lowered {LOWERED_AT_MOST} times; {good}");
            self.failed[0] = Some(error);
            return Ok(());
        }
        let state = &mut self.states[0];
        (state.step, state.train_s) = (0, 0.0);
        state.losses.clear();
        let lr = self.learning_rate() / LOWER_BY;
        self.states[0].lowered.push(Lowered { epoch, step, what, lr });
        self.engine.go_back(&self.epoch_start, self.learning_rate())?;
        self.bars[0].say(&format!("{place}; back to the start of epoch {epoch} with lr = {lr}"));
        self.bars[0].go_to(epoch, self.steps_taken(0));
        // Checkpoints of later steps have led here.
        checkpoints.clear()?;
        self.save();
        Ok(())
    }

    /// The only run's.
    fn learning_rate(&self) -> f64 {
        let lr = self.config().number("lr").unwrap_or_default();
        self.states[0].lowered.iter().fold(lr, |lr, _| lr / LOWER_BY)
    }
}

/// Describes the newest checkpoint.
fn last_good(checkpoints: &Checkpoints) -> String {
    match checkpoints.newest() {
        Some((path, epoch, step)) => {
            format!("the last good checkpoint is {} (epoch {epoch}, step {step})", path.display())
        }
        None => "no checkpoint had been written".into(),
    }
}

/// The losses to watch.
pub(super) fn headlines(losses: &[(&'static str, f64)], config: &RunConfig) -> Losses {
    losses.iter().filter(|(name, _)| config.names.headlines.contains(name)).copied().collect()
}
