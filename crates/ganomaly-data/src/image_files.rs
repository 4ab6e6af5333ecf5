//! Images that stay in their files: read when they are needed, and kept, resized, in a bounded
//! amount of memory.

use crate::image_file::{decode, malformed, planes, read_file};
use crate::{Limits, Resize, Result, resize};
use image::DynamicImage;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// Which pixels of an image are defective, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// True for each defective pixel.
    pub defective: Vec<bool>,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

/// An image file as it was when it was first read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageFile {
    pub path: PathBuf,
    pub sha256: [u8; 32],
}

impl ImageFile {
    /// Fails if it is not what it was.
    fn read(&self, limits: &Limits) -> Result<DynamicImage> {
        let bytes = read_file(&self.path, limits)?;
        if Sha256::digest(&bytes)[..] != self.sha256 {
            return Err(malformed(
                &self.path,
                "it has changed since it was first read; start again",
            ));
        }
        decode(&bytes, limits).map_err(|e| malformed(&self.path, &e))
    }
}

/// An image and the mask of its defects, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MaskedFile {
    pub image: ImageFile,
    pub mask: Option<ImageFile>,
    /// SHA-256 of the image's bytes, or, with a mask, of both digests.
    identity: [u8; 32],
}

impl MaskedFile {
    pub fn new(image: ImageFile, mask: Option<ImageFile>) -> Self {
        let identity = match &mask {
            None => image.sha256,
            Some(mask) => Sha256::digest([image.sha256, mask.sha256].concat()).into(),
        };
        Self { image, mask, identity }
    }

    pub fn identity(&self) -> &[u8] {
        &self.identity
    }
}

/// Files, and those of their images that are in memory.
#[derive(Debug)]
pub(crate) struct ImageFiles {
    files: Vec<MaskedFile>,
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
    pub fn new(files: Vec<MaskedFile>, channels: usize, limits: Limits) -> Self {
        Self { files, channels, limits, kept: Mutex::default() }
    }

    pub fn get(&self, index: usize) -> Option<&MaskedFile> {
        self.files.get(index)
    }

    pub fn have_masks(&self) -> bool {
        self.files.iter().any(|file| file.mask.is_some())
    }

    /// The defective pixels of an image, at its own size: none without a mask.
    pub fn mask(&self, index: usize) -> Option<Result<Mask>> {
        let mask = self.files.get(index)?.mask.as_ref()?;
        let read = |image: DynamicImage| {
            let (pixels, [_, height, width]) = planes(image, 1);
            Mask { defective: pixels.iter().map(|&v| v > 127).collect(), height, width }
        };
        Some(mask.read(&self.limits).map(read))
    }

    /// Height and width of an image as it is in its file.
    pub fn size(&self, index: usize) -> Option<Result<[usize; 2]>> {
        let read = self.files.get(index)?.image.read(&self.limits);
        Some(read.map(|image| [image.height() as usize, image.width() as usize]))
    }

    /// The image as `[C, size, size]`; none if there is no such image. Fails if its file is not what
    /// it was.
    pub fn resized(&self, index: usize, size: usize, mode: Resize) -> Option<Result<Arc<[u8]>>> {
        let file = self.files.get(index)?;
        let there = self.kept(size, mode).images[index].clone();
        Some(there.map_or_else(|| self.read(index, &file.image, size, mode), Ok))
    }

    fn read(&self, index: usize, file: &ImageFile, size: usize, mode: Resize) -> Result<Arc<[u8]>> {
        let (pixels, shape) = planes(file.read(&self.limits)?, self.channels);
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
