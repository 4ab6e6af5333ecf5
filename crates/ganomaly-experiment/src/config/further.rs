//! Scores of the test images beside the detector's own, under running statistics.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// A further score, known by its name: one part, or the sum of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FurtherScore {
    name: &'static str,
    parts: [Option<Further>; PARTS],
}

/// Most parts of a sum.
const PARTS: usize = 4;

/// A part of a further score. `docs/protocol.md` has the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Further {
    /// One of the detector's scores; only in a sum.
    Own(&'static str),
    /// One of the detector's scores, divided by a property of the image.
    Corrected(&'static str, Correction),
    /// What is left of one of the detector's scores after a regression on the image's gradient and
    /// its length as a PNG file.
    Residual(&'static str),
    /// Mean distance of z to its nearest neighbours among the training images' z.
    Nearest,
    /// Mahalanobis distance of z from the training images' z.
    Mahalanobis,
    /// The highest error in the image's heat map.
    MapMax,
}

impl Further {
    /// The detector's score that it is made of, if any.
    pub fn score(self) -> Option<&'static str> {
        match self {
            Self::Own(score) | Self::Corrected(score, _) | Self::Residual(score) => Some(score),
            Self::Nearest | Self::Mahalanobis | Self::MapMax => None,
        }
    }

    fn named(name: &str) -> Self {
        let corrected = |(end, correction): &(&str, Correction)| {
            Some(Self::Corrected(kept(name.strip_suffix(end)?), *correction))
        };
        match name {
            "z_nn" => Self::Nearest,
            "z_maha" => Self::Mahalanobis,
            "map_max" => Self::MapMax,
            _ => match name.strip_suffix("_res") {
                Some(score) => Self::Residual(kept(score)),
                None => CORRECTIONS.iter().find_map(corrected).unwrap_or(Self::Own(kept(name))),
            },
        }
    }
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

    /// What it is made of: one part, or those of a sum.
    pub fn parts(self) -> impl Iterator<Item = Further> {
        self.parts.into_iter().flatten()
    }

    /// Whether it is fitted on held-out normal images.
    pub fn is_fitted(self) -> bool {
        self.parts().count() > 1 || self.parts().any(|part| matches!(part, Further::Residual(_)))
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
        let mut parts = [None; PARTS];
        let mut names = name.split('+');
        for (part, name) in parts.iter_mut().zip(&mut names) {
            *part = Some(Further::named(name));
        }
        let alone = parts[1].is_none() && matches!(parts[0], Some(Further::Own(_)));
        let empty = name.split('+').any(str::is_empty);
        if alone || empty || names.next().is_some() || name.len() > MAX_NAME {
            return Err(format!(
                "unknown score {name:?}: use \"z_nn\", \"z_maha\", \"map_max\", one of the detector's scores \
                 with _rel, _grad, _png or _res, or a sum of up to {PARTS} such as \"l2_res+z_nn\""
            ));
        }
        Ok(Self { name: kept(name), parts })
    }
}
