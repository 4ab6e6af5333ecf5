//! Scores of the test images beside the detector's own, under running statistics.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// A further score, known by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FurtherScore(&'static str);

/// What a further score is made of. `docs/protocol.md` has the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Further {
    /// One of the detector's scores, divided by a property of the image.
    Corrected(&'static str, Correction),
    /// Mean distance of z to its nearest neighbours among the training images' z.
    Nearest,
    /// Mahalanobis distance of z from the training images' z.
    Mahalanobis,
}

/// What a score is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// The mean of z².
    Rel,
    /// 1 + the image's mean absolute gradient.
    Grad,
    /// The bits that each of the image's values takes in a PNG file.
    Png,
}

const CORRECTIONS: [(&str, Correction); 3] =
    [("_rel", Correction::Rel), ("_grad", Correction::Grad), ("_png", Correction::Png)];

/// Longest name that is read.
const MAX_NAME: usize = 100;

impl FurtherScore {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// What it is made of.
    pub fn parts(self) -> Further {
        match self.0 {
            "z_nn" => Further::Nearest,
            "z_maha" => Further::Mahalanobis,
            name => corrected(name).unwrap_or(Further::Nearest),
        }
    }
}

fn corrected(name: &'static str) -> Option<Further> {
    let part = |(end, correction): &(&str, Correction)| {
        Some(Further::Corrected(name.strip_suffix(end)?, *correction))
    };
    CORRECTIONS.iter().find_map(part)
}

impl fmt::Display for FurtherScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl FromStr for FurtherScore {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let is_corrected = CORRECTIONS.iter().any(|(end, _)| name.ends_with(end));
        if name.len() > MAX_NAME || !(is_corrected || ["z_nn", "z_maha"].contains(&name)) {
            return Err(format!(
                "unknown score {name:?}: use \"z_nn\", \"z_maha\", or one of the detector's scores \
                 with _rel, _grad or _png"
            ));
        }
        // Names live as long as the program: there are as many as configs use.
        static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        let there = names.get(name).copied();
        let name = there.unwrap_or_else(|| Box::leak(name.to_string().into_boxed_str()));
        names.insert(name);
        Ok(Self(name))
    }
}
