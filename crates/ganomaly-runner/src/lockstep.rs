//! Runs that train in lockstep on a card: they differ in class and seed alone.

use crate::config::{DeviceName, KeepScores, RunConfig, ScoringMode};
use crate::data::{DataStore, RunData};
use crate::device;
use crate::evaluate::{Order, mean_error, score_test_set, test_order, validation_order};
use crate::progress::{Cancel, Interrupted, Progress};
use crate::registry;
use crate::train::{Epoch, ModeScores, Outcome, aurocs, describe};
use anyhow::{Context, Result, anyhow, bail, ensure};
use ganomaly_data::{resize, shuffled};
use ganomaly_gpu::{Group, Machine, Pictures, Size};
use ganomaly_model::Scores;
use ganomaly_model::ganomaly::Ganomaly;
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

/// Trains and scores runs that are [`alike`] on `device`, each else as its config says. The outer error is of all of them, the inner ones are of single runs.
pub fn train(
    configs: &[&RunConfig],
    names: &[&str],
    device: DeviceName,
    store: &DataStore,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Vec<Result<Outcome>>> {
    let config = configs.first().context("no runs")?;
    ensure!(
        config.detector == "ganomaly",
        "detector = {:?} trains on device = \"cpu\" alone",
        config.detector
    );
    let data: Vec<RunData> = configs.iter().map(|c| store.prepare(c)).collect::<Result<_>>()?;
    let channels = data[0].images.shape()[0];
    let model = |c: &&RunConfig| Ganomaly::new(c.model(channels), c.seed());
    let models = configs.par_iter().map(model).collect::<Result<Vec<_>, _>>()?;
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
        runs: configs.len(),
        batch: config.batch_size,
        score_batch: config.score_batch_size,
        pictures: data[0].images.len(),
        order: longest.unwrap_or(0),
        remainders,
    };
    for d in &data {
        crate::train::check_batches(config, d)?;
    }
    let runs = Runs { configs, names, data, models, progress, cancel };
    let precision = config.precision.0;
    match device {
        DeviceName::Twin => runs.on(size, |buffers| device::twin(buffers, precision)),
        DeviceName::Cuda(card) => runs.on(size, |buffers| device::card(card, buffers, precision)),
        other => bail!("device = \"{other}\" trains one run at a time"),
    }
}

/// Steps of a measurement behind two that warm up.
const STEPS: usize = 5;

/// How many runs like this one train the most pictures a second side by side on a card: 1, 2, 4 and so on up to `most`, as far as its memory
/// goes. Fresh networks take a few steps each.
pub fn fastest(config: &RunConfig, most: usize, device: DeviceName) -> Result<usize> {
    let mut best = (0.0, 1);
    let powers = (0..usize::BITS).map(|p| 1 << p).take_while(|&n| n < most);
    for runs in powers.chain([most]) {
        match steps_per_second(config, runs, device) {
            Ok(rate) if rate > best.0 => best = (rate, runs),
            Ok(_) => {}
            Err(e) if best.0 > 0.0 && is_too_large(&e) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(best.1)
}

/// Training steps a second of so many runs together.
fn steps_per_second(config: &RunConfig, runs: usize, device: DeviceName) -> Result<f64> {
    let channels = registry::dataset(&config.dataset)?.image_shape()[0];
    let seeds = (0..runs as u64).into_par_iter();
    let mut models = seeds
        .map(|seed| Ganomaly::new(config.model(channels), seed))
        .collect::<Result<Vec<_>, _>>()?;
    let table = vec![0.0; channels * 256];
    let nothing = Pictures { bytes: &[], table: &table };
    let size = Size {
        runs,
        batch: config.batch_size,
        score_batch: config.score_batch_size,
        pictures: 0,
        order: 0,
        remainders: Vec::new(),
    };
    let precision = config.precision.0;
    let seconds = match device {
        DeviceName::Twin => {
            let make = |buffers: &[usize]| device::twin(buffers, precision);
            time(Group::new(&mut models, nothing, size, make)?)?
        }
        DeviceName::Cuda(card) => {
            let make = |buffers: &[usize]| device::card(card, buffers, precision);
            time(Group::new(&mut models, nothing, size, make)?)?
        }
        other => bail!("device = \"{other}\" trains one run at a time"),
    };
    Ok((STEPS * runs) as f64 / seconds)
}

fn time<M: Machine>(mut group: Group<M>) -> Result<f64> {
    group.time_steps(2)?;
    Ok(group.time_steps(STEPS)?.iter().sum())
}

/// Whether a group failed because it is too large for the card.
pub fn is_too_large(error: &anyhow::Error) -> bool {
    use ganomaly_gpu::Error::{Memory, TooLarge};
    matches!(error.downcast_ref(), Some(Memory { .. } | TooLarge(_)))
}

/// An error of a whole group as that of each of its runs.
pub fn for_each<T>(error: anyhow::Error, runs: usize) -> Vec<Result<T>> {
    if error.is::<Interrupted>() {
        return (0..runs).map(|_| Err(Interrupted.into())).collect();
    }
    let text = format!("{error:#}");
    (0..runs).map(|_| Err(anyhow!("{text}"))).collect()
}

struct Runs<'a> {
    configs: &'a [&'a RunConfig],
    names: &'a [&'a str],
    data: Vec<RunData>,
    models: Vec<Ganomaly>,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

