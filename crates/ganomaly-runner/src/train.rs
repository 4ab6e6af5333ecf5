//! One run: trains, scores after every epoch, and returns everything worth keeping.

use crate::checkpoint::{Checkpoint, Checkpoints, Lowered, RunState};
use crate::config::{KeepScores, OnNan, RunConfig, ScoreKind, ScoringMode};
use crate::data::{DataStore, RunData};
use crate::evaluate::{judged, score_test_set, validation_error};
use crate::interrupt::{Cancel, Interrupted};
use crate::progress::{Progress, RunProgress};
use crate::provenance::Part;
use crate::registry;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device};
use ganomaly_data::{BatchOptions, Batches, Purpose, shuffled};
use ganomaly_metrics::auroc;
use ganomaly_model::{Detector, NamedTensors, Scores};
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
    /// Training images per second.
    pub images_per_s: f64,
    /// Time of scoring in all modes, in seconds.
    pub score_s: f64,
    /// AUROCs in the order of [`RunConfig::judged`].
    pub auroc: Vec<f64>,
    /// Mean contextual error on the validation images under running statistics; none if none are
    /// held out.
    pub validation_con: Option<f64>,
}

/// A test set's scores in each mode, in the order of the split's test images.
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
    /// Every epoch's scores if the config keeps them; else empty.
    pub epoch_scores: Vec<ModeScores>,
    /// How often the learning rate was lowered, with `on_nan = "lower-lr"`.
    pub lowered: Vec<Lowered>,
    /// What computed it.
    pub parts: Vec<Part>,
}

impl Outcome {
    pub(crate) fn new(data: RunData, detector: Box<dyn Detector>, state: RunState) -> Self {
        let RunState { epochs, scores, epoch_scores, lowered, parts, .. } = state;
        Self { data, detector, epochs, scores, epoch_scores, lowered, parts }
    }
}

/// Trains and scores as the config says, from the newest checkpoint if there is one. Apart from
/// times, the result depends only on the config. When interrupted, it leaves a checkpoint.
pub fn train(
    config: &RunConfig,
    name: &str,
    store: &DataStore,
    progress: &dyn Progress,
    cancel: &Cancel,
    checkpoints: &Checkpoints,
) -> Result<Outcome> {
    let data = store.prepare(config)?;
    let detector = registry::detector(config, data.images.shape()[0])?;
    check_batches(config, &data)?;
    let steps = data.split.train.len() / config.batch_size;
    let bar = progress.run(name, (steps * config.epochs) as u64);
    let mut training = Training {
        config,
        data: &data,
        steps,
        bar: &*bar,
        cancel,
        checkpoints,
        detector,
        state: RunState::new(),
        epoch_start: NamedTensors::new(),
    };
    training.resume()?;
    let done = training.finish();
    if done.as_ref().is_err_and(anyhow::Error::is::<Interrupted>) {
        training.save();
    }
    done?;
    let Training { detector, state, .. } = training;
    drop(bar);
    Ok(Outcome::new(data, detector, state))
}

/// The learning rate is divided by this if a loss is not a number.
const LOWER_BY: f64 = 10.0;

/// How often it is lowered at most.
const LOWERED_AT_MOST: usize = 3;

/// A run in progress. Between any two steps `state` and `detector` belong together.
struct Training<'a> {
    config: &'a RunConfig,
    data: &'a RunData,
    /// Per epoch.
    steps: usize,
    bar: &'a dyn RunProgress,
    cancel: &'a Cancel,
    checkpoints: &'a Checkpoints,
    detector: Box<dyn Detector>,
    state: RunState,
    /// The detector at the start of the epoch, if the config says to go back there.
    epoch_start: NamedTensors,
}

/// A loss or a weight that is not a number.
struct NotFinite {
    step: usize,
    what: String,
}

