//! Training: one run, or a group of runs that differ only in class and seed. Scores after every
//! epoch, and returns everything worth keeping.

mod cpu;
mod engine;
mod epoch_scores;
mod epochs;
mod further;
mod gpu;
mod images;
mod pixels;
pub mod scoring;
pub(crate) mod start;

pub use start::Member;

use crate::checkpoint::{Checkpoint, Checkpoints, RunState};
use crate::interrupt::{Cancel, Interrupted};
use crate::progress::Progress;
use crate::{device, machine};
use anyhow::{Context, Result, anyhow, bail, ensure};
use cpu::Cpu;
use engine::Engine;
use epochs::Training;
use ganomaly_experiment::config::{DeviceName, RunConfig};
use ganomaly_experiment::record::Outcome;
use ganomaly_experiment::run_data::{DataStore, RunData};
use ganomaly_gpu::Machine;
use ganomaly_model::{Detector, NamedTensors};
use gpu::Gpu;
use rayon::prelude::*;
use start::{Place, model, moved, place, resumed, starts};
use std::time::Duration;

/// Trains and scores one run on its device, as its config says, from the newest checkpoint if there
/// is one. Apart from times, the result depends only on the config. When interrupted, it leaves a
/// checkpoint.
pub fn train(
    config: &RunConfig,
    name: &str,
    store: &DataStore,
    progress: &dyn Progress,
    cancel: &Cancel,
    checkpoints: &Checkpoints,
) -> Result<Outcome> {
    // `cancel` is set when the claim is lost, too.
    let member = Member { config, name, checkpoints, lost: &Cancel::default() };
    let outcomes = train_group(&[member], config.device.0, store, progress, cancel)?;
    outcomes.into_iter().next().context("a run without an outcome")?
}

/// Whether two runs may train in a group.
pub fn alike(a: &RunConfig, b: &RunConfig) -> bool {
    let shape = |config: &RunConfig| RunConfig {
        abnormal_class: None,
        normal_class: None,
        seed: None,
        ..config.clone()
    };
    shape(a) == shape(b)
}

