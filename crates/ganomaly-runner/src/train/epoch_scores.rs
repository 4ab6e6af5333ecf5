//! The second half of an epoch: its scores. Like training, it can stop after any batch.

use super::engine::Engine;
use super::epochs::{Training, headlines};
use super::scoring::mean_error;
use crate::checkpoint::RunState;
use anyhow::{Context, Result};
use ganomaly_experiment::config::{KeepScores, RunConfig, ScoringMode};
use ganomaly_experiment::record::scores::judged;
use ganomaly_experiment::record::{Epoch, ModeScores};
use ganomaly_experiment::run_data::RunData;
use ganomaly_metrics::auroc;
use ganomaly_model::Scores;
use indicatif::HumanDuration;
use std::time::{Duration, Instant};

/// How often a long scoring reports where it is, where there are no bars.
const REPORT: Duration = Duration::from_secs(60);

impl<E: Engine> Training<'_, E> {
    /// Scores the test images, records the epoch and begins the next.
    pub(super) fn score_epoch(&mut self) -> Result<()> {
        if self.failed.iter().all(Option::is_some) {
            return Ok(());
        }
        let modes = self.config().modes();
        self.score_images(&modes)?;
        let started = Instant::now();
        let validation = match self.chooses_epoch() {
            true => self.engine.validation()?,
            false => vec![Scores::default(); self.members.len()],
        };
        let mut scores = Vec::new();
        for mode in modes {
            let of_mode = self.states.iter().map(|state| state.scored_in(mode)).collect();
            scores.push((mode, self.engine.finish_scoring(mode, of_mode, &validation)?));
        }
        let score_s = self.states[0].score_s + started.elapsed().as_secs_f64();
        for run in 0..self.members.len() {
            let config = self.members[run].config;
            let own: ModeScores =
                scores.iter().map(|(mode, all)| (*mode, all[run].clone())).collect();
            let epoch = self.states[run].epoch;
            let aurocs = match &self.failed[run] {
                None => aurocs(config, epoch, &own, &self.data[run]),
                Some(_) => Ok(Vec::new()),
            };
            let auroc = aurocs.unwrap_or_else(|e| {
                self.failed[run] = Some(e);
                Vec::new()
            });
            let steps = self.steps(run);
            let state = &mut self.states[run];
            let of = if E::WHOLE_EPOCHS { 1.0 } else { steps as f64 };
            let row = Epoch {
                epoch,
                losses: state.losses.iter().map(|(name, sum)| (*name, sum / of)).collect(),
                train_s: state.train_s,
                images_per_s: (steps * config.batch_size) as f64 / state.train_s,
                score_s,
                auroc,
                validation_con: mean_error(&validation[run], config),
            };
            if self.failed[run].is_none() {
                self.bars[run].detail(&describe(&row, self.engine.waited(), config));
            }
            state.finish_epoch(row, own, config.keep_scores.0 == KeepScores::EveryEpoch);
            if self.failed[run].is_none() {
                self.bars[run].epochs(config, &state.epochs);
            }
        }
        self.epoch_start.clear();
        self.save_if_due();
        Ok(())
    }

    /// Whether anyone asks how good this epoch is: not where nothing is tested, until the last one.
    fn chooses_epoch(&self) -> bool {
        let config = self.config();
        self.states[0].epoch == config.epochs
            || self.data.iter().any(|data| !data.split.test.is_empty())
            || !config.further_scores.is_empty()
    }

    /// Scores what is not yet scored, into the states.
    fn score_images(&mut self, modes: &[ScoringMode]) -> Result<()> {
        if E::WHOLE_EPOCHS {
            self.states.iter_mut().for_each(|state| state.scored.clear());
        }
        let of = self.data[0].split.test.len() * modes.len();
        let count = |state: &RunState| state.scored.iter().map(|(_, s)| s.images()).sum::<usize>();
        let (before, first) = (self.states[0].score_s, count(&self.states[0]));
        let started = Instant::now();
        let mut reported = started;
        for &mode in modes {
            self.engine.begin_scoring(mode, self.states[0].scored_in(mode).images())?;
            loop {
                self.cancel.check()?;
                let Some(more) = self.engine.score()? else { break };
                let seconds = started.elapsed().as_secs_f64();
                for (state, more) in self.states.iter_mut().zip(more) {
                    state.add_scored(mode, more);
                    state.score_s = before + seconds;
                }
                if E::WHOLE_EPOCHS {
                    continue;
                }
                let done = count(&self.states[0]);
                let left = seconds / (done - first).max(1) as f64 * (of - done) as f64;
                let left = HumanDuration(Duration::from_secs_f64(left));
                let line = format!("scored {done} of {of} images, {left} left");
                self.bars[0].scoring(&line);
                if reported.elapsed() > REPORT {
                    reported = Instant::now();
                    self.bars[0].detail(&line);
                }
                self.save_if_due();
            }
        }
        Ok(())
    }
}

/// The AUROC of each of [`RunConfig::judged`]; none without test images.
fn aurocs(
    config: &RunConfig,
    epoch: usize,
    scores: &[(ScoringMode, Scores)],
    data: &RunData,
) -> Result<Vec<f64>> {
    if data.split.test.is_empty() {
        return Ok(Vec::new());
    }
    let of = |of: (ScoringMode, &str)| {
        auroc(judged(scores, of), &data.split.test_is_anomaly)
            .with_context(|| format!("epoch {epoch}, scores {}", config.judged_name(of)))
    };
    config.judged().into_iter().map(of).collect()
}

/// An epoch as one line.
fn describe(row: &Epoch, waited: Duration, config: &RunConfig) -> String {
    let judged = config.judged().into_iter().zip(&row.auroc);
    let aurocs: Vec<String> =
        judged.map(|(of, a)| format!("{} {a:.3}", config.judged_name(of))).collect();
    let losses: Vec<String> =
        headlines(&row.losses, config).iter().map(|(n, v)| format!("{n} {v:.3}")).collect();
    let aurocs = match aurocs.is_empty() {
        true => String::new(),
        false => format!("AUROC {}; ", aurocs.join(", ")),
    };
    // A step that waits for its images is worth knowing of.
    let share = 100.0 * waited.as_secs_f64() / row.train_s;
    let waits = if share >= 1.0 && row.train_s >= 1.0 {
        format!(" ({share:.0} % waiting for images)")
    } else {
        String::new()
    };
    format!(
        "epoch {}: {aurocs}{}; {:.0} images/s, {:.0} s{waits} + {:.0} s scoring",
        row.epoch,
        losses.join(", "),
        row.images_per_s,
        row.train_s,
        row.score_s
    )
}
