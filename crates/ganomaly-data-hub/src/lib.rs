#![doc = include_str!("../README.md")]

mod files;

use candle_core::{DType, Result as Read};
use candle_datasets::vision;
use ganomaly_data::datasets::{Cifar10, Mnist};
use ganomaly_data::{
    About, Dataset, Description, Error, FetchOptions, LabeledImages, Normalization, Progress,
    Result, Verification, folders, shown,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// A data set as candle-datasets reads it.
pub struct Hub {
    name: &'static str,
    homepage: &'static str,
    /// The same data set in ganomaly-data. Its strict reader checks the files before the reader of
    /// candle-datasets, which trusts them.
    strict: Box<dyn Dataset>,
    read_folder: fn(&Path) -> Read<vision::Dataset>,
    read_hub: fn() -> Read<vision::Dataset>,
    /// The files that candle-datasets reads.
    files: &'static [&'static str],
    /// Their contents.
    encode: fn(&LabeledImages) -> Vec<Vec<u8>>,
}

/// `hub-mnist`, `hub-fashion-mnist` and `hub-cifar10`.
pub fn datasets() -> [Hub; 3] {
    let mnist = Hub {
        name: "hub-mnist",
        homepage: "https://huggingface.co/datasets/ylecun/mnist",
        strict: Box::new(Mnist::digits()),
        read_folder: |folder| vision::mnist::load_dir(folder),
        read_hub: vision::mnist::load,
        files: &files::IDX,
        encode: files::idx,
    };
    let fashion = Hub {
        name: "hub-fashion-mnist",
        homepage: "https://huggingface.co/datasets/zalando-datasets/fashion_mnist",
        strict: Box::new(Mnist::fashion()),
        read_hub: vision::fashion_mnist::load,
        ..mnist
    };
    let cifar10 = Hub {
        name: "hub-cifar10",
        homepage: "https://huggingface.co/datasets/uoft-cs/cifar10",
        strict: Box::new(Cifar10),
        read_folder: |folder| vision::cifar::load_dir(folder),
        read_hub: || {
            // candle-datasets 0.11 takes rows for columns.
            let read = vision::cifar::load()?;
            let (train_images, test_images) = (read.train_images.t()?, read.test_images.t()?);
            Ok(vision::Dataset { train_images, test_images, ..read })
        },
        files: &files::BATCHES,
        encode: files::batches,
    };
    [mnist, fashion, cifar10]
}

impl Hub {
    fn folder(&self, place: &Path) -> PathBuf {
        place.join(self.strict.name())
    }

    /// The files in one of the places for the data set. `strict` finds the same ones there.
    fn paths(&self, place: &Path) -> Vec<PathBuf> {
        self.files.iter().map(|name| self.folder(place).join(name)).collect()
    }

    /// The place that has all files.
    fn place(&self, data_dir: &Path) -> Result<PathBuf> {
        let places = folders(data_dir, self.name);
        let complete = |place: &&PathBuf| self.paths(place).iter().all(|path| path.is_file());
        places.iter().find(complete).cloned().ok_or_else(|| Error::MissingFiles {
            dataset: self.name.into(),
            files: self.files.iter().map(|name| format!("{name} (unpacked)")).collect(),
            folders: places.iter().map(|place| self.folder(place)).collect(),
        })
    }

    /// The bytes that the numbers in [0, 1] were made of. One image at a time, as all of them would
    /// take gigabytes.
    fn images(&self, read: vision::Dataset, place: &Path) -> Result<LabeledImages> {
        let train = read.train_labels.elem_count();
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for (images, of) in
            [(read.train_images, read.train_labels), (read.test_images, read.test_labels)]
        {
            for index in 0..images.dim(0)? {
                let bytes = (images.get(index)? * 255.)?.round()?.to_dtype(DType::U8)?;
                pixels.extend(bytes.flatten_all()?.to_vec1::<u8>()?);
            }
            labels.extend(of.to_vec1::<u8>()?);
        }
        LabeledImages::new(pixels, labels, self.strict.describe(place)?, train)
    }

    /// Fetches through the hub's client.
    fn fetch(
        &self,
        place: &Path,
        options: &FetchOptions,
        report: &mut dyn FnMut(Progress<'_>),
    ) -> Result<()> {
        let paths = self.paths(place);
        if paths.iter().all(|path| path.is_file()) && self.strict.load(place).is_ok() {
            self.files.iter().for_each(|name| report(Progress::Present(name)));
            return Ok(());
        }
        let folder = self.folder(place);
        let read = guarded(self.read_hub).and_then(|read| self.images(read, place)).map_err(|e| {
            let (name, files, folder) = (self.name, self.files.join(", "), shown(&folder));
            Error::Invalid(format!(
                "{name} could not be fetched from the Hugging Face hub: {e}\nName another hub with HF_ENDPOINT, remove a damaged download from HF_HUB_CACHE (else ~/.cache/huggingface/hub), or put these files, unpacked, into {folder}: {files}"
            ))
        })?;
        if options.cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let io = |path: &Path, cause| Error::Io { path: path.into(), cause };
        std::fs::create_dir_all(&folder).map_err(|e| io(&folder, e))?;
        for ((path, bytes), name) in paths.iter().zip((self.encode)(&read)).zip(self.files) {
            let partial = path.with_added_extension(format!("{}.partial", std::process::id()));
            std::fs::write(&partial, bytes).map_err(|e| io(&partial, e))?;
            std::fs::rename(&partial, path).map_err(|e| io(path, e))?;
            report(Progress::Done(name));
        }
        Ok(())
    }
}

impl Dataset for Hub {
    fn name(&self) -> &str {
        self.name
    }

    fn describe(&self, data_dir: &Path) -> Result<Description> {
        self.strict.describe(data_dir)
    }

    fn about(&self) -> About {
        About { homepage: self.homepage, ..self.strict.about() }
    }

    fn reference_normalization(&self, channels: usize) -> Normalization {
        self.strict.reference_normalization(channels)
    }

    /// candle-datasets downloads and reads in one go. The images are written to files, which
    /// [`Self::load`] reads without the network.
    fn fetch_into(
        &self,
        place: &Path,
        options: &FetchOptions,
        report: &mut dyn FnMut(Progress<'_>),
    ) -> Option<Result<()>> {
        Some(self.fetch(place, options, report))
    }

    fn load(&self, data_dir: &Path) -> Result<LabeledImages> {
        let place = self.place(data_dir)?;
        self.strict.load(&place)?;
        let path = self.folder(&place);
        let read = guarded(|| (self.read_folder)(&path));
        let read = read.map_err(|e| Error::Malformed {
            path,
            problem: format!("{e}; of CIFAR-10, it takes only files of 10,000 images"),
        })?;
        self.images(read, &place)
    }

    fn local_files(&self, data_dir: &Path) -> Result<Vec<PathBuf>> {
        Ok(self.paths(&self.place(data_dir)?))
    }

    fn verify(&self, data_dir: &Path) -> Result<Verification> {
        self.strict.verify(&self.place(data_dir)?)
    }
}

/// candle-datasets panics on some malformed files.
fn guarded<T>(read: impl FnOnce() -> Read<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(e)) => Err(Error::Invalid(format!("candle-datasets cannot read it: {e}"))),
        Err(_) => Err(Error::Invalid("candle-datasets panicked on it".into())),
    }
}
