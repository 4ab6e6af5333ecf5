//! Experiments as TOML: the settings of a run, their defaults, and the runs that a `[sweep]`
//! generates.
//!
//! A run is a pure function of its [`RunConfig`]; a copy of it is stored with every result.

pub mod design;
mod experiment;
mod file;
mod values;

pub use design::Design;
pub use experiment::Experiment;
pub use file::{from_table, settings};
pub use values::in_words;
pub use values::{
    DeviceName, FurtherScore, KeepScores, Name, OnNan, Precision, ScoringMode, Validation,
    parse_value,
};

use crate::numerics::NUMERICS;
use crate::registry::Registry;
use crate::sha256::sha256;
use anyhow::{Context, Result, anyhow, bail, ensure};
use ganomaly_data::SplitKind;
use ganomaly_model::{Detector, Input, Names};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use toml::Table;

/// Maximum of a count setting, so that a typing error does not request terabytes or centuries.
const MAX_COUNT: usize = 10_000_000;

/// Of a detector that is not known yet.
const NO_NAMES: Names = Names { scores: &[], reconstruction: "", headlines: &[] };

/// A detector's settings that are written after `batch_size` and `on_nan`, the others before
/// `epochs`.
const AFTER_EPOCHS: [&str; 3] = ["lr", "beta1", "beta2"];

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
    /// The detector's own settings by name, all of them in a resolved config.
    #[serde(skip)]
    pub settings: Table,
    /// What the detector calls its scores and losses, in a resolved config.
    #[serde(skip)]
    pub names: Names,
    /// Epochs of training.
    pub epochs: usize,
    /// Images in a training batch; an incomplete batch at the end of an epoch is dropped.
    pub batch_size: usize,
    /// What happens if a loss is NaN or infinite: `stop`, or `lower-lr` (back to the epoch's start
    /// with a tenth of the learning rate; CPU only).
    #[serde(skip_serializing_if = "is_default")]
    pub on_nan: Name<OnNan>,
    /// How the result is scored: `running`, `batch-shuffled`, `batch-sequential` or `single`.
    pub scoring: Name<ScoringMode>,
    /// Other scoring modes to record.
    pub also_score: Vec<Name<ScoringMode>>,
    /// Which epochs' scores are kept: `last`, or `every-epoch`, for audits of the protocol.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_scores: Name<KeepScores>,
    /// Images in a scoring batch. With batch statistics the scores depend on it.
    pub score_batch_size: usize,
    /// The score that counts: one of the detector's, or one of `further_scores`. Default: the
    /// detector's first.
    pub score: String,
    /// Scores recorded beside the detector's own, under running statistics only: `l2_rel`,
    /// `l2_grad`, `z_nn`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub further_scores: Vec<Name<FurtherScore>>,
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
            isize: 32,
            settings: Table::new(),
            names: NO_NAMES,
            epochs: 15,
            batch_size: 64,
            on_nan: Name(OnNan::Stop),
            scoring: Name(ScoringMode::Running),
            also_score: vec![Name(ScoringMode::BatchShuffled)],
            keep_scores: Name(KeepScores::Last),
            score_batch_size: 64,
            score: String::new(),
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
    fn check(mut self, registry: &Registry) -> Result<Self> {
        ensure!(!self.dataset.is_empty(), "dataset: not given, and there is no default");
        let dataset = registry.find_dataset(&self.dataset)?;
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
        let kind = registry.find_detector(&self.detector)?;
        let given = std::mem::take(&mut self.settings);
        self.settings = (kind.complete)(given).map_err(|e| anyhow!("{}", in_words(e.message())))?;
        self.names = kind.names;
        let input = Input { channels: dataset.image_shape()[0], side: self.isize };
        (kind.check)(&self.settings, input)?;
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
        self.device = Name(registry.device(self.device.0));
        ensure!(
            self.precision.0 == Precision::F32 || self.device.0 != DeviceName::Cpu,
            "precision = \"{}\": the processor computes in f32; use a GPU, or leave it out",
            self.precision.0
        );
        ensure!(
            self.on_nan.0 == OnNan::Stop || self.settings.contains_key("lr"),
            "on_nan = \"{}\": the detector {:?} has no lr; leave it out",
            self.on_nan.0,
            self.detector
        );
        ensure!(
            self.on_nan.0 == OnNan::Stop || self.device.0 == DeviceName::Cpu,
            "on_nan = \"{}\": a GPU's learning rate cannot change; use device = \"cpu\", or leave it out",
            self.on_nan.0
        );
        Ok(self)
    }

    fn check_scores(&mut self) -> Result<()> {
        let mut seen = self.names.scores.to_vec();
        for &Name(further) in &self.further_scores {
            let kind = further.name();
            ensure!(
                !seen.contains(&kind),
                "further_scores: {kind} is recorded already; leave it out"
            );
            ensure!(
                further == FurtherScore::ZNn || seen.contains(&"l2"),
                "further_scores: {kind} is made of l2, and the detector {:?} has {}; leave it out",
                self.detector,
                self.names.scores.join(", ")
            );
            seen.push(kind);
        }
        ensure!(
            self.further_scores.is_empty() || self.modes().contains(&ScoringMode::Running),
            "further_scores: they are of running statistics; add \"running\" to also_score"
        );
        if self.score.is_empty() {
            self.score = seen.first().context("a detector without scores")?.to_string();
        }
        let score = self.score.as_str();
        let further = ["l2_rel", "l2_grad", "z_nn"].contains(&score);
        ensure!(
            seen.contains(&score) || further,
            "unknown score {score:?}: the detector {:?} has {}",
            self.detector,
            self.names.scores.join(", ")
        );
        ensure!(seen.contains(&score), "score = \"{score}\": name it in further_scores, too");
        ensure!(
            self.names.scores.contains(&score) || self.modes() == [ScoringMode::Running],
            "score = \"{score}\": it is of running statistics alone; use also_score = []"
        );
        Ok(())
    }

    /// The scores that are recorded in a mode.
    pub fn kinds(&self, mode: ScoringMode) -> Vec<&'static str> {
        let further = self.further_scores.iter().filter(|_| mode == ScoringMode::Running);
        self.names.scores.iter().copied().chain(further.map(|kind| kind.0.name())).collect()
    }

    /// The score that counts.
    pub fn counts(&self) -> &'static str {
        let all = self.kinds(ScoringMode::Running).into_iter();
        all.into_iter().find(|kind| *kind == self.score).unwrap_or_default()
    }

    /// The scores with an AUROC after every epoch: the score that counts in each mode, then the
    /// further scores.
    pub fn judged(&self) -> Vec<(ScoringMode, &'static str)> {
        let counts = self.counts();
        let further = self.further_scores.iter().map(|kind| kind.0.name());
        let modes = self.modes().into_iter().map(|mode| (mode, counts));
        let further = further.filter(|kind| *kind != counts);
        modes.chain(further.map(|kind| (ScoringMode::Running, kind))).collect()
    }

    /// The name of one of [`Self::judged`]: its mode, or its further score.
    pub fn judged_name(&self, (mode, kind): (ScoringMode, &str)) -> String {
        if kind == self.score { mode.to_string() } else { kind.to_string() }
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

    /// A fresh detector of this run.
    pub fn new_detector(&self, registry: &Registry) -> Result<Box<dyn Detector>> {
        let kind = registry.find_detector(&self.detector)?;
        (kind.build)(&self.settings, self.input(registry)?, self.seed())
    }

    /// The images that the run's network is built for.
    pub fn input(&self, registry: &Registry) -> Result<Input> {
        let channels = registry.find_dataset(&self.dataset)?.image_shape()[0];
        Ok(Input { channels, side: self.isize })
    }

    /// A number among the detector's settings; none if it has no such setting.
    pub fn number(&self, setting: &str) -> Option<f64> {
        let value = self.settings.get(setting)?;
        value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64))
    }

    /// The config as a table of its settings.
    pub fn table(&self) -> Result<Table> {
        let common = Table::try_from(self).context("the config cannot be written as TOML")?;
        // Runs are named after this text, so every setting has its place for ever.
        let (late, early): (Vec<_>, Vec<_>) =
            self.settings.clone().into_iter().partition(|(key, _)| AFTER_EPOCHS.contains(&&**key));
        let (lr, late): (Vec<_>, Vec<_>) = late.into_iter().partition(|(key, _)| key == "lr");
        let mut all = Table::new();
        for (key, value) in common {
            match key.as_str() {
                "epochs" => all.extend(early.clone()),
                "scoring" => all.extend(late.clone()),
                _ => {}
            }
            let is_batch_size = key == "batch_size";
            all.insert(key, value);
            all.extend(lr.iter().filter(|_| is_batch_size).cloned());
        }
        Ok(all)
    }

    /// The resolved config as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(&self.table()?).context("the config cannot be written as TOML")
    }

    /// Reads a resolved config back.
    pub fn from_toml(text: &str, registry: &Registry) -> Result<Self> {
        file::from_text(text, registry)?.resolved(registry)
    }

    /// A config that was resolved before, perhaps on a machine with other GPUs: an omitted device
    /// is the CPU.
    pub fn resolved(mut self, registry: &Registry) -> Result<Self> {
        if self.device.0 == DeviceName::Auto {
            self.device = Name(DeviceName::Cpu);
        }
        self.check(registry)
    }

    /// The run's folder: its class and seed, and 64 bits of a hash of the whole config and the
    /// numerics' generation, so that it cannot be mistaken for a run of another config or
    /// generation.
    pub fn run_name(&self) -> Result<String> {
        let identity = format!("numerics = {NUMERICS}\n{}", self.to_toml()?);
        let hash = sha256(identity.as_bytes());
        Ok(format!("{}-seed{}-{}", self.class(), self.seed(), &hash[..16]))
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
            self.split.0, self.epochs, self.score
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
