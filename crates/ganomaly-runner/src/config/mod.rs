//! Experiments as TOML: the settings of a run, their defaults, and the runs that a `[sweep]`
//! generates.
//!
//! A run is a pure function of its [`RunConfig`]; a copy of it is stored with every result.

pub mod design;
mod experiment;
mod values;

pub use design::Design;
pub use experiment::Experiment;
pub(crate) use values::in_words;
pub use values::{
    DeviceName, KeepScores, Name, OnNan, ScoreKind, ScoringMode, Validation, parse_value,
};

use crate::checksums::hex;
use crate::numerics::NUMERICS;
use anyhow::{Context, Result, anyhow, bail, ensure};
use ganomaly_data::SplitKind;
use ganomaly_gpu::Precision;
use ganomaly_model::ganomaly::{Adversarial, GanomalyConfig};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Maximum of a count setting, so that a typing error does not request terabytes or centuries.
const MAX_COUNT: usize = 10_000_000;

/// Settings of one run. Names and defaults are those of the published code where it has them. Where
/// the published code makes an implicit choice, the setting names it, and the honest choice is the
/// default.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Data set, by its name in the registry. Required.
    pub dataset: String,
    /// The class held out as anomalous, by name or number. Required; with the split `one-class`,
    /// `normal_class` is given instead.
    #[serde(deserialize_with = "values::class_name", skip_serializing_if = "Option::is_none")]
    pub abnormal_class: Option<String>,
    /// The one normal class of the split `one-class`.
    #[serde(deserialize_with = "values::class_name", skip_serializing_if = "Option::is_none")]
    pub normal_class: Option<String>,
    /// Seed of the split, the weights and the order of the batches, below 2³². Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// `leave-one-class-out`, `official` or `one-class`.
    pub split: Name<SplitKind>,
    /// `reference` (the published code's mean and standard deviation) or `tanh` (to [-1, 1]).
    pub normalize: Name<ganomaly_data::Normalize>,
    /// Limits the number of training images, for short trials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_limit: Option<usize>,
    /// Limits the number of test images, drawn by the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_limit: Option<usize>,
    /// Normal training images held out from training, drawn by the seed from those that
    /// `train_limit` leaves: a number, or a fraction below 1. After every epoch their mean
    /// contextual error under running statistics is recorded, which allows choosing an epoch
    /// without the test set.
    #[serde(skip_serializing_if = "is_default")]
    pub validation: Validation,
    /// The detector, by its name in the registry.
    pub detector: String,
    /// Side length of the network's input images: a power of two, at least 16.
    pub isize: usize,
    /// Length of the latent vector.
    pub nz: usize,
    /// Features of the first convolution.
    pub ngf: usize,
    /// Additional 3×3 convolutions.
    pub extralayers: usize,
    /// `feature` or `bce`.
    pub adversarial: Name<Adversarial>,
    /// Weight of the adversarial term.
    pub w_adv: f64,
    /// Weight of the contextual term.
    pub w_con: f64,
    /// Weight of the encoder term.
    pub w_enc: f64,
    /// Epochs of training.
    pub epochs: usize,
    /// Images in a training batch; an incomplete batch at the end of an epoch is dropped.
    pub batch_size: usize,
    /// Adam's learning rate.
    pub lr: f64,
    /// What happens if a loss is NaN or infinite: `stop`, or `lower-lr` (back to the epoch's start
    /// with a tenth of the learning rate; CPU only).
    #[serde(skip_serializing_if = "is_default")]
    pub on_nan: Name<OnNan>,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// How the result is scored: `running`, `batch-shuffled`, `batch-sequential` or `single`.
    pub scoring: Name<ScoringMode>,
    /// Other scoring modes to record.
    pub also_score: Vec<Name<ScoringMode>>,
    /// Which epochs' scores are kept: `last`, or `every-epoch`, for audits of the protocol.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_scores: Name<KeepScores>,
    /// Images in a scoring batch. With batch statistics the scores depend on it.
    pub score_batch_size: usize,
    /// The score that counts: `l2`, `l1`, `con` or one of `further_scores`.
    pub score: Name<ScoreKind>,
    /// Scores recorded in addition to l2, l1 and con, under running statistics only: `l2_rel`,
    /// `l2_grad`, `z_nn`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub further_scores: Vec<Name<ScoreKind>>,
    /// Resamples for the bootstrap confidence interval of the AUROC.
    pub bootstrap: usize,
    /// Where the run trains: `auto` (the first GPU, otherwise the CPU), `cpu`, `cuda:0`, `cuda:1`,
    /// …, or `twin`. A resolved run never has `auto`; it has `cuda` for any GPU (which one makes no
    /// difference), and omits the setting for the CPU.
    #[serde(skip_serializing_if = "is_cpu", serialize_with = "values::device_kind")]
    pub device: Name<DeviceName>,
    /// How a GPU's products round their operands: `f32` (not at all), `tf32` or `bf16`. Omitted in
    /// a resolved run for `f32`.
    #[serde(skip_serializing_if = "is_default")]
    pub precision: Name<Precision>,
    /// Values to sweep over, by the name of the setting. Empty in a resolved run.
    #[serde(skip_serializing)]
    pub sweep: BTreeMap<String, toml::Spanned<Vec<toml::Value>>>,
    /// Weightings to multiply with the sweep. None in a resolved run.
    #[serde(skip_serializing)]
    pub design: Option<Design>,
}

