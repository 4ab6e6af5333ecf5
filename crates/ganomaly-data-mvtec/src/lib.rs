#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

use ganomaly_data::datasets::Folder;
use ganomaly_data::{
    About, Dataset, Description, Error, LabeledImages, Part, Result, Verification, folders, shown,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The categories, each with its number of training and of test images (Bergmann et al., table 1).
pub const CATEGORIES: [(&str, usize, usize); 15] = [
    ("bottle", 209, 83),
    ("cable", 224, 150),
    ("capsule", 219, 132),
    ("carpet", 280, 117),
    ("grid", 264, 78),
    ("hazelnut", 391, 110),
    ("leather", 245, 124),
    ("metal_nut", 220, 115),
    ("pill", 267, 167),
    ("screw", 320, 160),
    ("tile", 230, 117),
    ("toothbrush", 60, 42),
    ("transistor", 213, 100),
    ("wood", 247, 79),
    ("zipper", 240, 151),
];

const NAME: &str = "mvtec";
const PAGE: &str = "https://www.mvtec.com/company/research/datasets/mvtec-ad";

/// MVTec AD, or one category of it: normal images to train on, and normal and defective ones to test
/// on. Each is a folder in the layout that [`Folder`] calls `train/good`.
#[derive(Clone, Debug, Default)]
pub struct Mvtec {
    part: Part,
    folder: Arc<OnceLock<Folder>>,
}

impl Mvtec {
    /// The category that an experiment asks for.
    fn category(&self) -> Result<(&str, usize, usize)> {
        let names = CATEGORIES.map(|(name, ..)| name).join(", ");
        let Some(asked) = &self.part.category else {
            return Err(Error::Invalid(format!("dataset = \"{NAME}\": give a category: {names}")));
        };
        let found = CATEGORIES.into_iter().find(|(name, ..)| name == asked);
        found.ok_or_else(|| Error::Invalid(format!("category = {asked:?}: use one of {names}")))
    }

    /// The category's folder.
    fn folder(&self, data_dir: &Path) -> Result<&Folder> {
        if let Some(there) = self.folder.get() {
            return Ok(there);
        }
        let (category, ..) = self.category()?;
        let places: Vec<PathBuf> = match &self.part.root {
            Some(root) => vec![PathBuf::from(root)],
            None => folders(data_dir, NAME),
        };
        let at = places.iter().map(|place| place.join(category)).find(|at| at.is_dir());
        let at = at.ok_or_else(|| {
            let places: Vec<String> = places.iter().map(|place| shown(place)).collect();
            Error::Invalid(format!(
                "there is no folder {category} in {}. Nothing downloads MVTec AD, as its licence \
                 takes your consent: get it from {PAGE}, unpack it, and name its folder with root",
                places.join(" or ")
            ))
        })?;
        Ok(self.folder.get_or_init(|| Folder::new(&at, self.part.channels)))
    }

    fn verify_all(&self, data_dir: &Path) -> Result<Verification> {
        let mut found = 0;
        for (category, ..) in CATEGORIES {
            let one = Self {
                part: Part { category: Some(category.into()), ..self.part.clone() },
                folder: Arc::default(),
            };
            if one.folder(data_dir).is_err() {
                continue;
            }
            found += 1;
            if let Verification::Partial(how) = one.verify(data_dir)? {
                return Ok(Verification::Partial(how));
            }
        }
        Ok(match found {
            0 => Verification::Own,
            n if n == CATEGORIES.len() => Verification::Official,
            n => Verification::Partial(format!("{n} of {} categories", CATEGORIES.len())),
        })
    }
}

impl Dataset for Mvtec {
    fn name(&self) -> &str {
        NAME
    }

    fn describe(&self, data_dir: &Path) -> Result<Description> {
        self.folder(data_dir)?.describe(data_dir)
    }

    fn about(&self) -> About {
        About {
            description: "MVTec AD: 5,354 images of 15 kinds of products and textures, with masks of \
                          their defects. Not downloaded.",
            homepage: PAGE,
            licence: "CC BY-NC-SA 4.0: not for commercial use",
            citation: "Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 129 (2021)",
        }
    }

    fn part(&self, part: &Part) -> Option<Arc<dyn Dataset>> {
        Some(Arc::new(Self { part: part.clone(), folder: Arc::default() }))
    }

    fn notes(&self, data_dir: &Path) -> Result<Vec<String>> {
        let (category, ..) = self.category()?;
        let mut notes = self.folder(data_dir)?.notes(data_dir)?;
        if let Some(first) = notes.first_mut() {
            *first = format!("{category}: {first}; {}", self.about().licence);
        }
        Ok(notes)
    }

    fn load(&self, data_dir: &Path) -> Result<LabeledImages> {
        self.folder(data_dir)?.load(data_dir)
    }

    /// By the number of images: no checksums of the files are published. Without a category, all
    /// that are there.
    fn verify(&self, data_dir: &Path) -> Result<Verification> {
        if self.part.category.is_none() {
            return self.verify_all(data_dir);
        }
        let (category, train, test) = self.category()?;
        let images = self.load(data_dir)?;
        let found = (images.official_train(), images.len() - images.official_train());
        Ok(match found == (train, test) {
            true => Verification::Official,
            false => Verification::Partial(format!(
                "{category} has {} training and {} test images, and should have {train} and {test}",
                found.0, found.1
            )),
        })
    }
}
