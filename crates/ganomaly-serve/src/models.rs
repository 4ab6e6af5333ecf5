//! The models that are served, by name.

use crate::failure::Failure;
use anyhow::{Context, Result, ensure};
use axum::http::StatusCode;
use ganomaly_data::printable;
use ganomaly_experiment::record::WEIGHTS;
use ganomaly_experiment::registry::Registry;
use ganomaly_inference::images::Images;
use ganomaly_inference::scorer::Scorer;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// A model and what the service needs of it.
pub struct Model {
    pub about: About,
    /// Reads images, without the network.
    pub images: Images,
    /// Only the thread that scores takes it.
    pub scorer: Mutex<Scorer>,
}

/// What clients are told of a model.
#[derive(Debug, Serialize)]
pub struct About {
    pub name: String,
    pub detector: String,
    /// 1 for grey, 3 for colour; images are converted.
    pub channels: usize,
    /// Side of what they are resized to.
    pub side: usize,
    /// The names of all scores.
    pub scores: Vec<&'static str>,
    /// The one that counts; none if the model is not calibrated.
    pub score: Option<String>,
    /// Images that score higher are anomalous.
    pub threshold: Option<f64>,
    /// At most this share of normal images are called anomalous.
    pub false_alarms: Option<f64>,
    /// The scores of the calibration's normal images.
    pub normal_scores: Vec<f64>,
    /// All of it in words.
    pub text: String,
}

impl Model {
    fn load(path: &Path, registry: &Registry, pixels: u64) -> Result<Self> {
        let scorer = Scorer::load(path, registry)?;
        let mut images = scorer.images().clone();
        images.limits.pixels = images.limits.pixels.min(pixels);
        let model = scorer.model();
        let calibrated = model.calibration.as_ref();
        let about = About {
            name: name(path),
            detector: model.detector.clone(),
            channels: model.channels,
            side: model.isize,
            scores: scorer.names().to_vec(),
            score: calibrated.map(|c| c.score.clone()),
            threshold: scorer.threshold(),
            false_alarms: calibrated.map(|c| c.threshold.promised),
            normal_scores: calibrated.map(|c| c.normal_scores.clone()).unwrap_or_default(),
            text: model.explain()?,
        };
        Ok(Self { about, images, scorer: Mutex::new(scorer) })
    }
}

/// A model file's name without its ending, or a run's.
fn name(path: &Path) -> String {
    let path = match path.parent() {
        Some(run) if path.ends_with(WEIGHTS) => run,
        _ => path,
    };
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    printable(&name.unwrap_or(path.as_os_str()).to_string_lossy())
}

/// All models, which can be read again while they are used.
pub struct Shelf {
    paths: Vec<PathBuf>,
    registry: Registry,
    pixels: u64,
    models: RwLock<Vec<Arc<Model>>>,
}

impl Shelf {
    /// Reads the models, whose images have at most this number of pixels.
    pub fn fill(paths: Vec<PathBuf>, registry: &Registry, pixels: u64) -> Result<Self> {
        let models = RwLock::default();
        let shelf = Self { paths, registry: registry.clone(), pixels, models };
        shelf.refill()?;
        Ok(shelf)
    }

    /// Reads them all again; if one cannot be read, those that are there stay.
    pub fn refill(&self) -> Result<()> {
        let mut all: Vec<Arc<Model>> = Vec::new();
        for path in &self.paths {
            let model = Model::load(path, &self.registry, self.pixels)?;
            let name = &model.about.name;
            ensure!(
                all.iter().all(|other| other.about.name != *name),
                "two models have the name {name}; rename a file"
            );
            all.push(Arc::new(model));
        }
        *self.models.write().unwrap_or_else(PoisonError::into_inner) = all;
        Ok(())
    }

    pub fn all(&self) -> Vec<Arc<Model>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The model of this name; without a name, the only one.
    pub fn find(&self, name: Option<&str>) -> Result<Arc<Model>, Failure> {
        let all = self.all();
        let names: Vec<&str> = all.iter().map(|model| model.about.name.as_str()).collect();
        let found = match name {
            None if all.len() > 1 => {
                let message =
                    format!("name a model, as in ?model={}: {}", names[0], names.join(", "));
                return Err(Failure::new(StatusCode::BAD_REQUEST, message));
            }
            None => all.first(),
            Some(name) => all.iter().find(|model| model.about.name == name),
        };
        found.cloned().ok_or_else(|| {
            let message = format!("no such model; there are {}", names.join(", "));
            Failure::new(StatusCode::NOT_FOUND, message)
        })
    }
}

impl Model {
    /// What was found out about images; the one thread that scores calls it.
    pub fn with_scorer<T>(&self, use_it: impl FnOnce(&Scorer) -> Result<T>) -> Result<T> {
        use_it(&self.scorer.lock().unwrap_or_else(PoisonError::into_inner))
            .with_context(|| self.about.name.clone())
    }
}
