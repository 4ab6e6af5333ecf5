//! Runs that train in lockstep on a GPU: they differ only in class and seed.

mod fastest;
mod pictures;
mod start;

pub use fastest::fastest;

use crate::checkpoint::{Checkpoint, Checkpoints, RunState};
use crate::config::{DeviceName, KeepScores, RunConfig, ScoreKind, ScoringMode};
use crate::data::{DataStore, RunData};
use crate::device;
use crate::evaluate::{Order, mean_error, score_test_set, test_order, validation_order};
use crate::further;
use crate::interrupt::{Cancel, Interrupted};
use crate::progress::{Progress, RunProgress};
use crate::train::{Epoch, HELP, ModeScores, Outcome, aurocs, describe, last_good, moved, resumed};
use anyhow::{Context, Result, anyhow, bail, ensure};
use ganomaly_data::{Purpose, shuffled};
use ganomaly_gpu::{Group, Machine, Pictures, Size};
use ganomaly_model::ganomaly::Ganomaly;
use ganomaly_model::{Detector, NamedTensors, Scores};
use rayon::prelude::*;
use std::time::Instant;

/// Whether two runs may train in lockstep.
pub fn alike(a: &RunConfig, b: &RunConfig) -> bool {
    let shape = |config: &RunConfig| RunConfig {
        abnormal_class: None,
        normal_class: None,
        seed: None,
        ..config.clone()
    };
    shape(a) == shape(b)
}

/// A run of a group.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    /// Its config.
    pub config: &'a RunConfig,
    /// Its name.
    pub name: &'a str,
    /// Its checkpoints.
    pub checkpoints: &'a Checkpoints,
    /// Set when another process has taken the run over: the group continues without it.
    pub lost: &'a Cancel,
}

/// An epoch, and whether its training is finished.
type Place = (usize, bool);

/// Where a run starts: the beginning, or a checkpoint.
type Start = (RunState, NamedTensors);