impl Training<'_> {
    /// Resumes from the newest usable checkpoint.
    fn resume(&mut self) -> Result<()> {
        let say = |line: &str| self.bar.say(line);
        for checkpoint in self.checkpoints.load(self.data, &say)? {
            let Checkpoint { state, detector, epoch_start } = checkpoint;
            let path = self.checkpoints.path_of(&state);
            let fits = fits(&state, self.config, self.steps, self.data)
                .and_then(|()| Ok(self.detector.load_training_state(&detector)?));
            if let Err(e) = fits {
                self.checkpoints.refuse(&path, &format!("{e:#}"), &say)?;
                continue;
            }
            (self.state, self.epoch_start) = (state, epoch_start);
            self.use_learning_rate();
            let taken = self.steps_taken();
            self.checkpoints.begin(taken);
            self.bar.go_to(self.state.epoch, taken);
            self.bar.say(&resumed(&self.state, self.config));
            if let Some(line) = moved(&mut self.state, self.config) {
                self.bar.say(&line);
            }
            return Ok(());
        }
        if self.checkpoints.are_refused() {
            self.bar.say("no checkpoint can be used: it starts again from the beginning");
        }
        self.state.enter(self.config);
        Ok(())
    }

    /// Steps of the whole run so far.
    fn steps_taken(&self) -> u64 {
        ((self.state.epoch - 1) * self.steps + self.state.step) as u64
    }

    fn finish(&mut self) -> Result<()> {
        while self.state.epoch <= self.config.epochs {
            match self.train_epoch()? {
                None => self.score_epoch()?,
                Some(wrong) => self.lower_learning_rate(wrong)?,
            }
        }
        Ok(())
    }

    /// Takes the rest of the epoch's steps. Ends early if a loss is not a number.
    fn train_epoch(&mut self) -> Result<Option<NotFinite>> {
        if self.state.step == 0 && self.config.on_nan.0 == OnNan::LowerLr {
            self.epoch_start = self.detector.training_state()?;
        }
        let Self { config, data, .. } = *self;
        let (epoch, from) = (self.state.epoch, self.state.step);
        let order = shuffled(&data.split.train, config.seed(), Purpose::EPOCH, epoch as u64);
        let left = order[from * config.batch_size..].to_vec();
        if left.len() < config.batch_size {
            // It has already been trained; only its scores are missing.
            return Ok(None);
        }
        let options = BatchOptions {
            batch_size: config.batch_size,
            drop_last: true,
            transform: data.transform.clone(),
            device: Device::Cpu,
            prefetch: 4,
        };
        let batches = Batches::new(data.images.clone(), left, options)?;
        let (before, started) = (self.state.train_s, Instant::now());
        for batch in batches {
            self.cancel.check()?;
            let losses = self.detector.train_step(&batch?.images)?;
            if let Some((loss, value)) = losses.iter().find(|(_, v)| !v.is_finite()) {
                let what = format!("the loss {loss} is {value}");
                return Ok(Some(NotFinite { step: self.state.step + 1, what }));
            }
            let state = &mut self.state;
            state.step += 1;
            state.train_s = before + started.elapsed().as_secs_f64();
            let pictures = ((state.step - from) * config.batch_size) as f64;
            self.bar.step(epoch, &losses, pictures / started.elapsed().as_secs_f64());
            if state.losses.is_empty() {
                state.losses = losses;
            } else {
                for (sum, (_, value)) in state.losses.iter_mut().zip(losses) {
                    sum.1 += value;
                }
            }
            self.save_if_due();
        }
        // No loss is computed from the last step's weights before they are scored.
        let what = not_finite(&self.detector.state()?)?;
        Ok(what.map(|what| NotFinite { step: self.state.step, what }))
    }

    fn score_epoch(&mut self) -> Result<()> {
        let Self { config, data, cancel, steps, .. } = *self;
        let (epoch, started) = (self.state.epoch, Instant::now());
        let detector = &*self.detector;
        let score = |mode| Ok((mode, score_test_set(detector, data, config, mode, cancel)?));
        let scores = config.modes().into_iter().map(score).collect::<Result<ModeScores>>()?;
        let auroc = aurocs(config, epoch, &scores, data)?;
        let validation_con = validation_error(detector, data, config, cancel)?;
        let train_s = self.state.train_s;
        let means = self.state.losses.iter().map(|(name, sum)| (*name, sum / steps as f64));
        let row = Epoch {
            epoch,
            losses: means.collect(),
            train_s,
            images_per_s: (steps * config.batch_size) as f64 / train_s,
            score_s: started.elapsed().as_secs_f64(),
            auroc,
            validation_con,
        };
        self.bar.detail(&describe(&row, config));
        let keep = config.keep_scores.0 == KeepScores::EveryEpoch;
        self.state.finish_epoch(row, scores, keep);
        self.epoch_start.clear();
        self.save_if_due();
        Ok(())
    }

    fn save_if_due(&self) {
        if self.checkpoints.is_due(self.steps_taken()) {
            self.save();
        }
    }

    /// Writes a checkpoint. If that fails, the run is unaffected and continues.
    fn save(&self) {
        let at_the_beginning = self.steps_taken() == 0 && self.state.lowered.is_empty();
        if at_the_beginning || !self.checkpoints.are_wanted() {
            return;
        }
        let save = || -> Result<()> {
            let detector = self.detector.training_state()?;
            let (state, epoch_start) = (self.state.clone(), self.epoch_start.clone());
            let checkpoint = Checkpoint { state, detector, epoch_start };
            checkpoint.check_finite()?;
            self.checkpoints.save(&checkpoint, self.steps_taken(), self.data)?;
            if self.cancel.is_set() {
                let RunState { epoch, step, .. } = self.state;
                self.bar.say(&format!("checkpoint at epoch {epoch}, step {step}"));
            }
            Ok(())
        };
        if let Err(e) = save() {
            self.bar.say(&format!("no checkpoint is written: {e:#}"));
        }
    }

    /// Goes back to the epoch's start with a lower learning rate, if the config says so and the
    /// rate has not been lowered too often; else an error.
    fn lower_learning_rate(&mut self, NotFinite { step, what }: NotFinite) -> Result<()> {
        let (epoch, steps) = (self.state.epoch, self.steps);
        let place = format!("epoch {epoch}, step {step} of {steps}: {what}");
        if self.config.on_nan.0 == OnNan::Stop {
            bail!("{place}. {}; {}", HELP, last_good(self.checkpoints));
        }
        if self.state.lowered.len() == LOWERED_AT_MOST {
            bail!(
                "{place}, with lr lowered {LOWERED_AT_MOST} times; {}",
                last_good(self.checkpoints)
            );
        }
        self.detector.load_training_state(&self.epoch_start)?;
        (self.state.step, self.state.train_s) = (0, 0.0);
        self.state.losses.clear();
        let lr = self.learning_rate() / LOWER_BY;
        self.state.lowered.push(Lowered { epoch, step, what, lr });
        self.use_learning_rate();
        self.bar.say(&format!("{place}; back to the start of epoch {epoch} with lr = {lr}"));
        self.bar.go_to(epoch, self.steps_taken());
        // Checkpoints of later steps have led here.
        self.checkpoints.clear()?;
        self.save();
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.state.lowered.iter().fold(self.config.lr, |lr, _| lr / LOWER_BY)
    }

    fn use_learning_rate(&mut self) {
        self.detector.set_learning_rate(self.learning_rate());
    }
}

