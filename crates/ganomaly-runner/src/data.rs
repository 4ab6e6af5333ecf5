//! Loading a run's pictures, once for all runs of a process.

use crate::checksums::sha256_of;
use crate::config::{RunConfig, class_index};
use crate::registry;
use anyhow::{Context, Result, ensure};
use ganomaly_data::{LabeledImages, Normalization, Normalize, Split, Transform, shuffled};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

/// The random stream that validation pictures are drawn from; `evaluate.rs` has the one above it.
const VALIDATION_STREAM: u64 = u64::MAX - 1;

/// The data folder and the data sets already read from it.
#[derive(Debug)]
pub struct DataStore {
    dir: PathBuf,
    loaded: Mutex<HashMap<String, Loaded>>,
}

/// A data set's pictures, their SHA-256 once someone has asked for it, and that of each of its files by name.
type Loaded = (Arc<LabeledImages>, Arc<OnceLock<String>>, Arc<BTreeMap<String, String>>);

/// What a run learns from and is tested on.
#[derive(Clone, Debug)]
pub struct RunData {
    /// All pictures.
    pub images: Arc<LabeledImages>,
    /// SHA-256 of pictures and labels, shared by all runs on them, once one has computed it.
    pub(crate) digest: Arc<OnceLock<String>>,
    /// Which of them train and test.
    pub split: Split,
    /// Normal pictures that neither train nor test.
    pub validation: Vec<u32>,
    /// SHA-256 of each file of the data set, by its name; empty for a set that is drawn.
    pub files: Arc<BTreeMap<String, String>>,
    /// Their way into the network.
    pub transform: Transform,
}

impl DataStore {
    /// A store over the given data folder, else that of the environment.
    pub fn new(dir: Option<&Path>) -> Self {
        Self { dir: ganomaly_data::data_dir(dir), loaded: Mutex::default() }
    }

    /// The data folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The data set's pictures, read at the first call.
    pub fn images(&self, name: &str) -> Result<Arc<LabeledImages>> {
        Ok(self.load(name)?.0)
    }

    /// SHA-256 of each of the data set's files, as they lie in the data folder, by name.
    pub(crate) fn checksums(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let mut sums = BTreeMap::new();
        for path in registry::dataset(name)?.local_files(&self.dir)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let sum = sha256_of(&path);
            sums.insert(name, sum.with_context(|| format!("{}: cannot read", path.display()))?);
        }
        Ok(sums)
    }

    /// The pictures and their files' checksums, both taken at the first call.
    fn load(&self, name: &str) -> Result<Loaded> {
        // A thread that panicked while reading leaves at worst an entry missing.
        let mut loaded = self.loaded.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(there) = loaded.get(name) {
            return Ok(there.clone());
        }
        let dataset = registry::dataset(name)?;
        let images = Arc::new(dataset.load(&self.dir)?);
        let all = (images, Arc::default(), Arc::new(self.checksums(name)?));
        loaded.insert(name.to_string(), all.clone());
        Ok(all)
    }

    /// Pictures, split and transform of a run.
    pub fn prepare(&self, config: &RunConfig) -> Result<RunData> {
        let (images, digest, files) = self.load(&config.dataset)?;
        let class = class_index(images.class_names(), config.class())?;
        let class = u8::try_from(class).context("a class number above 255")?;
        let mut split = Split::new(
            config.split.0,
            images.labels(),
            images.official_train(),
            class,
            config.seed(),
        )?
        .limit(config.train_limit, config.test_limit, config.seed());
        let validation = hold_out(&mut split.train, config)?;
        Ok(RunData { images, digest, split, validation, files, transform: transform(config)? })
    }
}

/// Takes the validation pictures out of those that train; both stay in their order.
fn hold_out(train: &mut Vec<u32>, config: &RunConfig) -> Result<Vec<u32>> {
    let (there, count) = (train.len(), config.validation.of(train.len()));
    ensure!(count < there, "validation = {count}: there are only {there} training pictures");
    let mut drawn = shuffled(train, config.seed(), VALIDATION_STREAM);
    drawn.truncate(count);
    let drawn: HashSet<u32> = drawn.into_iter().collect();
    let (held_out, kept) = train.iter().partition(|picture| drawn.contains(picture));
    *train = kept;
    Ok(held_out)
}

/// Resizing and normalisation of a run's pictures.
pub fn transform(config: &RunConfig) -> Result<Transform> {
    let dataset = registry::dataset(&config.dataset)?;
    let normalization = match config.normalize.0 {
        Normalize::Reference => dataset.reference_normalization(),
        Normalize::Tanh => Normalization::uniform(dataset.image_shape()[0], 0.5, 0.5),
    };
    Ok(Transform { image_size: config.isize, normalization })
}