/// Trains and scores runs that are [`alike`] on `device`, otherwise as each config says, starting
/// from each run's newest checkpoint. Runs whose checkpoints are of different epochs train in
/// separate groups. The outer error is for all runs, the inner ones are for single runs; a run that
/// another process took over gets [`Interrupted`].
pub fn train(
    members: &[Member<'_>],
    device: DeviceName,
    store: &DataStore,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Vec<Result<Outcome>>> {
    let config = members.first().context("no runs")?.config;
    ensure!(
        config.detector == "ganomaly",
        "detector = {:?} trains on device = \"cpu\" alone",
        config.detector
    );
    let data: Vec<RunData> =
        members.iter().map(|m| store.prepare(m.config)).collect::<Result<_>>()?;
    for d in &data {
        crate::train::check_batches(config, d)?;
    }
    let mut groups: Vec<(Place, Vec<(usize, Start)>)> = Vec::new();
    for (at, start) in start::starts(members, &data, progress)?.into_iter().enumerate() {
        let place = (start.0.epoch, start.0.step > 0);
        match groups.iter_mut().find(|(there, _)| *there == place) {
            Some((_, group)) => group.push((at, start)),
            None => groups.push((place, vec![(at, start)])),
        }
    }
    // The furthest behind first.
    groups.sort_by_key(|(place, _)| *place);
    let mut outcomes: Vec<Option<Result<Outcome>>> = members.iter().map(|_| None).collect();
    for (_, group) in groups {
        let (which, starts): (Vec<usize>, Vec<Start>) = group.into_iter().unzip();
        let of_group: Vec<Member<'_>> = which.iter().map(|&at| members[at]).collect();
        let of_data = which.iter().map(|&at| data[at].clone()).collect();
        let done = from(starts, &of_group, of_data, device, progress, cancel)?;
        for (at, outcome) in which.into_iter().zip(done) {
            outcomes[at] = Some(outcome);
        }
    }
    outcomes.into_iter().map(|outcome| outcome.context("a run without an outcome")).collect()
}

/// Trains and scores runs that start at the same place.
fn from(
    starts: Vec<Start>,
    members: &[Member<'_>],
    data: Vec<RunData>,
    device: DeviceName,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Vec<Result<Outcome>>> {
    let config = members.first().context("no runs")?.config;
    let channels = data[0].images.shape()[0];
    let model = |(member, (_, state)): (&Member<'_>, &Start)| -> Result<Ganomaly> {
        let mut model = Ganomaly::new(member.config.model(channels), member.config.seed())?;
        if !state.is_empty() {
            model.load_training_state(state)?;
        }
        Ok(model)
    };
    let models = members.par_iter().zip(&starts).map(model).collect::<Result<Vec<_>>>()?;
    let states = starts.into_iter().map(|(state, _)| state).collect();
    let longest = data
        .iter()
        .flat_map(|d| [d.split.train.len(), d.split.test.len(), d.validation.len()])
        .max();
    let mut remainders: Vec<usize> = data
        .iter()
        .flat_map(|d| [d.split.test.len(), d.validation.len()])
        .map(|pictures| pictures % config.score_batch_size)
        .filter(|&n| n > 0)
        .collect();
    remainders.sort_unstable();
    remainders.dedup();
    let size = Size {
        runs: members.len(),
        batch: config.batch_size,
        score_batch: config.score_batch_size,
        pictures: data[0].images.len(),
        order: longest.unwrap_or(0),
        remainders,
    };
    let runs = Runs { members, data, models, states, progress, cancel };
    let precision = config.precision.0;
    match device {
        DeviceName::Twin => runs.on(size, |buffers| device::twin(buffers, precision)),
        DeviceName::Cuda(card) => runs.on(size, |buffers| device::card(card, buffers, precision)),
        other => bail!("device = \"{other}\" trains one run at a time"),
    }
}

/// Whether a group failed because it is too large for the GPU.
pub fn is_too_large(error: &anyhow::Error) -> bool {
    use ganomaly_gpu::Error::{Memory, TooLarge};
    matches!(error.downcast_ref(), Some(Memory { .. } | TooLarge(_)))
}

/// Turns an error of a whole group into one for each of its runs.
pub fn for_each<T>(error: anyhow::Error, runs: usize) -> Vec<Result<T>> {
    if error.is::<Interrupted>() {
        return (0..runs).map(|_| Err(Interrupted.into())).collect();
    }
    let text = format!("{error:#}");
    (0..runs).map(|_| Err(anyhow!("{text}"))).collect()
}

struct Runs<'a> {
    members: &'a [Member<'a>],
    data: Vec<RunData>,
    models: Vec<Ganomaly>,
    /// All in the same epoch, all before or all after its training.
    states: Vec<RunState>,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

impl Runs<'_> {
    fn on<M: Machine>(
        mut self,
        size: Size,
        make: impl FnOnce(&[usize]) -> ganomaly_gpu::Result<M>,
    ) -> Result<Vec<Result<Outcome>>> {
        let (bytes, table) = pictures::prepared(&self.data[0])?;
        let pictures = Pictures { bytes: &bytes, table: &table };
        let runs = format!("{} runs of {} pictures a batch", size.runs, size.batch);
        let group = Group::new(&mut self.models, pictures, size, make);
        let mut group = group.map_err(|e| match e {
            e @ ganomaly_gpu::Error::Memory { .. } => anyhow::Error::from(e).context(runs),
            e => e.into(),
        })?;
        drop(bytes);
        let config = self.members[0].config;
        let mut bars = Vec::new();
        for (run, member) in self.members.iter().enumerate() {
            let (state, taken) = (&self.states[run], self.steps_taken(run));
            let bar = self.progress.run(member.name, (self.steps(run) * config.epochs) as u64);
            member.checkpoints.begin(taken);
            if taken > 0 {
                bar.go_to(state.epoch, taken);
                bar.say(&resumed(state, config));
            }
            if let Some(line) = moved(&mut self.states[run], member.config) {
                bar.say(&line);
            }
            bars.push(bar);
        }
        let mut failed: Vec<Option<anyhow::Error>> = self.members.iter().map(|_| None).collect();
        let done = self.finish(&mut group, &bars, &mut failed);
        if done.as_ref().is_err_and(anyhow::Error::is::<Interrupted>) {
            self.save(&mut group, &bars, &failed);
        }
        done?;
        group.download(&self.models)?;
        let runs = self.data.into_iter().zip(self.models).zip(self.states).zip(failed);
        Ok(runs
            .map(|(((data, model), state), failed)| match failed {
                None => Ok(Outcome::new(data, Box::new(model), state)),
                Some(e) => Err(e),
            })
            .collect())
    }

    /// Steps per epoch of a run.
    fn steps(&self, run: usize) -> usize {
        self.data[run].split.train.len() / self.members[run].config.batch_size
    }

    /// Does epochs until all runs are done or have failed.
    fn finish<M: Machine>(
        &mut self,
        group: &mut Group<M>,
        bars: &[Box<dyn RunProgress>],
        failed: &mut [Option<anyhow::Error>],
    ) -> Result<()> {
        let config = self.members[0].config;
        while self.states[0].epoch <= config.epochs && failed.iter().any(Option::is_none) {
            self.cancel.check()?;
            self.drop_lost(failed);
            if self.states[0].step == 0 {
                self.train_epoch(group, bars, failed)?;
            }
            // Training is finished: the rest of the epoch can be repeated.
            self.cancel.check()?;
            self.score_epoch(group, bars, failed)?;
            if self.is_due() {
                self.save(group, bars, failed);
            }
        }
        Ok(())
    }

    /// Ends the runs that other processes have taken over. A group's kernels process all of its
    /// runs, so these continue with the others, and their results are ignored.
    fn drop_lost(&self, failed: &mut [Option<anyhow::Error>]) {
        for (member, failed) in self.members.iter().zip(failed) {
            if member.lost.is_set() {
                failed.get_or_insert_with(|| Interrupted.into());
            }
        }
    }

    fn train_epoch<M: Machine>(
        &mut self,
        group: &mut Group<M>,
        bars: &[Box<dyn RunProgress>],
        failed: &mut [Option<anyhow::Error>],
    ) -> Result<()> {
        let started = Instant::now();
        let epoch = self.states[0].epoch;
        let runs = self.members.iter().zip(&self.data);
        let orders: Vec<Vec<u32>> = runs
            .map(|(m, d)| shuffled(&d.split.train, m.config.seed(), Purpose::EPOCH, epoch as u64))
            .collect();
        let losses = group.train(&mut self.models, &orders)?;
        let train_s = started.elapsed().as_secs_f64();
        for (run, losses) in losses.into_iter().enumerate() {
            let steps = self.steps(run);
            if failed[run].is_none()
                && let Some((loss, value)) = losses.iter().find(|(_, v)| !v.is_finite())
            {
                let good = last_good(self.members[run].checkpoints);
                failed[run] = Some(anyhow!(
                    "epoch {epoch}: the mean loss {loss} is {value} (a card's losses are read once an epoch). {HELP}; {good}"
                ));
            }
            if failed[run].is_none() {
                let images_per_s = (steps * self.members[run].config.batch_size) as f64 / train_s;
                for _ in 0..steps {
                    bars[run].step(epoch, &losses, images_per_s);
                }
            }
            let state = &mut self.states[run];
            (state.step, state.train_s, state.losses) = (steps, train_s, losses);
        }
        Ok(())
    }

    fn score_epoch<M: Machine>(
        &mut self,
        group: &mut Group<M>,
        bars: &[Box<dyn RunProgress>],
        failed: &mut [Option<anyhow::Error>],
    ) -> Result<()> {
        let (config, started) = (self.members[0].config, Instant::now());
        let epoch = self.states[0].epoch;
        let scores = config
            .modes()
            .into_iter()
            .map(|mode| Ok((mode, self.score(group, mode)?)))
            .collect::<Result<Vec<(ScoringMode, Vec<Scores>)>>>()?;
        let validation = self.validation(group)?;
        let score_s = started.elapsed().as_secs_f64();
        for run in 0..self.members.len() {
            let own: ModeScores =
                scores.iter().map(|(mode, all)| (*mode, all[run].clone())).collect();
            let auroc = match (&failed[run], aurocs(config, epoch, &own, &self.data[run])) {
                (None, Ok(auroc)) => auroc,
                (None, Err(e)) => {
                    failed[run] = Some(e);
                    Vec::new()
                }
                // It continues with the others, and its results are ignored.
                (Some(_), _) => Vec::new(),
            };
            let steps = self.steps(run);
            let state = &mut self.states[run];
            let row = Epoch {
                epoch,
                losses: state.losses.clone(),
                train_s: state.train_s,
                images_per_s: (steps * config.batch_size) as f64 / state.train_s,
                score_s,
                auroc,
                validation_con: validation[run],
            };
            if failed[run].is_none() {
                bars[run].detail(&describe(&row, config));
            }
            state.finish_epoch(row, own, config.keep_scores.0 == KeepScores::EveryEpoch);
        }
        Ok(())
    }

    fn steps_taken(&self, run: usize) -> u64 {
        let state = &self.states[run];
        ((state.epoch - 1) * self.steps(run) + state.step) as u64
    }

    fn is_due(&self) -> bool {
        let mut runs = self.members.iter().enumerate();
        runs.any(|(run, member)| member.checkpoints.is_due(self.steps_taken(run)))
    }

    /// Writes the checkpoints of all runs that have not failed. If that fails, the runs are
    /// unaffected and continue.
    fn save<M: Machine>(
        &mut self,
        group: &mut Group<M>,
        bars: &[Box<dyn RunProgress>],
        failed: &[Option<anyhow::Error>],
    ) {
        if !self.members.iter().any(|member| member.checkpoints.are_wanted()) {
            return;
        }
        let detectors = match group.training_states(&mut self.models) {
            Ok(detectors) => detectors,
            Err(e) => {
                self.progress.say(&format!("no checkpoint is written: {e:#}"));
                return;
            }
        };
        for (run, detector) in detectors.into_iter().enumerate() {
            // The process that took over a lost run writes its checkpoints.
            let gone = failed[run].is_some() || self.members[run].lost.is_set();
            if gone || self.steps_taken(run) == 0 {
                continue;
            }
            let state = self.states[run].clone();
            let checkpoint = Checkpoint { state, detector, ..Checkpoint::default() };
            let member = &self.members[run];
            let saved = checkpoint.check_finite().and_then(|()| {
                member.checkpoints.save(&checkpoint, self.steps_taken(run), &self.data[run])
            });
            if let Err(e) = saved {
                bars[run].say(&format!("no checkpoint is written: {e:#}"));
            }
        }
    }

    /// Each run's scores in the order of its split's test images.
    fn score<M: Machine>(&self, group: &mut Group<M>, mode: ScoringMode) -> Result<Vec<Scores>> {
        let runs = self.members.iter().map(|m| m.config).zip(&self.data);
        if mode == ScoringMode::Single {
            // A GPU gains nothing on batches of one image: the CPU scores them with the GPU's
            // weights.
            group.download(&self.models)?;
            let models = runs.zip(&self.models);
            return models.map(|((c, d), m)| score_test_set(m, d, c, mode, self.cancel)).collect();
        }
        let orders: Vec<Order> = runs.clone().map(|(c, d)| test_order(d, c, mode)).collect();
        let indices: Vec<Vec<u32>> = orders.iter().map(|o| o.pictures.clone()).collect();
        let scores = group.score(&indices, orders[0].statistics)?;
        let restored = orders.iter().zip(scores).map(|(order, scores)| order.restore(&scores));
        if self.members[0].config.kinds(mode).len() == ScoreKind::ALWAYS.len() {
            return Ok(restored.collect());
        }
        // Scores that need more than one batch are computed on the CPU, with the GPU's weights.
        group.download(&self.models)?;
        let models = runs.zip(&self.models).zip(restored);
        models.map(|(((c, d), m), s)| further::add(s, m, d, c, mode, self.cancel)).collect()
    }

    /// Each run's mean contextual error on its validation images.
    fn validation<M: Machine>(&self, group: &mut Group<M>) -> Result<Vec<Option<f64>>> {
        if self.data.iter().all(|d| d.validation.is_empty()) {
            return Ok(vec![None; self.data.len()]);
        }
        let runs = self.members.iter().map(|m| m.config).zip(&self.data);
        let orders: Vec<Order> = runs.map(|(c, d)| validation_order(d, c)).collect();
        let indices: Vec<Vec<u32>> = orders.iter().map(|o| o.pictures.clone()).collect();
        let scores = group.score(&indices, orders[0].statistics)?;
        Ok(scores.iter().map(|s| (!s.con.is_empty()).then(|| mean_error(s))).collect())
    }
}
