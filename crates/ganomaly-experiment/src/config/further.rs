//! Scores of the test images beside the detector's own, under running statistics.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// A further score, known by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FurtherScore {
    name: &'static str,
    parts: Further,
}

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
        self.name
    }

    /// What it is made of.
    pub fn parts(self) -> Further {
        self.parts
    }
}

/// The name for as long as the program runs: there are as many as configs use.
fn kept(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let there = names.get(name).copied();
    let name = there.unwrap_or_else(|| Box::leak(name.to_string().into_boxed_str()));
    names.insert(name);
    name
}

impl fmt::Display for FurtherScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for FurtherScore {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let corrected = |(end, correction): &(&str, Correction)| {
            Some(Further::Corrected(kept(name.strip_suffix(end)?), *correction))
        };
        let parts = match name {
            _ if name.len() > MAX_NAME => None,
            "z_nn" => Some(Further::Nearest),
            "z_maha" => Some(Further::Mahalanobis),
            _ => CORRECTIONS.iter().find_map(corrected),
        };
        let parts = parts.ok_or_else(|| {
            format!(
                "unknown score {name:?}: use \"z_nn\", \"z_maha\", or one of the detector's scores \
                 with _rel, _grad or _png"
            )
        })?;
        Ok(Self { name: kept(name), parts })
    }
}