impl Default for RunConfig {
    fn default() -> Self {
        let model = GanomalyConfig::default();
        Self {
            dataset: String::new(),
            abnormal_class: None,
            normal_class: None,
            seed: None,
            split: Name(SplitKind::LeaveOneClassOut),
            normalize: Name(ganomaly_data::Normalize::Reference),
            train_limit: None,
            test_limit: None,
            validation: Validation::default(),
            detector: "ganomaly".into(),
            isize: model.isize,
            nz: model.nz,
            ngf: model.ngf,
            extralayers: model.extralayers,
            adversarial: Name(model.adversarial),
            w_adv: model.w_adv,
            w_con: model.w_con,
            w_enc: model.w_enc,
            epochs: 15,
            batch_size: 64,
            lr: model.lr,
            on_nan: Name(OnNan::Stop),
            beta1: model.beta1,
            beta2: model.beta2,
            scoring: Name(ScoringMode::Running),
            also_score: vec![Name(ScoringMode::BatchShuffled)],
            keep_scores: Name(KeepScores::Last),
            score_batch_size: 64,
            score: Name(ScoreKind::L2),
            further_scores: Vec::new(),
            bootstrap: 1000,
            device: Name(DeviceName::Auto),
            precision: Name(Precision::F32),
            sweep: BTreeMap::new(),
            design: None,
        }
    }
}

impl RunConfig {
    /// Rejects settings that cannot run, and fills in what was left open: class numbers become
    /// names.
    fn check(mut self) -> Result<Self> {
        ensure!(!self.dataset.is_empty(), "dataset: not given, and there is no default");
        let dataset = crate::registry::dataset(&self.dataset)?;
        let seed = self.seed.context("seed: not given, and there is no default")?;
        ensure!(u32::try_from(seed).is_ok(), "seed = {seed}: use a number below 2^32");
        let classes = dataset.class_names();
        let (given, other, key, other_key) = match self.split.0 {
            SplitKind::OneClass => {
                (&mut self.normal_class, &self.abnormal_class, "normal_class", "abnormal_class")
            }
            _ => (&mut self.abnormal_class, &self.normal_class, "abnormal_class", "normal_class"),
        };
        ensure!(
            other.is_none(),
            "{other_key}: the split {:?} takes {key}",
            self.split.0.to_string()
        );
        let class =
            given.as_mut().with_context(|| format!("{key}: not given, and there is no default"))?;
        *class = classes
            [class_index(&classes, class).with_context(|| format!("{key} = {class:?}"))?]
        .clone();
        crate::registry::check_detector(&self.detector)?;
        self.model(dataset.image_shape()[0]).check()?;
        for (key, value) in [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("score_batch_size", self.score_batch_size),
            ("bootstrap", self.bootstrap),
            ("train_limit", self.train_limit.unwrap_or(1)),
            ("test_limit", self.test_limit.unwrap_or(1)),
        ] {
            ensure!(value > 0, "{key} = 0: use 1 or more");
            ensure!(value <= MAX_COUNT, "{key} = {value}: use {MAX_COUNT} at most");
        }
        if let Validation::Fraction(part) = self.validation {
            ensure!(
                part > 0.0 && part < 1.0,
                "validation = {part}: use a whole number of pictures, or a fraction above 0 and below 1"
            );
        }
        let mut seen = vec![self.scoring.0];
        for mode in &self.also_score {
            ensure!(!seen.contains(&mode.0), "also_score: {:?} is named twice", mode.0.to_string());
            seen.push(mode.0);
        }
        self.check_scores()?;
        self.device = Name(crate::device::resolve(self.device.0));
        ensure!(
            self.precision.0 == Precision::F32 || self.device.0 != DeviceName::Cpu,
            "precision = \"{}\": the processor computes in f32; use a card, or leave it out",
            self.precision.0
        );
        ensure!(
            self.on_nan.0 == OnNan::Stop || self.device.0 == DeviceName::Cpu,
            "on_nan = \"{}\": a card's learning rate cannot change; use device = \"cpu\", or leave it out",
            self.on_nan.0
        );
        Ok(self)
    }

