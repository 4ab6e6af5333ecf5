//! Experiments as TOML: the settings of a run, their defaults, and the runs that a `[sweep]`
//! generates.
//!
//! A run is a pure function of its [`RunConfig`]; a copy of it is stored with every result.

mod check;
pub mod design;
mod experiment;
mod file;
mod further;
mod values;

pub use design::Design;
pub use experiment::Experiment;
pub use file::{from_table, settings};
pub use further::{Correction, Further, FurtherScore};
pub use values::in_words;
pub use values::{
    DeviceName, KeepScores, Name, OnNan, Precision, ScoringMode, Validation, parse_value,
};

use crate::numerics::NUMERICS;
use crate::registry::{Registry, Source};
use crate::sha256::sha256;
use anyhow::{Context, Result, bail};
use ganomaly_data::{Augment, Description, Flip, Part, SplitKind};
use ganomaly_model::tiles::Tiles;
use ganomaly_model::{Detector, Input, Names};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use toml::Table;

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
    /// The folder of images, for a data set that has no place of its own, such as `folder`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// 1 (grey) or 3 (colour) for the images in `root`; by default as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// One of the sets of images that the data set consists of, such as `bottle` of `mvtec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The classes that were found in the data folder, if the data set cannot know them without it.
    /// Set when a plan is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_classes: Option<Vec<String>>,
    /// The `[C, H, W]` that was found there, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_shape: Option<[usize; 3]>,
    /// Classes and shape of the images, in a resolved config.
    #[serde(skip)]
    pub images: Description,
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
    /// `leave-one-class-out`, `official`, `one-class`, `overlapping` or `normal-only`.
    pub split: Name<SplitKind>,
    /// `reference` (the published code's mean and standard deviation) or `tanh` (to [-1, 1]).
    pub normalize: Name<ganomaly_data::Normalize>,
    /// How images that are not square become so: `crop` (their centred square), `stretch`, or `pad`
    /// (with black).
    #[serde(skip_serializing_if = "is_default")]
    pub resize: Name<ganomaly_data::Resize>,
    /// Mirrors training images at random: `none`, `horizontal`, `vertical` or `both`.
    #[serde(skip_serializing_if = "is_default")]
    pub flip: Name<Flip>,
    /// Shifts training images at random, along each axis by up to this part of the side, 0 to 0.5.
    #[serde(skip_serializing_if = "is_default")]
    pub shift: f64,
    /// Rotates training images at random, by up to this many degrees in both directions.
    #[serde(skip_serializing_if = "is_default")]
    pub rotate: f64,
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
    /// Side of the tiles that the network sees instead of whole images; `isize`, at least as large,
    /// then is the side of the image that they are cut from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tile: Option<usize>,
    /// Distance of the tiles that are scored; half a tile if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
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
    /// Scores recorded beside the detector's own, under running statistics only: `z_nn`, `z_maha`,
    /// `map_max`, and any of the detector's with `_rel`, `_grad` or `_png`, such as `l2_grad`.
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
    /// Sets of settings, each combined with the whole sweep. Empty in a resolved run.
    #[serde(skip_serializing)]
    pub variant: Vec<Table>,
    /// Weightings to multiply with the sweep. None in a resolved run.
    #[serde(skip_serializing)]
    pub design: Option<Design>,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            dataset: String::new(),
            root: None,
            channels: None,
            category: None,
            found_classes: None,
            found_shape: None,
            images: Description::default(),
            abnormal_class: None,
            normal_class: None,
            seed: None,
            split: Name(SplitKind::LeaveOneClassOut),
            normalize: Name(ganomaly_data::Normalize::Reference),
            resize: Name::default(),
            flip: Name::default(),
            shift: 0.0,
            rotate: 0.0,
            train_limit: None,
            test_limit: None,
            validation: Validation::default(),
            detector: "ganomaly".into(),
            isize: 32,
            tile: None,
            stride: None,
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
            variant: Vec::new(),
            design: None,
        }
    }
}

impl RunConfig {
    /// Where its images are from.
    pub fn source(&self) -> Source {
        let (root, channels, category) = (self.root.clone(), self.channels, self.category.clone());
        Source { dataset: self.dataset.clone(), part: Part { root, channels, category } }
    }

    /// How training images change at random.
    pub fn augment(&self) -> Augment {
        Augment { flip: self.flip.0, shift: self.shift, rotate: self.rotate }
    }

    /// How images are cut into tiles; none if the network sees them whole.
    pub fn tiles(&self) -> Option<Tiles> {
        self.tile.zip(self.stride).map(|(tile, stride)| Tiles { tile, stride })
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
        kind.detector(&self.settings, self.input(), self.tiles(), self.seed())
    }

    /// The images of the run, whole.
    pub fn input(&self) -> Input {
        Input { channels: self.images.image_shape[0], side: self.isize }
    }

    /// What the run's network sees: these images, or tiles of them.
    pub fn network_input(&self) -> Input {
        Input { side: self.tile.unwrap_or(self.isize), ..self.input() }
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
            ScoringMode::Single => "each image's own statistics",
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
