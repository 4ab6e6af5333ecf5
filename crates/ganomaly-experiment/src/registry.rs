//! The data sets and detectors that a program knows, by name.

use crate::config::DeviceName;
use anyhow::{Context, Result};
use ganomaly_data::{Dataset, Description, Part};
use ganomaly_model::anogan::AnoganConfig;
use ganomaly_model::egbad::EgbadConfig;
use ganomaly_model::ganomaly::GanomalyConfig;
use ganomaly_model::skip_ganomaly::SkipGanomalyConfig;
use ganomaly_model::tiles::{Tiled, Tiles, tiled};
use ganomaly_model::vae::VaeConfig;
use ganomaly_model::{Detector, Input, Names, Settings};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use toml::{Table, Value};

/// A kind of detector: its settings as TOML, and how to make one.
#[derive(Clone, Debug)]
pub struct DetectorKind {
    /// Its name in configs.
    pub name: &'static str,
    /// What it calls its scores and losses.
    pub names: Names,
    /// Every setting with its default, in the order of the file.
    pub defaults: Table,
    /// Reads settings from text; what it leaves out has its default.
    pub parse: fn(&str) -> Result<Table, toml::de::Error>,
    /// The same from a table.
    pub complete: fn(Table) -> Result<Table, toml::de::Error>,
    /// Refuses settings that cannot run on such images.
    pub check: fn(&Table, Input) -> Result<()>,
    /// A fresh detector for such images, drawn from the seed.
    pub build: fn(&Table, Input, u64) -> Result<Box<dyn Detector>>,
    /// A lower bound of the number of weights.
    pub least_weights: fn(&Table, Input) -> Result<u64>,
}

impl DetectorKind {
    /// The kind with these settings.
    pub fn of<S: Settings>() -> Result<Self> {
        Ok(Self {
            name: S::DETECTOR,
            names: S::NAMES,
            defaults: Table::try_from(S::default()).context("settings that are not TOML")?,
            parse: |text| table(&toml::from_str::<S>(text)?),
            complete: |settings| table(&settings.try_into::<S>()?),
            check: |settings, input| Ok(typed::<S>(settings)?.check(input)?),
            build: |settings, input, seed| Ok(typed::<S>(settings)?.build(input, seed)?),
            least_weights: |settings, input| Ok(typed::<S>(settings)?.least_weights(input)),
        })
    }
}

impl DetectorKind {
    /// A fresh detector for such images, or for tiles of them.
    pub fn detector(
        &self,
        settings: &Table,
        input: Input,
        tiles: Option<Tiles>,
        seed: u64,
    ) -> Result<Box<dyn Detector>> {
        let Some(tiles) = tiles else { return (self.build)(settings, input, seed) };
        let inner = (self.build)(settings, Input { side: tiles.tile, ..input }, seed)?;
        Ok(Box::new(Tiled::new(inner, tiles, input, seed)))
    }

    /// What it calls its scores and losses.
    pub fn names(&self, tiles: Option<Tiles>) -> Names {
        if tiles.is_some() { tiled(self.names) } else { self.names }
    }
}

fn table<S: Settings>(settings: &S) -> Result<Table, toml::de::Error> {
    Table::try_from(settings).map_err(serde::de::Error::custom)
}

fn typed<S: Settings>(settings: &Table) -> Result<S> {
    settings.clone().try_into().context("the detector's settings")
}

/// Where a run's images are from.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The data set, by its name in the registry.
    pub dataset: String,
    /// What an experiment asks for of it.
    pub part: Part,
}

impl Source {
    /// A whole data set in its own place.
    pub fn of(dataset: &str) -> Self {
        Self { dataset: dataset.into(), ..Self::default() }
    }

    /// What a config asks for.
    pub fn of_config(config: &Table) -> Self {
        let text = |key| config.get(key).and_then(Value::as_str).map(String::from);
        let channels = config.get("channels").and_then(Value::as_integer);
        let channels = channels.and_then(|channels| usize::try_from(channels).ok());
        let part = Part { root: text("root"), channels, category: text("category") };
        Self { dataset: text("dataset").unwrap_or_default(), part }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.dataset)?;
        let Part { root, category, .. } = &self.part;
        category.iter().try_for_each(|category| write!(f, " {category}"))?;
        root.iter().try_for_each(|root| write!(f, " in {root}"))
    }
}

