//! Images that stay in their files: read when they are needed, and kept, resized, in a bounded
//! amount of memory.

use crate::image_file::{decode, malformed, planes, read_file};
use crate::{Limits, Resize, Result, resize};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// An image file as it was when it was first read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageFile {
    pub path: PathBuf,
    pub sha256: [u8; 32],
}

/// Files, and those of their images that are in memory.
#[derive(Debug)]
pub(crate) struct ImageFiles {
    files: Vec<ImageFile>,
    channels: usize,
    limits: Limits,
    kept: Mutex<Kept>,
}

/// Images of one size. Every epoch reads each image once, in another order, so that what is kept
/// first is as good as any: nothing is ever dropped for another.
#[derive(Debug, Default)]
struct Kept {
    of: Option<(usize, Resize)>,
    images: Vec<Option<Arc<[u8]>>>,
    bytes: u64,
}

impl PartialEq for ImageFiles {
    fn eq(&self, other: &Self) -> bool {
        (&self.files, self.channels) == (&other.files, other.channels)
    }
}

impl ImageFiles {
    pub fn new(files: Vec<ImageFile>, channels: usize, limits: Limits) -> Self {
        Self { files, channels, limits, kept: Mutex::default() }
    }

    pub fn get(&self, index: usize) -> Option<&ImageFile> {
        self.files.get(index)
    }

    /// The image as `[C, size, size]`; none if there is no such image. Fails if its file is not what
    /// it was.
    pub fn resized(&self, index: usize, size: usize, mode: Resize) -> Option<Result<Arc<[u8]>>> {
        let file = self.files.get(index)?;
        let there = self.kept(size, mode).images[index].clone();
        Some(there.map_or_else(|| self.read(index, file, size, mode), Ok))
    }

    fn read(&self, index: usize, file: &ImageFile, size: usize, mode: Resize) -> Result<Arc<[u8]>> {
        let bytes = read_file(&file.path, &self.limits)?;
        if Sha256::digest(&bytes)[..] != file.sha256 {
            return Err(malformed(
                &file.path,
                "it has changed since it was first read; start again",
            ));
        }
        let image = decode(&bytes, &self.limits).map_err(|e| malformed(&file.path, &e))?;
        let (pixels, shape) = planes(image, self.channels);
        let image: Arc<[u8]> = resize(&pixels, shape, size, mode)?.into_owned().into();
        let mut kept = self.kept(size, mode);
        let bytes = kept.bytes + image.len() as u64;
        if bytes <= self.limits.kept_bytes && kept.images[index].is_none() {
            kept.images[index] = Some(image.clone());
            kept.bytes = bytes;
        }
        Ok(image)
    }

    /// What is kept of this size; of another, nothing is.
    fn kept(&self, size: usize, mode: Resize) -> MutexGuard<'_, Kept> {
        // If a thread panicked here, at worst an image is missing.
        let mut kept = self.kept.lock().unwrap_or_else(|e| e.into_inner());
        if kept.of != Some((size, mode)) {
            let images = vec![None; self.files.len()];
            *kept = Kept { of: Some((size, mode)), images, bytes: 0 };
        }
        kept
    }
}
