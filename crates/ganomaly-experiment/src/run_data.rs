//! Loads a run's images, once for all runs of a process.

use crate::config::{RunConfig, Validation, class_index};
use crate::registry::{Registry, Source};
use crate::sha256::{hex, sha256_of};
use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use ganomaly_data::{
    BatchOptions, Batches, Description, LabeledImages, Normalization, Normalize, Purpose, Split,
    Transform, Verification, shuffled,
};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

/// The whole data set, as published.
pub const OFFICIAL: &str = "official";
/// A data set that is generated on demand.
pub const GENERATED: &str = "generated";
/// The user's own images.
pub const OWN: &str = "own";
/// The beginning of the text that describes any other set.
const NOT_OFFICIAL: &str = "not the official set";

/// Whether a data set's standing is none of [`OFFICIAL`], [`GENERATED`] and [`OWN`], and so
/// must be reported.
pub fn is_partial(standing: &str) -> bool {
    standing.starts_with(NOT_OFFICIAL)
}

/// The data folder and the data sets already read from it.
#[derive(Debug)]
pub struct DataStore {
    registry: Registry,
    loaded: Mutex<HashMap<Source, Loaded>>,
}

/// A data set as it was read.
#[derive(Clone, Debug)]
struct Loaded {
    images: Arc<LabeledImages>,
    /// SHA-256 of images and labels, once it has been requested.
    digest: Arc<OnceLock<String>>,
    /// SHA-256 of each of its files, by name.
    files: Arc<BTreeMap<String, String>>,
    /// Which part of the data set it is, once that has been requested.
    standing: Arc<OnceLock<Arc<str>>>,
}

/// The data that a run is trained and tested on.
#[derive(Clone, Debug)]
pub struct RunData {
    /// All images.
    pub images: Arc<LabeledImages>,
    /// SHA-256 of images and labels, shared by all runs on them, once one has computed it.
    digest: Arc<OnceLock<String>>,
    /// Which part of the data set it is: [`OFFICIAL`], [`GENERATED`], [`OWN`], or how it differs.
    pub standing: Arc<str>,
    /// Which of them are used for training and testing.
    pub split: Split,
    /// Normal images that are used for neither training nor testing.
    pub validation: Vec<u32>,
    /// SHA-256 of each file of the data set, by its name; empty for a generated set.
    pub files: Arc<BTreeMap<String, String>>,
    /// How they are prepared for the network.
    pub transform: Transform,
}

impl DataStore {
    /// A store for the given data folder, or by default the environment's.
    pub fn new(registry: Registry, dir: Option<&Path>) -> Self {
        Self { registry: registry.in_data_dir(dir), loaded: Mutex::default() }
    }

    /// The data sets and detectors.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The data folder.
    pub fn dir(&self) -> &Path {
        self.registry.data_dir()
    }

    /// The data set's images, read at the first call.
    pub fn images(&self, source: &Source) -> Result<Arc<LabeledImages>> {
        Ok(self.load(source)?.images)
    }

    /// SHA-256 of the data set's images and labels.
    pub fn images_sha256(&self, source: &Source) -> Result<String> {
        let Loaded { images, digest, .. } = self.load(source)?;
        Ok(digest.get_or_init(|| images_digest(&images)).clone())
    }

    /// Which part of the data set is there: [`OFFICIAL`], [`GENERATED`], [`OWN`], or how it
    /// differs.
    pub fn standing(&self, source: &Source) -> Result<Arc<str>> {
        let Loaded { images, standing, .. } = self.load(source)?;
        if let Some(there) = standing.get() {
            return Ok(there.clone());
        }
        let found: Arc<str> = match self.registry.find_dataset(source)?.verify(self.dir())? {
            Verification::Official => OFFICIAL.into(),
            Verification::Generated => GENERATED.into(),
            Verification::Own => OWN.into(),
            Verification::Partial(_) => {
                let (train, all) = (images.official_train(), images.len());
                format!("{NOT_OFFICIAL}: {train} training and {} test images", all - train).into()
            }
        };
        Ok(standing.get_or_init(|| found).clone())
    }