impl Runs<'_> {
    fn on<M: Machine>(
        mut self,
        size: Size,
        make: impl FnOnce(&[usize]) -> ganomaly_gpu::Result<M>,
    ) -> Result<Vec<Result<Outcome>>> {
        let (bytes, table) = pictures(&self.data[0])?;
        let pictures = Pictures { bytes: &bytes, table: &table };
        let runs = format!("{} runs of {} pictures a batch", size.runs, size.batch);
        let group = Group::new(&mut self.models, pictures, size, make);
        let mut group = group.map_err(|e| match e {
            e @ ganomaly_gpu::Error::Memory { .. } => anyhow::Error::from(e).context(runs),
            e => e.into(),
        })?;
        drop(bytes);
        let config = self.configs[0];
        let bars: Vec<_> = self
            .names
            .iter()
            .zip(&self.data)
            .map(|(name, d)| {
                let steps = d.split.train.len() / config.batch_size * config.epochs;
                self.progress.run(name, steps as u64)
            })
            .collect();
        let mut rows: Vec<Result<Vec<Epoch>>> =
            self.configs.iter().map(|_| Ok(Vec::new())).collect();
        let mut scores = Vec::new();
        let mut epoch_scores: Vec<Vec<ModeScores>> = vec![Vec::new(); self.configs.len()];
        for epoch in 1..=config.epochs {
            self.cancel.check()?;
            let started = Instant::now();
            let runs = self.configs.iter().zip(&self.data);
            let orders: Vec<Vec<u32>> =
                runs.map(|(c, d)| shuffled(&d.split.train, c.seed(), epoch as u64)).collect();
            let losses = group.train(&mut self.models, &orders)?;
            let train_s = started.elapsed().as_secs_f64();

            let started = Instant::now();
            scores = config
                .modes()
                .into_iter()
                .map(|mode| Ok((mode, self.score(&mut group, mode)?)))
                .collect::<Result<Vec<_>>>()?;
            let validation = self.validation(&mut group)?;
            let score_s = started.elapsed().as_secs_f64();
            for (run, losses) in losses.into_iter().enumerate() {
                let Ok(done) = &mut rows[run] else { continue };
                let bar = &*bars[run];
                let steps = orders[run].len() / config.batch_size;
                let images_per_s = (steps * config.batch_size) as f64 / train_s;
                for _ in 0..steps {
                    bar.step(epoch, &losses, images_per_s);
                }
                let own: ModeScores = scores
                    .iter()
                    .map(|(mode, all): &(_, Vec<Scores>)| (*mode, all[run].clone()))
                    .collect();
                let validation_con = validation[run];
                let row = finite(epoch, &losses).and_then(|()| {
                    let auroc = aurocs(config, epoch, &own, &self.data[run])?;
                    Ok(Epoch {
                        epoch,
                        losses,
                        train_s,
                        images_per_s,
                        score_s,
                        auroc,
                        validation_con,
                    })
                });
                match row {
                    Ok(row) => {
                        bar.say(&describe(&row, &own));
                        done.push(row);
                        if config.keep_scores.0 == KeepScores::EveryEpoch {
                            epoch_scores[run].push(own);
                        }
                    }
                    Err(e) => rows[run] = Err(e),
                }
            }
        }
        group.download(&self.models)?;
        let runs = rows.into_iter().zip(self.data).zip(self.models).zip(epoch_scores).enumerate();
        Ok(runs
            .map(|(run, (((epochs, data), model), epoch_scores))| {
                let own = scores.iter().map(|(mode, all)| (*mode, all[run].clone()));
                Ok(Outcome {
                    data,
                    detector: Box::new(model),
                    epochs: epochs?,
                    scores: own.collect(),
                    epoch_scores,
                })
            })
            .collect())
    }

    /// Each run's scores in the order of its split's test pictures.
    fn score<M: Machine>(&self, group: &mut Group<M>, mode: ScoringMode) -> Result<Vec<Scores>> {
        let runs = self.configs.iter().zip(&self.data);
        if mode == ScoringMode::Single {
            // A card gains nothing on batches of one picture: the processor scores them with the card's weights.
            group.download(&self.models)?;
            let models = runs.zip(&self.models);
            return models.map(|((c, d), m)| score_test_set(m, d, c, mode, self.cancel)).collect();
        }
        let orders: Vec<Order> = runs.map(|(c, d)| test_order(d, c, mode)).collect();
        let indices: Vec<Vec<u32>> = orders.iter().map(|o| o.pictures.clone()).collect();
        let scores = group.score(&indices, orders[0].statistics)?;
        Ok(orders.iter().zip(scores).map(|(order, scores)| order.restore(&scores)).collect())
    }

    /// Each run's mean contextual error of its validation pictures.
    fn validation<M: Machine>(&self, group: &mut Group<M>) -> Result<Vec<Option<f64>>> {
        if self.data.iter().all(|d| d.validation.is_empty()) {
            return Ok(vec![None; self.data.len()]);
        }
        let runs = self.configs.iter().zip(&self.data);
        let orders: Vec<Order> = runs.map(|(c, d)| validation_order(d, c)).collect();
        let indices: Vec<Vec<u32>> = orders.iter().map(|o| o.pictures.clone()).collect();
        let scores = group.score(&indices, orders[0].statistics)?;
        Ok(scores.iter().map(|s| (!s.con.is_empty()).then(|| mean_error(s))).collect())
    }
}