/// What may help if a loss is not a number.
pub(crate) const HELP: &str =
    "A lower lr, other weights of the losses, or on_nan = \"lower-lr\" may help";

/// Describes the newest checkpoint.
pub(crate) fn last_good(checkpoints: &Checkpoints) -> String {
    match checkpoints.newest() {
        Some((path, epoch, step)) => {
            format!("the last good checkpoint is {} (epoch {epoch}, step {step})", path.display())
        }
        None => "no checkpoint had been written".into(),
    }
}

/// Describes where a run resumes.
pub(crate) fn resumed(state: &RunState, config: &RunConfig) -> String {
    if state.epoch > config.epochs {
        return "resumed behind the last epoch".into();
    }
    format!("resumed at epoch {}, step {}", state.epoch, state.step)
}

/// Adopts a resumed run, and reports it if something else computed it before.
pub(crate) fn moved(state: &mut RunState, config: &RunConfig) -> Option<String> {
    let before = state.enter(config)?;
    let here = Part::here(config, 0, 0);
    let rounding = match before.kernels == here.kernels {
        true => "",
        false => ". These kernels round differently: no single machine gives its bytes again",
    };
    Some(format!("computed by {before} until here, by {here} from here on{rounding}"))
}

/// Rejects a state that no run of this config can be in.
pub(crate) fn fits(
    state: &RunState,
    config: &RunConfig,
    steps: usize,
    data: &RunData,
) -> Result<()> {
    let RunState { epoch, step, .. } = *state;
    let (modes, tests) = (config.modes(), data.split.test.len());
    let kept = state.epoch_scores.iter().chain(Some(&state.scores).filter(|_| epoch > 1));
    let mut whole = kept.map(|scores| {
        let of = scores.iter().map(|(mode, _)| *mode);
        let full = |(mode, s): &(ScoringMode, Scores)| {
            let kinds = config.kinds(*mode).into_iter().map(|kind| kind.to_string());
            let columns = s.columns();
            kinds.eq(columns.iter().map(|(name, _)| name.to_string()))
                && columns.iter().all(|(_, c)| c.len() == tests)
        };
        of.eq(modes.iter().copied()) && scores.iter().all(full)
    });
    let every = if config.keep_scores.0 == KeepScores::EveryEpoch { epoch - 1 } else { 0 };
    ensure!(
        epoch <= config.epochs + 1
            && step <= steps
            && (epoch <= config.epochs || step == 0)
            && (step == 0) == state.losses.is_empty()
            && state.epoch_scores.len() == every
            && state.epochs.iter().all(|e| e.auroc.len() == config.judged().len())
            && whole.all(|whole| whole),
        "no run of this config is ever at epoch {epoch}, step {step} with such scores"
    );
    Ok(())
}

