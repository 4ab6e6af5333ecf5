//! The data set interface. Implement [`Dataset`] in your own crate to add one.

use crate::{Description, Error, FetchOptions, LabeledImages, Normalization, Progress, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a data set comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its contents, in one sentence.
    pub description: &'static str,
    /// Its home page.
    pub homepage: &'static str,
    /// Its licence, or what is known about it.
    pub licence: &'static str,
    /// The work to cite.
    pub citation: &'static str,
}

/// The expected checksum of a file, in lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256 of the file.
    Sha256(&'static str),
    /// SHA-256 of the unpacked gz file, so any recompression passes.
    UnpackedSha256(&'static str),
    /// MD5 of the file, if its publisher gives nothing better.
    Md5(&'static str),
}

/// A file to download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its name in the data set's folder.
    pub name: String,
    /// Addresses of the folder that contains it, tried in turn; each ends in a slash.
    pub mirrors: Vec<String>,
    /// At most this many bytes are read.
    pub max_bytes: u64,
    /// Its expected checksum.
    pub checksum: Checksum,
}

/// What [`Dataset::verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The complete official set.
    Official,
    /// Readable, but not the official set; says how it differs.
    Partial(String),
    /// Images are drawn: there are no files to compare.
    Generated,
    /// The user's own images, or a data set of which no copy is in the data folder because nothing
    /// downloads it.
    Own,
}

/// Which of a data set's images an experiment asks for, if it says more than the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// The folder that they are in, instead of the data folder.
    pub root: Option<String>,
    /// Their channels, 1 or 3, instead of those that are found.
    pub channels: Option<usize>,
    /// One of several sets of images with the same layout, such as a kind of product.
    pub category: Option<String>,
}

/// A source of labelled images.
pub trait Dataset: Send + Sync {
    /// The name used in configs and folders.
    fn name(&self) -> &str;

    /// Classes and shape of the images. A data set that depends on what lies in `data_dir/<name>/`
    /// or `data_dir` may look there, and fails if it is missing or makes no sense.
    fn describe(&self, data_dir: &Path) -> Result<Description>;

    /// Origin and licence.
    fn about(&self) -> About;

    /// The part of it that an experiment asks for; none if it has no such parts. Problems with the
    /// files are for later, when they are read.
    fn part(&self, _part: &Part) -> Option<Arc<dyn Dataset>> {
        None
    }

    /// What a user should know of the files that were found, a line each.
    fn notes(&self, _data_dir: &Path) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// The files that [`crate::fetch`] downloads; none for a synthetic set.
    fn files(&self) -> Vec<RemoteFile> {
        Vec::new()
    }

    /// Brings what is missing into `folder`, for [`crate::fetch`], if that takes more than a
    /// download of [`Self::files`]; none otherwise.
    fn fetch_into(
        &self,
        _folder: &Path,
        _options: &FetchOptions,
        _report: &mut dyn FnMut(Progress<'_>),
    ) -> Option<Result<()>> {
        None
    }

    /// Mean and standard deviation, by channel, used by published work on this set, for images
    /// scaled to [0, 1].
    fn reference_normalization(&self, channels: usize) -> Normalization {
        Normalization::uniform(channels, 0.5, 0.5)
    }

    /// Reads the images from `data_dir/<name>/` or `data_dir` itself. Never downloads.
    fn load(&self, data_dir: &Path) -> Result<LabeledImages>;

    /// The files that [`Self::load`] reads, so that records can name them; none for a synthetic
    /// set.
    fn local_files(&self, _data_dir: &Path) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    /// Whether the files are the official ones.
    fn verify(&self, data_dir: &Path) -> Result<Verification> {
        let images = self.load(data_dir)?;
        Ok(Verification::Partial(format!("{} images, no checksums are known", images.len())))
    }
}

/// The data folder: the given one, else `GANOMALY_DATA_DIR`, else `data`.
pub fn data_dir(given: Option<&Path>) -> PathBuf {
    match (given, std::env::var_os("GANOMALY_DATA_DIR")) {
        (Some(path), _) => path.to_path_buf(),
        (None, Some(path)) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from("data"),
    }
}

/// The folders where the files of data set `name` may be.
pub fn folders(data_dir: &Path, name: &str) -> Vec<PathBuf> {
    vec![data_dir.join(name), data_dir.to_path_buf()]
}

/// The first of `names` that is a file, in the first folder that has one; else the first that
/// exists in another form (a folder, a pipe, a dangling link), which opening it then reports.
pub(crate) fn find(folders: &[PathBuf], names: &[String]) -> Option<PathBuf> {
    let candidates = || folders.iter().flat_map(|f| names.iter().map(|n| f.join(n)));
    let there = |path: &PathBuf| path.symlink_metadata().is_ok();
    candidates().find(|path| path.is_file()).or_else(|| candidates().find(there))
}

pub(crate) fn missing(dataset: &str, files: Vec<String>, folders: Vec<PathBuf>) -> Error {
    Error::MissingFiles { dataset: dataset.to_string(), files, folders }
}