/// The data sets and detectors that a config may name, where the data are, and the device that
/// `auto` means. A program of one's own starts from [`Registry::builtin`] and adds to it.
#[derive(Clone)]
pub struct Registry {
    datasets: Vec<Arc<dyn Dataset>>,
    detectors: Vec<DetectorKind>,
    auto_device: fn() -> DeviceName,
    data_dir: PathBuf,
    /// Found once, so that all runs of a plan have the same.
    descriptions: Arc<Mutex<BTreeMap<Source, Description>>>,
    /// The parts of data sets that experiments name, opened once.
    parts: Arc<Mutex<BTreeMap<Source, Arc<dyn Dataset>>>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let datasets: Vec<&str> = self.datasets.iter().map(|d| d.name()).collect();
        f.debug_struct("Registry")
            .field("datasets", &datasets)
            .field("detectors", &self.names())
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// This project's data sets and detectors; `auto` is the CPU, and the data folder that of the
    /// environment.
    pub fn builtin() -> Self {
        let none = Self {
            datasets: ganomaly_data::builtin().into_iter().map(Arc::from).collect(),
            detectors: Vec::new(),
            auto_device: || DeviceName::Cpu,
            data_dir: ganomaly_data::data_dir(None),
            descriptions: Arc::default(),
            parts: Arc::default(),
        };
        none.detector::<GanomalyConfig>()
            .detector::<SkipGanomalyConfig>()
            .detector::<VaeConfig>()
            .detector::<EgbadConfig>()
            .detector::<AnoganConfig>()
    }

    /// Adds a data set; one of the same name is replaced.
    #[must_use]
    pub fn dataset(mut self, dataset: impl Dataset + 'static) -> Self {
        self.datasets.retain(|there| there.name() != dataset.name());
        self.datasets.push(Arc::new(dataset));
        self
    }

    /// Adds the kind of detector with these settings; one of the same name is replaced. Settings
    /// whose defaults cannot be written as TOML (such as a nested list of structs) add nothing.
    #[must_use]
    pub fn detector<S: Settings>(mut self) -> Self {
        self.detectors.retain(|there| there.name != S::DETECTOR);
        self.detectors.extend(DetectorKind::of::<S>());
        self
    }

    /// Decides what the device `auto` is.
    #[must_use]
    pub fn auto_device(mut self, device: fn() -> DeviceName) -> Self {
        self.auto_device = device;
        self
    }

    /// Decides where the data are; by default as the environment says.
    #[must_use]
    pub fn in_data_dir(mut self, dir: Option<&Path>) -> Self {
        self.data_dir = ganomaly_data::data_dir(dir);
        self.descriptions = Arc::default();
        self.parts = Arc::default();
        self
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Classes and shape of a data set's images.
    pub fn describe(&self, source: &Source) -> Result<Description> {
        // If a thread panicked here, at worst an entry is missing.
        let mut known = self.descriptions.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(there) = known.get(source) {
            return Ok(there.clone());
        }
        let found = self.find_dataset(source)?.describe(&self.data_dir)?;
        known.insert(source.clone(), found.clone());
        Ok(found)
    }

    /// Every data set.
    pub fn datasets(&self) -> &[Arc<dyn Dataset>] {
        &self.datasets
    }

    /// Every kind of detector.
    pub fn detectors(&self) -> &[DetectorKind] {
        &self.detectors
    }

    fn names(&self) -> Vec<&str> {
        self.detectors.iter().map(|there| there.name).collect()
    }

    /// A data set, or the part of it that an experiment names.
    pub fn find_dataset(&self, source: &Source) -> Result<Arc<dyn Dataset>> {
        let Source { dataset: name, part } = source;
        let named = self.datasets.iter().find(|there| there.name() == name).with_context(|| {
            let names: Vec<&str> = self.datasets.iter().map(|there| there.name()).collect();
            let hub = match name.starts_with("hub-") {
                true => "; it needs a program built with the feature `hub`",
                false => "",
            };
            format!("dataset = {name:?}: unknown; the data sets are {}{hub}", names.join(", "))
        })?;
        if *part == Part::default() {
            return Ok(named.clone());
        }
        let mut opened = self.parts.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(there) = opened.get(source) {
            return Ok(there.clone());
        }
        let there = named.part(part).with_context(|| match part {
            Part { category: Some(category), .. } => {
                format!("category = {category:?}: the data set {name} has no such category")
            }
            Part { root: Some(root), .. } => {
                format!("root = {root:?}: the data set {name} has one place, the data folder")
            }
            _ => format!("channels: the data set {name} has one number of channels; leave it out"),
        })?;
        opened.insert(source.clone(), there.clone());
        Ok(there)
    }

    /// The kind of detector of that name.
    pub fn find_detector(&self, name: &str) -> Result<&DetectorKind> {
        self.detectors.iter().find(|there| there.name == name).with_context(|| {
            let names = self.names().join(", ");
            format!("detector = {name:?}: unknown; the detectors are {names}")
        })
    }

    /// The device itself, or what `auto` means.
    pub fn device(&self, device: DeviceName) -> DeviceName {
        if device == DeviceName::Auto { (self.auto_device)() } else { device }
    }
}