/// Names a tensor that contains something that is not a number.
pub(crate) fn not_finite(tensors: &NamedTensors) -> Result<Option<String>> {
    for (name, tensor) in tensors {
        let finite = match tensor.dtype() {
            DType::F32 => tensor.flatten_all()?.to_vec1::<f32>()?.iter().all(|v| v.is_finite()),
            DType::F64 => tensor.flatten_all()?.to_vec1::<f64>()?.iter().all(|v| v.is_finite()),
            _ => true,
        };
        if !finite {
            return Ok(Some(format!("the tensor {name} is not finite any more")));
        }
    }
    Ok(None)
}

/// Rejects a batch that is larger than the training set.
pub(crate) fn check_batches(config: &RunConfig, data: &RunData) -> Result<()> {
    let (batch, there) = (config.batch_size, data.split.train.len());
    ensure!(there >= batch, "batch_size = {batch}: there are only {there} training pictures");
    Ok(())
}

/// The AUROC of each of [`RunConfig::judged`].
pub(crate) fn aurocs(
    config: &RunConfig,
    epoch: usize,
    scores: &[(ScoringMode, Scores)],
    data: &RunData,
) -> Result<Vec<f64>> {
    let of = |of: (ScoringMode, ScoreKind)| {
        auroc(judged(scores, of), &data.split.test_is_anomaly)
            .with_context(|| format!("epoch {epoch}, scores {}", config.judged_name(of)))
    };
    config.judged().into_iter().map(of).collect()
}

/// An epoch as one line.
pub(crate) fn describe(row: &Epoch, config: &RunConfig) -> String {
    let judged = config.judged().into_iter().zip(&row.auroc);
    let aurocs: Vec<String> =
        judged.map(|(of, a)| format!("{} {a:.3}", config.judged_name(of))).collect();
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
