//! Experiments as TOML: what a run may say, its defaults, and the runs that a `[sweep]` makes.
//!
//! A run is a pure function of its [`RunConfig`]; a copy of it lies beside every result.

use anyhow::{Context, Result, anyhow, bail, ensure};
use ganomaly_data::SplitKind;
use ganomaly_model::ganomaly::{Adversarial, GanomalyConfig};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// Settings of one run. Names are those of the published code where it has them, and defaults are its values; where
/// the published code makes a choice in silence, the setting names it, and the honest choice is the default.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Data set, by its name in the registry. No default.
    pub dataset: String,
    /// The class held out as anomalous, by name or number. No default; with the split `one-class`, `normal_class` is given instead.
    #[serde(deserialize_with = "class_name", skip_serializing_if = "Option::is_none")]
    pub abnormal_class: Option<String>,
    /// The one normal class of the split `one-class`.
    #[serde(deserialize_with = "class_name", skip_serializing_if = "Option::is_none")]
    pub normal_class: Option<String>,
    /// Seed of the split, the weights and the order of the batches, below 2³². No default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// `leave-one-class-out`, `official` or `one-class`.
    pub split: Name<SplitKind>,
    /// `reference` (the published code's mean and deviation) or `tanh` (to [-1, 1]).
    pub normalize: Name<ganomaly_data::Normalize>,
    /// Uses only so many training pictures, for short trials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_limit: Option<usize>,
    /// Uses only so many test pictures, drawn by the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_limit: Option<usize>,
    /// The detector, by its name in the registry.
    pub detector: String,
    /// Side of the pictures that the network sees: a power of two, at least 16.
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
    /// Pictures in a training batch; what is left over at an epoch's end is dropped.
    pub batch_size: usize,
    /// Adam's learning rate.
    pub lr: f64,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// How the result is scored: `running`, `batch-shuffled` or `batch-sequential`.
    pub scoring: Name<ScoringMode>,
    /// Other ways of scoring, recorded beside it.
    pub also_score: Vec<Name<ScoringMode>>,
    /// Pictures in a scoring batch. With batch statistics the scores depend on it.
    pub score_batch_size: usize,
    /// The score that counts: `l2`, `l1` or `con`.
    pub score: Name<ScoreKind>,
    /// Resamples of the bootstrap interval of the AUROC.
    pub bootstrap: usize,
    /// Values to multiply out, by the name of the setting. Empty in a resolved run.
    #[serde(skip_serializing)]
    pub sweep: BTreeMap<String, toml::Spanned<Vec<toml::Value>>>,
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
            beta1: model.beta1,
            beta2: model.beta2,
            scoring: Name(ScoringMode::Running),
            also_score: vec![Name(ScoringMode::BatchShuffled)],
            score_batch_size: 64,
            score: Name(ScoreKind::L2),
            bootstrap: 1000,
            sweep: BTreeMap::new(),
        }
    }
}

/// Batch normalisation while scoring, and the order of the test pictures where it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScoringMode {
    /// Running statistics: a picture's score is its own.
    Running,
    /// Statistics of each scored batch, normal and anomalous pictures mixed by the seed.
    BatchShuffled,
    /// Statistics of each scored batch, all normal pictures first: the published code's, since its loader
    /// does not shuffle where a seed is given.
    BatchSequential,
}

/// Which of a picture's scores is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScoreKind {
    /// Mean squared latent difference, the published code's.
    L2,
    /// Mean absolute latent difference, the paper's.
    L1,
    /// Contextual error.
    Con,
}

macro_rules! names {
    ($type:ty, $what:literal, $($variant:ident = $name:literal),+) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $name),+ })
            }
        }
        impl FromStr for $type {
            type Err = String;
            fn from_str(name: &str) -> Result<Self, String> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(format!("unknown {} {name:?}: use one of {:?}", $what, [$($name),+])),
                }
            }
        }
    };
}
names!(ScoringMode, "scoring", Running = "running", BatchShuffled = "batch-shuffled",
    BatchSequential = "batch-sequential");
names!(ScoreKind, "score", L2 = "l2", L1 = "l1", Con = "con");

/// A value written by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Name<T>(pub T);

impl<T: fmt::Display> Serialize for Name<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Name<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Name).map_err(serde::de::Error::custom)
    }
}

/// A class is written `"airplane"`, `"2"` or 2.
fn class_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a class name or number")]
    enum Class {
        Number(u8),
        Name(String),
    }
    Ok(Some(match Class::deserialize(deserializer)? {
        Class::Number(number) => number.to_string(),
        Class::Name(name) => name,
    }))
}

/// An experiment: a name and its runs, each resolved.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// The file's name without extension; the results' folder.
    pub name: String,
    /// One for each combination of the swept values, the last key's values changing fastest.
    pub runs: Vec<RunConfig>,
    /// The swept settings.
    pub swept: Vec<String>,
}

impl Experiment {
    /// Reads an experiment and multiplies out its sweep; `sets` are `key=value` replacements, values written as in TOML. A list replaces a
    /// setting by a sweep over it.
    pub fn read(path: &Path, sets: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{}: cannot read the experiment", path.display()))?;
        let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or("experiment");
        Self::parse(name, &text, sets).with_context(|| format!("{}", path.display()))
    }

