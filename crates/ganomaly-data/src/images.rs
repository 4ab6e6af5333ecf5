//! Images with labels, as bytes, and what they are of.

use crate::image_files::{ImageFiles, Mask};
use crate::{Error, Resize, Result, Transform, resize};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

/// The classes and the shape of a data set's images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The classes, in the order of the labels.
    pub class_names: Vec<String>,
    /// `[C, H, W]` of each image.
    pub image_shape: [usize; 3],
    /// Whether the data folder decides, not the data set alone. Then every run's config records
    /// classes and shape, so that results can be read without the data.
    pub found: bool,
    /// The one normal class, where the data set says it; an experiment then need not.
    pub normal_class: Option<String>,
}

impl Description {
    /// Of a data set that is the same everywhere.
    pub fn new<T: Into<String>>(
        class_names: impl IntoIterator<Item = T>,
        image_shape: [usize; 3],
    ) -> Self {
        let class_names = class_names.into_iter().map(Into::into).collect();
        Self { class_names, image_shape, found: false, normal_class: None }
    }
}

/// Images as bytes 0 to 255, with one label each: `[N, C, H, W]` in memory, or files of any size.
/// The first `official_train` images are the data set's official training part, the others its test
/// part, both in file order.
#[derive(Clone, Debug, PartialEq)]
pub struct LabeledImages {
    pixels: Pixels,
    shape: [usize; 3],
    labels: Vec<u8>,
    class_names: Vec<String>,
    official_train: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Pixels {
    Here(Vec<u8>),
    Files(Arc<ImageFiles>),
}

impl LabeledImages {
    /// Combines images and labels of the described classes and shape. Fails if the counts disagree
    /// or a label has no class.
    pub fn new(
        pixels: Vec<u8>,
        labels: Vec<u8>,
        Description { class_names, image_shape: shape, .. }: Description,
        official_train: usize,
    ) -> Result<Self> {
        let each: usize = shape.iter().product();
        if each == 0 || pixels.len() != labels.len() * each {
            return Err(Error::Invalid(format!(
                "{} bytes are not {} images of shape {shape:?}",
                pixels.len(),
                labels.len()
            )));
        }
        Self::build(Pixels::Here(pixels), shape, labels, class_names, official_train)
    }

    /// Files with a label each.
    pub(crate) fn of_files(
        files: ImageFiles,
        labels: Vec<u8>,
        Description { class_names, image_shape, .. }: Description,
        official_train: usize,
    ) -> Result<Self> {
        let files = Pixels::Files(Arc::new(files));
        Self::build(files, image_shape, labels, class_names, official_train)
    }

    fn build(
        pixels: Pixels,
        shape: [usize; 3],
        labels: Vec<u8>,
        class_names: Vec<String>,
        official_train: usize,
    ) -> Result<Self> {
        if official_train > labels.len() {
            return Err(Error::Invalid(format!(
                "{official_train} training images of {} in all",
                labels.len()
            )));
        }
        if let Some(at) = labels.iter().position(|&l| usize::from(l) >= class_names.len()) {
            return Err(Error::Invalid(format!(
                "image {at} has label {}, but there are {} classes",
                labels[at],
                class_names.len()
            )));
        }
        Ok(Self { pixels, shape, labels, class_names, official_train })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// `[C, H, W]`; of files, whose sizes differ, that of the largest.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Each image's class, an index into [`Self::class_names`].
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// The classes' names.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Number of images in the official training part.
    pub fn official_train(&self) -> usize {
        self.official_train
    }

    /// The bytes `[C, H, W]` of image `index`, or `None` if there is no such image in memory.
    pub fn image(&self, index: usize) -> Option<&[u8]> {
        let each: usize = self.shape.iter().product();
        match &self.pixels {
            Pixels::Here(pixels) => {
                pixels.get(index.checked_mul(each)?..(index + 1).checked_mul(each)?)
            }
            Pixels::Files(_) => None,
        }
    }

    /// Image `index` as bytes `[C, size, size]`. Fails if there is no such image, or if its file
    /// cannot be read any more or has changed.
    pub fn resized(&self, index: usize, size: usize, mode: Resize) -> Result<Cow<'_, [u8]>> {
        let found = match &self.pixels {
            Pixels::Here(_) => self.image(index).map(|image| resize(image, self.shape, size, mode)),
            Pixels::Files(files) => files
                .resized(index, size, mode)
                .map(|image| image.map(|image| Cow::Owned(image.to_vec()))),
        };
        found.unwrap_or_else(|| {
            Err(Error::Invalid(format!("there is no image {index} among {}", self.len())))
        })
    }

    /// Writes image `index` to `out`, `[C, S, S]`, as the network takes it. Fails as
    /// [`Self::resized`].
    pub fn prepared(&self, index: usize, transform: &Transform, out: &mut [f32]) -> Result<()> {
        let resized = self.resized(index, transform.image_size, transform.resize)?;
        transform.normalize(&resized, out);
        Ok(())
    }

    /// What tells image `index` from any other: its bytes, or the SHA-256 of its file and of its
    /// mask. Empty if there is no such image.
    pub fn identity(&self, index: usize) -> &[u8] {
        match &self.pixels {
            Pixels::Here(_) => self.image(index).unwrap_or_default(),
            Pixels::Files(files) => files.get(index).map_or(&[], |file| file.identity()),
        }
    }

    /// Whether any image has a mask of its defects.
    pub fn have_masks(&self) -> bool {
        matches!(&self.pixels, Pixels::Files(files) if files.have_masks())
    }

    /// The defective pixels of image `index`, at the size of its file; none if no mask says which
    /// they are. A normal image has none, beside others that have masks. Fails if a file cannot be
    /// read any more or has changed.
    pub fn mask(&self, index: usize, anomalous: bool) -> Result<Option<Mask>> {
        let Pixels::Files(files) = &self.pixels else { return Ok(None) };
        if let Some(mask) = files.mask(index) {
            return mask.map(Some);
        }
        if anomalous || !files.have_masks() {
            return Ok(None);
        }
        let size = files.size(index).transpose()?;
        let normal = |[height, width]: [usize; 2]| Mask {
            defective: vec![false; height * width],
            height,
            width,
        };
        Ok(size.map(normal))
    }

    /// The file of image `index`; none of images in memory.
    pub fn path(&self, index: usize) -> Option<&Path> {
        match &self.pixels {
            Pixels::Here(_) => None,
            Pixels::Files(files) => files.get(index).map(|file| file.image.path.as_path()),
        }
    }
}
