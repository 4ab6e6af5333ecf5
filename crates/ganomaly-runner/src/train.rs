//! One run: train, score after every epoch, and return everything that is worth keeping.

use crate::config::{KeepScores, RunConfig, ScoringMode};
use crate::data::{DataStore, RunData};
use crate::evaluate::{column, score_test_set, validation_error};
use crate::progress::{Cancel, Progress, RunProgress};
use crate::registry;
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use ganomaly_data::{BatchOptions, Batches, shuffled};
use ganomaly_metrics::auroc;
use ganomaly_model::{Detector, Scores};
use std::time::Instant;

/// One epoch, a row of `epochs.csv`.
#[derive(Clone, Debug)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Mean of each loss over the epoch's steps.
    pub losses: Vec<(&'static str, f64)>,
    /// Training time without scoring, in seconds.
    pub train_s: f64,
    /// Training pictures a second.
    pub images_per_s: f64,
    /// Time of scoring in all modes, in seconds.
    pub score_s: f64,
    /// AUROC of each mode, in the order of the config's modes.
    pub auroc: Vec<f64>,
    /// Mean contextual error of the validation pictures under running statistics; none where none are held out.
    pub validation_con: Option<f64>,
}

/// A test set's scores in each mode, in the order of the split's test pictures.
pub type ModeScores = Vec<(ScoringMode, Scores)>;

/// A finished run.
pub struct Outcome {
    /// The data it ran on.
    pub data: RunData,
    /// The trained detector.
    pub detector: Box<dyn Detector>,
    /// Every epoch.
    pub epochs: Vec<Epoch>,
    /// The last epoch's scores.
    pub scores: ModeScores,
    /// Every epoch's scores, where the config keeps them; else empty.
    pub epoch_scores: Vec<ModeScores>,
}

/// Trains and scores as the config says. The result depends on nothing else; times aside.
pub fn train(
    config: &RunConfig,
    name: &str,
    store: &DataStore,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Outcome> {
    let data = store.prepare(config)?;
    let mut detector = registry::detector(config, data.images.shape()[0])?;
    check_batches(config, &data)?;
    let steps_per_epoch = data.split.train.len() / config.batch_size;
    let bar = progress.run(name, (steps_per_epoch * config.epochs) as u64);
    let mut epochs = Vec::with_capacity(config.epochs);
    let (mut scores, mut epoch_scores) = (ModeScores::new(), Vec::new());
    for epoch in 1..=config.epochs {
        let started = Instant::now();
        let losses = train_epoch(&mut *detector, &data, config, epoch, &*bar, cancel)?;
        let train_s = started.elapsed().as_secs_f64();

        let started = Instant::now();
        scores = config
            .modes()
            .into_iter()
            .map(|mode| Ok((mode, score_test_set(&*detector, &data, config, mode, cancel)?)))
            .collect::<Result<Vec<_>>>()?;
        let auroc = aurocs(config, epoch, &scores, &data)?;
        let validation_con = validation_error(&*detector, &data, config, cancel)?;
        if config.keep_scores.0 == KeepScores::EveryEpoch {
            epoch_scores.push(scores.clone());
        }
        let row = Epoch {
            epoch,
            losses,
            train_s,
            images_per_s: (steps_per_epoch * config.batch_size) as f64 / train_s,
            score_s: started.elapsed().as_secs_f64(),
            auroc,
            validation_con,
        };
        bar.say(&describe(&row, &scores));
        epochs.push(row);
    }
    drop(bar);
    Ok(Outcome { data, detector, epochs, scores, epoch_scores })
}

/// Refuses a batch that is larger than the training set.
pub(crate) fn check_batches(config: &RunConfig, data: &RunData) -> Result<()> {
    let (batch, there) = (config.batch_size, data.split.train.len());
    ensure!(there >= batch, "batch_size = {batch}: there are only {there} training pictures");
    Ok(())
}

/// The AUROC of each mode's scores, by the score that counts.
pub(crate) fn aurocs(
    config: &RunConfig,
    epoch: usize,
    scores: &[(ScoringMode, Scores)],
    data: &RunData,
) -> Result<Vec<f64>> {
    let of = |(mode, scores): &(ScoringMode, Scores)| {
        auroc(column(scores, config.score.0), &data.split.test_is_anomaly)
            .with_context(|| format!("epoch {epoch}, scores in mode {mode}"))
    };
    scores.iter().map(of).collect()
}

fn train_epoch(
    detector: &mut dyn Detector,
    data: &RunData,
    config: &RunConfig,
    epoch: usize,
    bar: &dyn RunProgress,
    cancel: &Cancel,
) -> Result<Vec<(&'static str, f64)>> {
    let order = shuffled(&data.split.train, config.seed(), epoch as u64);
    let options = BatchOptions {
        batch_size: config.batch_size,
        drop_last: true,
        transform: data.transform.clone(),
        device: Device::Cpu,
        prefetch: 4,
    };
    let batches = Batches::new(data.images.clone(), order, options)?;
    let steps = batches.len();
    let mut sums: Vec<(&'static str, f64)> = Vec::new();
    let started = Instant::now();
    for (step, batch) in batches.enumerate() {
        cancel.check()?;
        let losses = detector.train_step(&batch?.images)?;
        if let Some((loss, value)) = losses.iter().find(|(_, v)| !v.is_finite()) {
            anyhow::bail!(
                "epoch {epoch}, step {} of {steps}: the loss {loss} is {value}. A lower lr or other weights may help",
                step + 1
            );
        }
        let pictures = ((step + 1) * config.batch_size) as f64;
        bar.step(epoch, &losses, pictures / started.elapsed().as_secs_f64());
        if sums.is_empty() {
            sums = losses;
        } else {
            for (sum, (_, value)) in sums.iter_mut().zip(losses) {
                sum.1 += value;
            }
        }
    }
    Ok(sums.into_iter().map(|(name, sum)| (name, sum / steps as f64)).collect())
}

/// An epoch in a line.
pub(crate) fn describe(row: &Epoch, scores: &[(ScoringMode, Scores)]) -> String {
    let aurocs: Vec<String> =
        scores.iter().zip(&row.auroc).map(|((mode, _), a)| format!("{mode} {a:.3}")).collect();
    let losses: Vec<String> = row
        .losses
        .iter()
        .filter(|(n, _)| matches!(*n, "err_g" | "err_d"))
        .map(|(n, v)| format!("{n} {v:.3}"))
        .collect();
    format!(
        "epoch {}: AUROC {}; {}; {:.0} images/s, {:.0} s + {:.0} s scoring",
        row.epoch,
        aurocs.join(", "),
        losses.join(", "),
        row.images_per_s,
        row.train_s,
        row.score_s
    )
}
