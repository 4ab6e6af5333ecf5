//! A folder of image files.

mod layout;
mod similar;

pub use layout::{Found, Layout};

use self::similar::{Thumbnail, similar};
use crate::image_file::{decode, read_file};
use crate::image_files::{ImageFile, ImageFiles, MaskedFile};
use crate::{
    About, Dataset, Description, Error, LabeledImages, Limits, Part, Result, Verification, shown,
};
use image::DynamicImage;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// At most this many files are named in a note.
const NAMED: usize = 5;

/// The images in a folder, of any size: PNG, JPEG, BMP, TIFF, WebP. [`Layout::of`] has the layouts.
/// Every file is read once at the start, so that what cannot be read is known then.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    root: Option<PathBuf>,
    channels: Option<usize>,
    scan: Arc<Mutex<Option<Arc<Scan>>>>,
}

/// A folder whose files were all read once.
#[derive(Debug)]
pub struct Scan {
    /// The files that are images, their classes, and what was passed over.
    pub layout: Layout,
    /// Each file's contents, in the same order.
    files: Vec<MaskedFile>,
    /// Pairs of images that look the same, by their positions.
    similar: Vec<(usize, usize)>,
    /// `[C, H, W]` of the largest.
    shape: [usize; 3],
}

/// What is known of an image that was read.
struct Seen {
    file: ImageFile,
    size: [usize; 2],
    has_colour: bool,
    thumbnail: Thumbnail,
}

impl Folder {
    /// The images of a folder; with 1 or 3 channels, or with 1 if all are grey, else 3.
    pub fn new(root: &Path, channels: Option<usize>) -> Self {
        Self { root: Some(root.to_path_buf()), channels, scan: Arc::default() }
    }

    /// Reads every file, at the first call.
    pub fn scan(&self) -> Result<Arc<Scan>> {
        // If a thread panicked while reading, nothing is there.
        let mut there = self.scan.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(scan) = &*there {
            return Ok(scan.clone());
        }
        let root = self.root.as_deref().ok_or_else(|| {
            Error::Invalid("dataset = \"folder\": name the folder, as in root = \"parts\"".into())
        })?;
        let scan = Arc::new(Scan::of(root, self.channels)?);
        *there = Some(scan.clone());
        Ok(scan)
    }
}

impl Scan {
    fn of(root: &Path, channels: Option<usize>) -> Result<Self> {
        if channels.is_some_and(|c| !matches!(c, 1 | 3)) {
            return Err(Error::Invalid("channels: use 1 (grey) or 3 (colour)".into()));
        }
        let limits = Limits::from_env()?;
        let mut layout = Layout::of(root)?;
        if layout.files.len() > limits.images {
            return Err(Error::malformed(
                root,
                format!(
                    "{} images, more than the {} that are read; GANOMALY_MAX_PICTURES raises the limit",
                    layout.files.len(),
                    limits.images
                ),
            ));
        }
        let seen: Vec<Result<Seen>> =
            layout.files.par_iter().map(|found| look(&found.path, &limits)).collect();
        let (mut files, mut images, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut thumbnails, mut colour) = (Vec::new(), false);
        let mut by_content: HashMap<[u8; 32], usize> = HashMap::new();
        for (found, seen) in std::mem::take(&mut layout.files).into_iter().zip(seen) {
            let seen = match seen {
                Ok(seen) => seen,
                Err(e) => {
                    layout.passed_over.push((found.path, e.problem()));
                    continue;
                }
            };
            let first = *by_content.entry(seen.file.sha256).or_insert(images.len());
            if let Some(same) = images.get(first) {
                same_bytes(same, &found, layout.has_parts)?;
                if !layout.has_parts {
                    let why = format!("the same image as {}", shown(&same.path));
                    layout.passed_over.push((found.path, why));
                    continue;
                }
            }
            sizes.push(seen.size);
            colour |= seen.has_colour;
            files.push(seen.file);
            thumbnails.push(seen.thumbnail);
            images.push(found);
        }
        layout.files = images;
        if layout.files.is_empty() {
            return Err(Error::malformed(
                root,
                format!("not one image in it can be read. {}", layout.unread()),
            ));
        }
        let masks = layout.files.par_iter().zip(&sizes);
        let masks = masks.map(|(found, &size)| mask(found, size, &limits));
        let masks = masks.collect::<Result<Vec<_>>>()?;
        let files = files.into_iter().zip(masks).map(|(image, mask)| MaskedFile::new(image, mask));
        let channels = channels.unwrap_or(if colour { 3 } else { 1 });
        let [h, w] = sizes.into_iter().max_by_key(|[h, w]| h * w).unwrap_or_default();
        // In one part, they do no harm.
        let apart = |&(a, b): &(usize, usize)| {
            !layout.has_parts || layout.files[a].train != layout.files[b].train
        };
        let similar = similar(&thumbnails).into_iter().filter(apart).collect();
        Ok(Self { files: files.collect(), similar, shape: [channels, h, w], layout })
    }