/// A loss that is no number ends its run, and no other.
fn finite(epoch: usize, losses: &[(&'static str, f64)]) -> Result<()> {
    match losses.iter().find(|(_, v)| !v.is_finite()) {
        Some((loss, value)) => Err(anyhow!(
            "epoch {epoch}: the mean loss {loss} is {value}. A lower lr or other weights may help"
        )),
        None => Ok(()),
    }
}

/// All pictures as bytes `[P, S, S, C]` of the network's size, and the network's number for each byte of a channel.
fn pictures(data: &RunData) -> Result<(Vec<u8>, Vec<f32>)> {
    let (shape, transform) = (data.images.shape(), &data.transform);
    transform.check(shape[0])?;
    let (channels, side) = (shape[0], transform.image_size);
    let picture = |index: usize| -> Result<Vec<u8>> {
        let picture =
            data.images.image(index).with_context(|| format!("there is no picture {index}"))?;
        let planes = resize(picture, shape, side)?;
        let pixel = |at: usize| (0..channels).map(move |c| c * side * side + at);
        Ok((0..side * side).flat_map(pixel).map(|at| planes[at]).collect())
    };
    let all: Vec<Vec<u8>> =
        (0..data.images.len()).into_par_iter().map(picture).collect::<Result<_>>()?;
    let normalization = &transform.normalization;
    let channel = |(mean, std): (&f32, &f32)| {
        let (mean, std) = (*mean, *std);
        (0..=u8::MAX).map(move |byte| (f32::from(byte) / 255.0 - mean) / std)
    };
    let table = normalization.mean.iter().zip(&normalization.std).flat_map(channel).collect();
    Ok((all.concat(), table))
}
