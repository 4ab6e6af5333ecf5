//! Loading a run's pictures, once for all runs of a process.

use crate::checksums::{hex, sha256_of};
use crate::config::{RunConfig, Validation, class_index};
use crate::registry;
use anyhow::{Context, Result, bail, ensure};
use ganomaly_data::{
    LabeledImages, Normalization, Normalize, Purpose, Split, Transform, Verification, shuffled,
};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

/// The whole data set, as its publisher has it.
pub const OFFICIAL: &str = "official";
/// A data set that is drawn when it is needed.
pub const GENERATED: &str = "generated";
/// How a line begins that tells of anything else.
const NOT_OFFICIAL: &str = "not the official set";

/// Whether a data set's standing is neither [`OFFICIAL`] nor [`GENERATED`], and so to be told.
pub fn is_partial(standing: &str) -> bool {
    standing.starts_with(NOT_OFFICIAL)
}

/// The data folder and the data sets already read from it.
#[derive(Debug)]
pub struct DataStore {
    dir: PathBuf,
    loaded: Mutex<HashMap<String, Loaded>>,
}

/// A data set as it was read.
#[derive(Clone, Debug)]
struct Loaded {
    images: Arc<LabeledImages>,
    /// SHA-256 of images and labels, once someone has asked for it.
    digest: Arc<OnceLock<String>>,
    /// SHA-256 of each of its files, by name.
    files: Arc<BTreeMap<String, String>>,
    /// What part of the data set it is, once someone has asked.
    standing: Arc<OnceLock<Arc<str>>>,
}

/// What a run learns from and is tested on.
#[derive(Clone, Debug)]
pub struct RunData {
    /// All pictures.
    pub images: Arc<LabeledImages>,
    /// SHA-256 of images and labels, shared by all runs on them, once one has computed it.
    digest: Arc<OnceLock<String>>,
    /// What part of the data set that is: [`OFFICIAL`], [`GENERATED`], or how it differs.
    pub standing: Arc<str>,
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
        Ok(self.load(name)?.images)
    }

    /// SHA-256 of the data set's images and labels.
    pub fn images_sha256(&self, name: &str) -> Result<String> {
        let Loaded { images, digest, .. } = self.load(name)?;
        Ok(digest.get_or_init(|| images_digest(&images)).clone())
    }

    /// What part of the data set is there: [`OFFICIAL`], [`GENERATED`], or how it differs.
    pub fn standing(&self, name: &str) -> Result<Arc<str>> {
        let Loaded { images, standing, .. } = self.load(name)?;
        if let Some(there) = standing.get() {
            return Ok(there.clone());
        }
        let found: Arc<str> = match registry::dataset(name)?.verify(&self.dir)? {
            Verification::Official => OFFICIAL.into(),
            Verification::Generated => GENERATED.into(),
            Verification::Partial(_) => {
                let (train, all) = (images.official_train(), images.len());
                format!("{NOT_OFFICIAL}: {train} training and {} test images", all - train).into()
            }
        };
        Ok(standing.get_or_init(|| found).clone())
    }

    /// SHA-256 of each of the data set's files, as they lie in the data folder, by name.
    pub(crate) fn checksums(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let mut sums = BTreeMap::new();
        for path in registry::dataset(name)?.local_files(&self.dir)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let sum = sha256_of(&path);
            sums.insert(name, sum?);
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
        let files = Arc::new(self.checksums(name)?);
        let all = Loaded { images, digest: Arc::default(), files, standing: Arc::default() };
        loaded.insert(name.to_string(), all.clone());
        Ok(all)
    }

    /// Pictures, split and transform of a run.
    pub fn prepare(&self, config: &RunConfig) -> Result<RunData> {
        let Loaded { images, digest, files, .. } = self.load(&config.dataset)?;
        let standing = self.standing(&config.dataset)?;
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
        let transform = transform(config)?;
        Ok(RunData { images, digest, standing, split, validation, files, transform })
    }
}

impl RunData {
    /// SHA-256 of the data set's images and labels.
    pub fn images_sha256(&self) -> &str {
        self.digest.get_or_init(|| images_digest(&self.images))
    }

    /// SHA-256 of all images and their labels, and of which of them train, validate and test.
    pub(crate) fn sha256(&self) -> String {
        let mut hash = Sha256::new_with_prefix(self.images_sha256());
        for indices in [&self.split.train, &self.validation, &self.split.test] {
            hash.update(indices.len().to_le_bytes());
            for index in indices {
                hash.update(index.to_le_bytes());
            }
        }
        hex(&hash.finalize())
    }
}

fn images_digest(images: &LabeledImages) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{:?} {} {}", images.shape(), images.len(), images.official_train()));
    for index in 0..images.len() {
        hash.update(images.image(index).unwrap_or_default());
    }
    hash.update(images.labels());
    hex(&hash.finalize())
}

/// Takes the validation pictures out of those that train; both stay in their order.
fn hold_out(train: &mut Vec<u32>, config: &RunConfig) -> Result<Vec<u32>> {
    let (there, count) = (train.len(), config.validation.of(train.len()));
    ensure!(count < there, "validation = {count}: there are only {there} training pictures");
    if let (0, Validation::Fraction(part)) = (count, config.validation) {
        let least = 1.0 / there as f64;
        bail!(
            "validation = {part}: of {there} training images that is none; use {least:.1e} or more"
        );
    }
    let mut drawn = shuffled(train, config.seed(), Purpose::VALIDATION, 0);
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
