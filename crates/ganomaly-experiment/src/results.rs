//! The finished runs of an experiment, read only from its folder.

use crate::config::RunConfig;
use crate::plan::{self, Plan};
use crate::record::auroc::{LEVEL, RunAuroc};
use crate::record::epochs::Epochs;
use crate::record::provenance::Provenance;
use crate::record::scores::TestScores;
use crate::record::{CONFIG, Metrics, PROVENANCE, checksums, read_metrics};
use crate::registry::Registry;
use crate::run_data::is_partial;
use anyhow::{Context, Result, ensure};
use ganomaly_metrics::{Estimate, RunValue, estimate};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::path::{Path, PathBuf};

/// Keys in which the runs of one setting differ; any other difference is another setting.
pub const WITHIN_A_SETTING: [&str; 3] = ["abnormal_class", "normal_class", "seed"];

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// Its folder's name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Its resolved config.
    pub config: RunConfig,
    /// The config as stored in the folder.
    pub toml: String,
    /// Its metrics.
    pub metrics: Metrics,
    /// `run.json`: version, machine, times, and any other fields of the record.
    pub about: serde_json::Map<String, serde_json::Value>,
    /// `epochs.csv`.
    pub epochs: Epochs,
    /// Indices of the test images in the data set.
    pub images: Vec<u32>,
    /// Which of them are anomalous.
    pub anomalous: Vec<bool>,
    /// Their scores, in the mode and kind that count.
    pub scores: Vec<f64>,
    /// Its AUROC, with the test images resampled.
    pub auroc: RunAuroc,
}

/// One setting of an experiment: its runs differ only in class and seed.
#[derive(Debug)]
pub struct Setting {
    /// The keys and values that distinguish it from the others, as in TOML; none if it is the only
    /// one.
    pub values: Vec<(String, String)>,
    /// Its runs, by class and seed.
    pub runs: Vec<Run>,
    /// The classes that have a run, in the data set's order.
    pub classes: Vec<String>,
    /// The seeds that have a run, in rising order.
    pub seeds: Vec<u64>,
}

impl Setting {
    /// Its values in one line; empty if it is the only one.
    pub fn name(&self) -> String {
        let each = self.values.iter().map(|(key, value)| format!("{key} = {value}"));
        each.collect::<Vec<_>>().join(", ")
    }

    /// The first run; every setting has one.
    pub fn first(&self) -> &Run {
        &self.runs[0]
    }

    /// The runs of a class, by seed.
    pub fn of_class<'a>(&'a self, class: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| run.config.class() == class)
    }

    /// The AUROC of a class and seed.
    pub fn auroc(&self, class: &str, seed: u64) -> Option<f64> {
        self.of_class(class).find(|run| run.config.seed() == seed).map(|run| run.metrics.auroc)
    }

    /// The AUROCs of a class, by seed.
    pub fn aurocs(&self, class: &str) -> Vec<f64> {
        self.of_class(class).map(|run| run.metrics.auroc).collect()
    }

    /// The mean AUROC over all runs with both kinds of uncertainty.
    pub fn average(&self) -> Result<Estimate> {
        Self::mean(self.runs.iter())
    }

    /// The mean AUROC over a class's runs.
    pub fn mean_of(&self, class: &str) -> Result<Estimate> {
        Self::mean(self.of_class(class))
    }

    fn mean<'a>(runs: impl Iterator<Item = &'a Run>) -> Result<Estimate> {
        let values: Vec<RunValue<'_>> = runs.map(|run| run.auroc.value()).collect();
        estimate(&values, LEVEL).context("the mean AUROC")
    }
}

/// An experiment's finished runs.
#[derive(Debug)]
pub struct Results {
    /// The experiment's name, which is its folder's.
    pub name: String,
    /// The data set, with the note on its images.
    pub dataset: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Its settings with their runs, at least one.
    pub settings: Vec<Setting>,
    /// The keys that differ between settings.
    pub keys: Vec<String>,
    /// Runs of the plan that are not finished.
    pub missing: usize,
    /// Finished runs that are not in the plan, and so not in the report.
    pub others: usize,
}

impl Results {
    /// Reads the finished runs in an experiment's folder: those of its plan, if it has one, as in
    /// its tables.
    pub fn read(folder: &Path, registry: &Registry) -> Result<Self> {
        let plan = Plan::of_folder(folder, registry)?;
        let done = plan.finished(folder)?;
        ensure!(
            !done.is_empty(),
            "{}: no run of its plan is finished; `ganomaly sweep` does them",
            folder.display()
        );
        let read = |run: &&plan::Run| Run::read(&folder.join(&run.name), registry);
        let runs = done.par_iter().map(read).collect::<Result<Vec<_>>>()?;
        let path = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
        let name =
            path.file_name().map_or("experiment".into(), |n| n.to_string_lossy().into_owned());
        let (missing, others) = (plan.runs.len() - runs.len(), plan.others(folder)?.len());
        let results = Self::of_runs(name, folder.to_path_buf(), runs)?;
        let dataset = dataset(folder, &done)?;
        Ok(Self { dataset, missing, others, ..results })
    }