/// Trains and scores runs that are [`alike`] on `device`, otherwise as each config says, starting
/// from each run's newest checkpoint. Runs whose checkpoints are of different epochs train in
/// separate groups. The outer error is for all runs, the inner ones are for single runs; a run that
/// another process took over gets [`Interrupted`].
pub fn train_group(
    members: &[Member<'_>],
    device: DeviceName,
    store: &DataStore,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Vec<Result<Outcome>>> {
    let on_cpu = device == DeviceName::Cpu;
    let config = members.first().context("no runs")?.config;
    ensure!(!on_cpu || members.len() == 1, "the CPU trains one run at a time");
    ensure!(
        on_cpu || config.detector == "ganomaly",
        "detector = {:?} trains on device = \"cpu\" alone",
        config.detector
    );
    let data: Vec<RunData> =
        members.iter().map(|m| store.prepare(m.config)).collect::<Result<_>>()?;
    for data in &data {
        let (batch, there) = (config.batch_size, data.split.train.len());
        ensure!(there >= batch, "batch_size = {batch}: there are only {there} training images");
    }
    let starts = starts(members, &data, !on_cpu, store.registry(), progress)?;
    let mut groups: Vec<(Place, Vec<(usize, Checkpoint)>)> = Vec::new();
    for (at, start) in starts.into_iter().enumerate() {
        let place = place(&start);
        match groups.iter_mut().find(|(there, _)| *there == place) {
            Some((_, group)) => group.push((at, start)),
            None => groups.push((place, vec![(at, start)])),
        }
    }
    // The least advanced first.
    groups.sort_by_key(|(place, _)| *place);
    let mut outcomes: Vec<Option<Result<Outcome>>> = members.iter().map(|_| None).collect();
    for (_, group) in groups {
        let (which, starts): (Vec<usize>, Vec<Checkpoint>) = group.into_iter().unzip();
        let of_group: Vec<Member<'_>> = which.iter().map(|&at| members[at]).collect();
        let of_data: Vec<RunData> = which.iter().map(|&at| data[at].clone()).collect();
        let runs = Runs { members: &of_group, data: &of_data, store, progress, cancel };
        for (at, outcome) in which.into_iter().zip(runs.start(starts, device)?) {
            outcomes[at] = Some(outcome);
        }
    }
    outcomes.into_iter().map(|outcome| outcome.context("a run without an outcome")).collect()
}

/// Runs that start at the same place.
struct Runs<'a> {
    members: &'a [Member<'a>],
    data: &'a [RunData],
    store: &'a DataStore,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

impl Runs<'_> {
    fn start(&self, starts: Vec<Checkpoint>, device: DeviceName) -> Result<Vec<Result<Outcome>>> {
        let precision = self.members[0].config.precision.0;
        let (mut states, mut detectors, mut epoch_start) = (Vec::new(), Vec::new(), Vec::new());
        for start in starts {
            states.push(start.state);
            detectors.push(start.detector);
            epoch_start = start.epoch_start;
        }
        match device {
            DeviceName::Cpu => self.train(self.cpu(&detectors[0])?, states, epoch_start),
            DeviceName::Twin => {
                let twin = |buffers: &[usize]| device::twin(buffers, precision);
                self.train(self.gpu(&detectors, twin)?, states, epoch_start)
            }
            DeviceName::Cuda(gpu) => {
                let gpu = |buffers: &[usize]| device::gpu(gpu, buffers, precision);
                self.train(self.gpu(&detectors, gpu)?, states, epoch_start)
            }
            DeviceName::Auto => bail!("device = \"auto\" was not resolved"),
        }
    }

    fn cpu(&self, state: &NamedTensors) -> Result<Cpu<'_>> {
        let (config, data) = (self.members[0].config, &self.data[0]);
        let mut detector = config.new_detector(self.store.registry())?;
        if !state.is_empty() {
            detector.load_training_state(state)?;
        }
        let waited = Duration::ZERO;
        let cancel = self.cancel;
        Ok(Cpu { config, data, cancel, detector, waited, batches: None, scoring: None })
    }

    fn gpu<M: Machine>(
        &self,
        states: &[NamedTensors],
        make: impl FnOnce(&[usize]) -> ganomaly_gpu::Result<M>,
    ) -> Result<Gpu<'_, M>> {
        let channels = self.data[0].images.shape()[0];
        let model = |(member, state): (&Member<'_>, &NamedTensors)| -> Result<_> {
            let mut model = model(member.config, channels, member.config.seed())?;
            if !state.is_empty() {
                model.load_training_state(state)?;
            }
            Ok(model)
        };
        let models = self.members.par_iter().zip(states).map(model).collect::<Result<_>>()?;
        Gpu::new(self.members, self.data, models, self.cancel, make)
    }

    fn train<E: Engine>(
        &self,
        engine: E,
        mut states: Vec<RunState>,
        epoch_start: NamedTensors,
    ) -> Result<Vec<Result<Outcome>>> {
        let Self { members, data, cancel, .. } = *self;
        let mut bars = Vec::new();
        for ((member, data), state) in members.iter().zip(data).zip(&mut states) {
            let config = member.config;
            let steps = data.split.train.len() / config.batch_size;
            let bar = self.progress.run(member.name, (steps * config.epochs) as u64);
            let taken = ((state.epoch - 1) * steps + state.step) as u64;
            member.checkpoints.begin(taken);
            if taken > 0 || !state.lowered.is_empty() {
                bar.go_to(state.epoch, taken);
                bar.say(&resumed(state, config));
            }
            if let Some(line) = moved(state, config) {
                bar.say(&line);
            }
            bars.push(bar);
        }
        let failed = members.iter().map(|_| None).collect();
        let mut training =
            Training { engine, members, data, bars, cancel, states, failed, epoch_start };
        training.run()?;
        let Training { engine, states, failed, .. } = training;
        let runs = members.iter().zip(data).zip(engine.finish()?).zip(states).zip(failed);
        Ok(runs
            .map(|((((member, data), detector), state), failed)| match failed {
                None => outcome(member.config, data.clone(), detector, state, cancel),
                Some(e) => Err(e),
            })
            .collect())
    }
}

/// The results of a finished run.
fn outcome(
    config: &RunConfig,
    data: RunData,
    detector: Box<dyn Detector>,
    state: RunState,
    cancel: &Cancel,
) -> Result<Outcome> {
    let RunState { epochs, scores, epoch_scores, lowered, parts, .. } = state;
    let pixels = pixels::judge(&*detector, &data, config, cancel)?;
    let machine = machine::here(config);
    Ok(Outcome { data, detector, epochs, scores, epoch_scores, pixels, lowered, parts, machine })
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