    /// As [`Self::read`], from the file's text.
    pub fn parse(name: &str, text: &str, sets: &[String]) -> Result<Self> {
        // Parsed once typed, for errors with line and key, and once as a table, to be multiplied out.
        let typed: RunConfig = toml::from_str(text).map_err(|e| anyhow!("{e}"))?;
        let mut base: toml::Table = toml::from_str(text).map_err(|e| anyhow!("{e}"))?;
        base.remove("sweep");
        let mut sweep: BTreeMap<String, Vec<toml::Value>> = BTreeMap::new();
        for (key, values) in typed.sweep {
            let line = text[..values.span().start.min(text.len())].lines().count().max(1);
            let values = values.into_inner();
            check_swept(&key, &values, &base)
                .with_context(|| format!("line {line}: in [sweep], key {key:?}"))?;
            sweep.insert(key, values);
        }
        for set in sets {
            apply_set(set, &mut base, &mut sweep).with_context(|| format!("--set {set:?}"))?;
        }
        let swept: Vec<String> = sweep.keys().cloned().collect();
        let runs = multiply(base, &sweep).into_iter().map(resolve).collect::<Result<Vec<_>>>()?;
        Ok(Self { name: name.to_string(), runs, swept })
    }
}

/// Every value must be one that the setting takes.
fn check_swept(key: &str, values: &[toml::Value], base: &toml::Table) -> Result<()> {
    ensure!(!values.is_empty(), "the list is empty");
    ensure!(key != "sweep", "a sweep cannot be swept");
    for value in values {
        let mut table = base.clone();
        table.insert(key.to_string(), value.clone());
        let _: RunConfig = table.try_into().map_err(|e: toml::de::Error| anyhow!("{value}: {}", e.message()))?;
    }
    Ok(())
}

fn apply_set(
    set: &str,
    base: &mut toml::Table,
    sweep: &mut BTreeMap<String, Vec<toml::Value>>,
) -> Result<()> {
    let (key, value) = set.split_once('=').context("expected key=value")?;
    let (key, value) = (key.trim(), value.trim());
    // A word that is not a TOML value is taken as a string: --set scoring=running.
    let value = match toml::from_str::<toml::Table>(&format!("v = {value}")) {
        Ok(mut table) => table.remove("v").context("expected key=value")?,
        Err(_) => toml::Value::String(value.to_string()),
    };
    sweep.remove(key);
    match value {
        toml::Value::Array(values) if key != "also_score" => {
            check_swept(key, &values, base)?;
            base.remove(key);
            sweep.insert(key.to_string(), values);
        }
        value => {
            check_swept(key, std::slice::from_ref(&value), base)?;
            base.insert(key.to_string(), value);
        }
    }
    Ok(())
}

fn multiply(base: toml::Table, sweep: &BTreeMap<String, Vec<toml::Value>>) -> Vec<toml::Table> {
    let mut tables = vec![base];
    for (key, values) in sweep {
        tables = tables
            .into_iter()
            .flat_map(|table| {
                values.iter().map(move |value| {
                    let mut table = table.clone();
                    table.insert(key.clone(), value.clone());
                    table
                })
            })
            .collect();
    }
    tables
}

fn resolve(table: toml::Table) -> Result<RunConfig> {
    let config: RunConfig =
        table.try_into().map_err(|e: toml::de::Error| anyhow!("{}", e.message()))?;
    config.check()
}

impl RunConfig {
    /// Refuses what cannot run, and writes out what was left open: class numbers become names.
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
        ensure!(other.is_none(), "{other_key}: the split {:?} takes {key}", self.split.0.to_string());
        let class = given.as_mut().with_context(|| format!("{key}: not given, and there is no default"))?;
        *class = classes[class_index(&classes, class).with_context(|| format!("{key} = {class:?}"))?].clone();
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
        }
        let mut seen = vec![self.scoring.0];
        for mode in &self.also_score {
            ensure!(!seen.contains(&mode.0), "also_score: {:?} is named twice", mode.0.to_string());
            seen.push(mode.0);
        }
        Ok(self)
    }

    /// All ways of scoring, the one that counts first.
    pub fn modes(&self) -> Vec<ScoringMode> {
        std::iter::once(&self.scoring).chain(&self.also_score).map(|m| m.0).collect()
    }

    /// The class that the run is about, anomalous or, in `one-class`, normal.
    pub fn class(&self) -> &str {
        self.abnormal_class.as_deref().or(self.normal_class.as_deref()).unwrap_or_default()
    }

    /// The seed; 0 only in a config that was never checked.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_default()
    }

    /// The network's part, for pictures of `nc` channels.
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
        toml::from_str::<Self>(text).map_err(|e| anyhow!("{e}"))?.check()
    }

    /// The run's folder: its class and seed for people, and a hash of the whole config, so that another config never overwrites it.
    pub fn run_name(&self) -> Result<String> {
        let digest = Sha256::digest(self.to_toml()?.as_bytes());
        let hash: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
        Ok(format!("{}-seed{}-{hash}", self.class(), self.seed()))
    }

    /// One line that says how the numbers came about, for tables and plots.
    pub fn protocol(&self) -> String {
        let statistics = match self.scoring.0 {
            ScoringMode::Running => "running batch-norm statistics",
            ScoringMode::BatchShuffled => "batch statistics, shuffled test set",
            ScoringMode::BatchSequential => "batch statistics, sequential test set",
        };
        format!("{}, {statistics}, last of {} epochs, score {}", self.split.0, self.epochs, self.score.0)
    }
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