    fn of_runs(name: String, folder: PathBuf, runs: Vec<Run>) -> Result<Self> {
        let tables = runs.iter().map(|run| run.config.table()).collect::<Result<Vec<_>>>()?;
        let mut keys: Vec<String> = Vec::new();
        for key in tables.iter().flat_map(toml::Table::keys) {
            let differs = tables.iter().any(|t| t.get(key) != tables[0].get(key));
            if differs && !keys.contains(key) && !WITHIN_A_SETTING.contains(&key.as_str()) {
                keys.push(key.clone());
            }
        }
        let mut keyed = Vec::new();
        for (run, table) in runs.into_iter().zip(tables) {
            let values: Vec<Option<toml::Value>> =
                keys.iter().map(|key| table.get(key).cloned()).collect();
            let mut classes = run.config.images.class_names.iter();
            let class = classes.position(|c| c == run.config.class()).unwrap_or_default();
            keyed.push((values, class, run.config.seed(), run));
        }
        keyed.sort_by(|a, b| {
            let values = a.0.iter().zip(&b.0).map(|(a, b)| compare(a.as_ref(), b.as_ref()));
            let values = values.fold(Ordering::Equal, Ordering::then);
            values.then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)).then_with(|| a.3.name.cmp(&b.3.name))
        });
        let mut settings: Vec<(Vec<Option<toml::Value>>, Setting)> = Vec::new();
        for (values, _, seed, run) in keyed {
            if settings.last().is_none_or(|(last, _)| *last != values) {
                let written = values.iter().zip(&keys).map(|(value, key)| {
                    (key.clone(), value.as_ref().map_or("unset".into(), shown))
                });
                let setting = Setting {
                    values: written.collect(),
                    runs: Vec::new(),
                    classes: Vec::new(),
                    seeds: Vec::new(),
                };
                settings.push((values, setting));
            }
            let Some((_, setting)) = settings.last_mut() else { continue };
            let class = run.config.class().to_string();
            if !setting.classes.contains(&class) {
                setting.classes.push(class);
            }
            if let Err(at) = setting.seeds.binary_search(&seed) {
                setting.seeds.insert(at, seed);
            }
            setting.runs.push(run);
        }
        let settings = settings.into_iter().map(|(_, setting)| setting).collect();
        let dataset = String::new();
        Ok(Self { name, dataset, folder, settings, keys, missing: 0, others: 0 })
    }

    /// Every run.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.settings.iter().flat_map(|setting| &setting.runs)
    }
}

/// A TOML value for display: a string without its quotes, a number without needless digits.
fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Float(number) => format!("{number}"),
        other => other.to_string(),
    }
}

/// Numbers by size, everything else by its text; unset values come first.
fn compare(a: Option<&toml::Value>, b: Option<&toml::Value>) -> Ordering {
    let number = |v: &toml::Value| v.as_float().or_else(|| v.as_integer().map(|i| i as f64));
    match (a, b) {
        (Some(a), Some(b)) => match (number(a), number(b)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => a.to_string().cmp(&b.to_string()),
        },
        _ => a.is_some().cmp(&b.is_some()),
    }
}

impl Run {
    fn read(folder: &Path, registry: &Registry) -> Result<Self> {
        let read = |name: &str| {
            let text = String::from_utf8(checksums::read(folder, name)?);
            text.with_context(|| format!("{}: not text", folder.join(name).display()))
        };
        let toml = read(CONFIG)?;
        let config = RunConfig::from_toml(&toml, registry)
            .with_context(|| format!("{}", folder.join(CONFIG).display()))?;
        let about = serde_json::from_str(&read(PROVENANCE)?).with_context(|| {
            format!("{}: not a run's record", folder.join(PROVENANCE).display())
        })?;
        let epochs = Epochs::read(folder)?;
        let metrics = read_metrics(folder)?;
        let tested = TestScores::read(folder, &config)?;
        let auroc = RunAuroc::of(&config, metrics.auroc, tested.clone())
            .with_context(|| format!("{}", folder.display()))?;
        let scores = tested.of((config.scoring.0, config.counts())).to_vec();
        let TestScores { images, anomalous, .. } = tested;
        Ok(Self {
            name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            folder: folder.to_path_buf(),
            metrics,
            config,
            toml,
            about,
            epochs,
            images,
            anomalous,
            scores,
            auroc,
        })
    }

    /// The scores of the normal and of the anomalous images.
    pub fn scores_by_kind(&self) -> (Vec<f64>, Vec<f64>) {
        let (mut normal, mut anomalies) = (Vec::new(), Vec::new());
        for (&score, &anomalous) in self.scores.iter().zip(&self.anomalous) {
            if anomalous { anomalies.push(score) } else { normal.push(score) }
        }
        (normal, anomalies)
    }
}

/// A note on the images that the runs used; none if all are of an official set.
pub fn images(folder: &Path, runs: &[&plan::Run]) -> Result<Option<String>> {
    let Some(first) = runs.first() else { return Ok(None) };
    let images = Provenance::read(&folder.join(&first.name))?.images.unwrap_or_default();
    Ok(Some(images).filter(|images| is_partial(images)))
}

/// The data set of finished runs, with the note on its images.
pub fn dataset(folder: &Path, runs: &[&plan::Run]) -> Result<String> {
    let name = runs.first().map_or("", |run| run.config.dataset.as_str());
    Ok(match images(folder, runs)? {
        Some(images) => format!("{name} ({images})"),
        None => name.to_string(),
    })
}