    /// The folder in one line, and, if something in it was not read, what.
    pub fn notes(&self) -> Vec<String> {
        let Layout { kind, files, classes, passed_over, .. } = &self.layout;
        let count = |class: usize| files.iter().filter(|f| usize::from(f.class) == class).count();
        let counts: Vec<String> =
            classes.iter().enumerate().map(|(at, name)| format!("{} {name}", count(at))).collect();
        let colours = if self.shape[0] == 1 { "grey" } else { "colour" };
        let mut notes =
            vec![format!("{kind}: {} images in {colours} ({})", files.len(), counts.join(", "))];
        if !passed_over.is_empty() {
            notes.push(self.layout.unread());
        }
        if let Some(&(a, b)) = self.similar.first() {
            let [a, b] = [a, b].map(|at| shown(&files[at].path));
            notes.push(format!(
                "{} images look the same as another, such as {a} and {b}. Where one trains and the \
                 other tests, the result is too good",
                self.similar.len()
            ));
        }
        notes
    }
}

impl Layout {
    fn unread(&self) -> String {
        let named = |(path, why): &(PathBuf, String)| format!("\n  {}: {why}", shown(path));
        let list: String = self.passed_over.iter().take(NAMED).map(named).collect();
        let more = self.passed_over.len().saturating_sub(NAMED);
        let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        format!("{} files are passed over:{list}{more}", self.passed_over.len())
    }
}

/// The same bytes as an image seen before are an error where they make a result wrong: under two
/// classes, or in training and test part.
fn same_bytes(first: &Found, found: &Found, has_parts: bool) -> Result<()> {
    let what = match (first.class == found.class, has_parts && first.train != found.train) {
        (false, _) => "but of another class",
        (true, true) => "and one trains while the other tests",
        (true, false) => return Ok(()),
    };
    let problem = format!("the same image as {}, {what}; remove one", shown(&first.path));
    Err(Error::malformed(&found.path, problem))
}

fn look(path: &Path, limits: &Limits) -> Result<Seen> {
    let (file, image) = read(path, limits)?;
    let has_colour = image.color().has_color();
    Ok(Seen { file, size: size(&image), has_colour, thumbnail: Thumbnail::of(image)? })
}

/// An image's mask, if it has one. Without the mask it must have, it would be judged wrongly.
fn mask(found: &Found, [h, w]: [usize; 2], limits: &Limits) -> Result<Option<ImageFile>> {
    let Some(path) = &found.mask else { return Ok(None) };
    let (file, mask) = read(path, limits)?;
    let [height, width] = size(&mask);
    if [height, width] == [h, w] {
        return Ok(Some(file));
    }
    let image = shown(&found.path);
    let problem = format!("the mask has {width}×{height} pixels, and {image} has {w}×{h}");
    Err(Error::malformed(path, problem))
}

/// Height and width.
fn size(image: &DynamicImage) -> [usize; 2] {
    [image.height() as usize, image.width() as usize]
}

fn read(path: &Path, limits: &Limits) -> Result<(ImageFile, DynamicImage)> {
    let bytes = read_file(path, limits)?;
    let image = decode(&bytes, limits).map_err(|e| Error::malformed(path, e))?;
    Ok((ImageFile { path: path.to_path_buf(), sha256: Sha256::digest(&bytes).into() }, image))
}

impl Dataset for Folder {
    fn name(&self) -> &str {
        "folder"
    }

    fn describe(&self, _data_dir: &Path) -> Result<Description> {
        let scan = self.scan()?;
        let normal = scan.layout.classes.first().cloned();
        let description = Description::new(scan.layout.classes.clone(), scan.shape);
        Ok(Description { found: true, normal_class: normal, ..description })
    }

    fn about(&self) -> About {
        About {
            description: "A folder of image files of one's own; an experiment names it with root.",
            homepage: "",
            licence: "that of the images",
            citation: "",
        }
    }

    fn part(&self, part: &Part) -> Option<Arc<dyn Dataset>> {
        let Part { root: Some(root), channels, category: None } = part else { return None };
        Some(Arc::new(Self::new(Path::new(root), *channels)))
    }

    fn notes(&self, _data_dir: &Path) -> Result<Vec<String>> {
        Ok(self.scan()?.notes())
    }

    fn load(&self, data_dir: &Path) -> Result<LabeledImages> {
        let scan = self.scan()?;
        let files = ImageFiles::new(scan.files.clone(), scan.shape[0], Limits::from_env()?);
        let labels = scan.layout.files.iter().map(|found| found.class).collect();
        let train = scan.layout.files.iter().filter(|found| found.train).count();
        LabeledImages::of_files(files, labels, self.describe(data_dir)?, train)
    }

    fn verify(&self, _data_dir: &Path) -> Result<Verification> {
        Ok(Verification::Own)
    }
}