    fn check_scores(&self) -> Result<()> {
        let mut seen = ScoreKind::ALWAYS.to_vec();
        for &Name(kind) in &self.further_scores {
            ensure!(
                !seen.contains(&kind),
                "further_scores: {kind} is recorded already; leave it out"
            );
            seen.push(kind);
        }
        ensure!(
            self.further_scores.is_empty() || self.modes().contains(&ScoringMode::Running),
            "further_scores: they are of running statistics; add \"running\" to also_score"
        );
        let Name(score) = self.score;
        ensure!(seen.contains(&score), "score = \"{score}\": name it in further_scores, too");
        ensure!(
            ScoreKind::ALWAYS.contains(&score) || self.modes() == [ScoringMode::Running],
            "score = \"{score}\": it is of running statistics alone; use also_score = []"
        );
        Ok(())
    }

    /// The scores that are recorded in a mode.
    pub fn kinds(&self, mode: ScoringMode) -> Vec<ScoreKind> {
        let further = self.further_scores.iter().filter(|_| mode == ScoringMode::Running);
        ScoreKind::ALWAYS.into_iter().chain(further.map(|kind| kind.0)).collect()
    }

    /// The scores with an AUROC after every epoch: the score that counts in each mode, then the
    /// further scores.
    pub fn judged(&self) -> Vec<(ScoringMode, ScoreKind)> {
        let further = self.further_scores.iter().filter(|kind| **kind != self.score);
        let modes = self.modes().into_iter().map(|mode| (mode, self.score.0));
        modes.chain(further.map(|kind| (ScoringMode::Running, kind.0))).collect()
    }

    /// The name of one of [`Self::judged`]: its mode, or its further score.
    pub fn judged_name(&self, (mode, kind): (ScoringMode, ScoreKind)) -> String {
        if kind == self.score.0 { mode.to_string() } else { kind.to_string() }
    }

    /// All scoring modes, the one that counts first.
    pub fn modes(&self) -> Vec<ScoringMode> {
        std::iter::once(&self.scoring).chain(&self.also_score).map(|m| m.0).collect()
    }

    /// The class that the run is named after, anomalous or, in `one-class`, normal.
    pub fn class(&self) -> &str {
        self.abnormal_class.as_deref().or(self.normal_class.as_deref()).unwrap_or_default()
    }

    /// The role of the class: "abnormal class" or "normal class".
    pub fn class_heading(&self) -> &'static str {
        if self.normal_class.is_some() { "normal class" } else { "abnormal class" }
    }

    /// The seed; 0 only in a config that was never checked.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_default()
    }

    /// The network's settings, for images of `nc` channels.
    pub fn model(&self, nc: usize) -> GanomalyConfig {
        GanomalyConfig {
            isize: self.isize,
            nc,
            nz: self.nz,
            ngf: self.ngf,
            extralayers: self.extralayers,
            adversarial: self.adversarial.0,
            w_adv: self.w_adv,
            w_con: self.w_con,
            w_enc: self.w_enc,
            lr: self.lr,
            beta1: self.beta1,
            beta2: self.beta2,
        }
    }

    /// The resolved config as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("the config cannot be written as TOML")
    }

    /// Reads a resolved config back.
    pub fn from_toml(text: &str) -> Result<Self> {
        toml::from_str::<Self>(text).map_err(|e| anyhow!("{}", in_words(e)))?.resolved()
    }

    /// A config that was resolved before, perhaps on a machine with other GPUs: an omitted device
    /// is the CPU.
    pub(crate) fn resolved(mut self) -> Result<Self> {
        if self.device.0 == DeviceName::Auto {
            self.device = Name(DeviceName::Cpu);
        }
        self.check()
    }

    /// The run's folder: its class and seed, and 64 bits of a hash of the whole config and the
    /// numerics' generation, so that it cannot be mistaken for a run of another config or
    /// generation.
    pub fn run_name(&self) -> Result<String> {
        let identity = format!("numerics = {NUMERICS}\n{}", self.to_toml()?);
        let hash = hex(&Sha256::digest(identity)[..8]);
        Ok(format!("{}-seed{}-{hash}", self.class(), self.seed()))
    }

    /// One line on how the numbers were obtained, for tables and plots.
    pub fn protocol(&self) -> String {
        let statistics = match self.scoring.0 {
            ScoringMode::Running => "running batch-norm statistics",
            ScoringMode::BatchShuffled => "batch statistics, shuffled test set",
            ScoringMode::BatchSequential => "batch statistics, sequential test set",
            ScoringMode::Single => "each picture's own statistics",
        };
        format!(
            "{}, {statistics}, last of {} epochs, score {}",
            self.split.0, self.epochs, self.score.0
        )
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_cpu(device: &Name<DeviceName>) -> bool {
    device.0 == DeviceName::Cpu
}

/// The index of a class given by name or number.
pub fn class_index(classes: &[String], class: &str) -> Result<usize> {
    if let Some(index) = classes.iter().position(|c| c == class) {
        return Ok(index);
    }
    match class.parse::<usize>() {
        Ok(index) if index < classes.len() => Ok(index),
        _ => bail!("no such class; the classes are {}", classes.join(", ")),
    }
}