    /// SHA-256 of each of the data set's files in the data folder, by name.
    pub fn checksums(&self, source: &Source) -> Result<BTreeMap<String, String>> {
        let mut sums = BTreeMap::new();
        for path in self.registry.find_dataset(source)?.local_files(self.dir())? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let sum = sha256_of(&path);
            sums.insert(name, sum?);
        }
        Ok(sums)
    }

    /// The images and their files' checksums, both obtained at the first call.
    fn load(&self, source: &Source) -> Result<Loaded> {
        // If a thread panicked while reading, at worst an entry is missing.
        let mut loaded = self.loaded.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(there) = loaded.get(source) {
            return Ok(there.clone());
        }
        let dataset = self.registry.find_dataset(source)?;
        let images = Arc::new(dataset.load(self.dir())?);
        let files = Arc::new(self.checksums(source)?);
        let all = Loaded { images, digest: Arc::default(), files, standing: Arc::default() };
        loaded.insert(source.clone(), all.clone());
        Ok(all)
    }

    /// Images, split and transform of a run.
    pub fn prepare(&self, config: &RunConfig) -> Result<RunData> {
        let Loaded { images, digest, files, .. } = self.load(&config.source())?;
        let standing = self.standing(&config.source())?;
        let Description { class_names, image_shape, .. } = &config.images;
        ensure!(
            images.class_names() == class_names && images.shape() == *image_shape,
            "{}: the data have changed since the plan was made: classes {} of shape {:?} then, {} \
             of {:?} now",
            config.dataset,
            class_names.join(", "),
            image_shape,
            images.class_names().join(", "),
            images.shape()
        );
        let class = class_index(class_names, config.class())?;
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
        let transform = transform(config, &self.registry)?;
        Ok(RunData { images, digest, standing, split, validation, files, transform })
    }
}

impl RunData {
    /// These images in their order, in batches; the last may be smaller.
    pub fn batches(&self, images: Vec<u32>, batch_size: usize) -> Result<Batches> {
        let options = BatchOptions {
            batch_size,
            drop_last: false,
            transform: self.transform.clone(),
            augment: None,
            device: Device::Cpu,
            prefetch: 2,
        };
        Ok(Batches::new(self.images.clone(), images, options)?)
    }

    /// SHA-256 of the data set's images and labels.
    pub fn images_sha256(&self) -> &str {
        self.digest.get_or_init(|| images_digest(&self.images))
    }

    /// SHA-256 of all images and their labels, and of which of them are used for training,
    /// validation and testing.
    pub fn sha256(&self) -> String {
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
        hash.update(images.identity(index));
    }
    hash.update(images.labels());
    hex(&hash.finalize())
}

/// Takes the validation images out of the training images; both keep their order.
fn hold_out(train: &mut Vec<u32>, config: &RunConfig) -> Result<Vec<u32>> {
    let (there, count) = (train.len(), config.validation.of(train.len()));
    ensure!(count < there, "validation = {count}: there are only {there} training images");
    if let (0, Validation::Fraction(part)) = (count, config.validation) {
        let least = 1.0 / there as f64;
        bail!(
            "validation = {part}: of {there} training images that is none; use {least:.1e} or more"
        );
    }
    let mut drawn = shuffled(train, config.seed(), Purpose::VALIDATION, 0);
    drawn.truncate(count);
    let drawn: HashSet<u32> = drawn.into_iter().collect();
    let (held_out, kept) = train.iter().partition(|image| drawn.contains(image));
    *train = kept;
    Ok(held_out)
}

/// Resizing and normalisation of a run's images.
pub fn transform(config: &RunConfig, registry: &Registry) -> Result<Transform> {
    let channels = config.images.image_shape[0];
    let normalization = match config.normalize.0 {
        Normalize::Reference => {
            registry.find_dataset(&config.source())?.reference_normalization(channels)
        }
        Normalize::Tanh => Normalization::uniform(channels, 0.5, 0.5),
    };
    Ok(Transform { image_size: config.isize, resize: config.resize.0, normalization })
}
