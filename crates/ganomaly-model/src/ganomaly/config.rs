//! A GANomaly's settings and their ranges.

use super::Ganomaly;
use crate::{Detector, Error, Input, Names, Result, Settings};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What the generator's adversarial term compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Adversarial {
    /// mean((f(x) − f(x̂))²), where f is the discriminator's last features: the paper's equation 1
    /// and the published code.
    #[default]
    Feature,
    /// BCE(D(x̂), 1): an earlier version of the published code.
    Bce,
}

impl fmt::Display for Adversarial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Feature => "feature",
            Self::Bce => "bce",
        })
    }
}

impl FromStr for Adversarial {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "feature" => Ok(Self::Feature),
            "bce" => Ok(Self::Bce),
            _ => Err(format!("unknown adversarial loss {name:?}: use \"feature\" or \"bce\"")),
        }
    }
}

impl TryFrom<String> for Adversarial {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<Adversarial> for String {
    fn from(adversarial: Adversarial) -> Self {
        adversarial.to_string()
    }
}

/// Sizes, loss weights and optimiser settings, with the reference's names. The default is the
/// reference's.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GanomalyConfig {
    /// Side of the square images: a power of two, at least 16.
    #[serde(skip)]
    pub isize: usize,
    /// Channels of the images.
    #[serde(skip)]
    pub nc: usize,
    /// Length of the latent vector.
    pub nz: usize,
    /// Features of the first convolution; they double at each pyramid level.
    pub ngf: usize,
    /// Additional 3×3 convolutions at the encoder's first and the decoder's last resolution.
    pub extralayers: usize,
    /// The adversarial term.
    pub adversarial: Adversarial,
    /// Weight of the adversarial term.
    pub w_adv: f64,
    /// Weight of the contextual term.
    pub w_con: f64,
    /// Weight of the encoder term.
    pub w_enc: f64,
    /// Adam's learning rate.
    pub lr: f64,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
}

impl Default for GanomalyConfig {
    fn default() -> Self {
        Self {
            isize: 32,
            nc: 1,
            nz: 100,
            ngf: 64,
            extralayers: 0,
            adversarial: Adversarial::Feature,
            w_adv: 1.0,
            w_con: 50.0,
            w_enc: 1.0,
            lr: 2e-4,
            beta1: 0.5,
            beta2: 0.999,
        }
    }
}

impl Settings for GanomalyConfig {
    const DETECTOR: &'static str = "ganomaly";

    const NAMES: Names = Names {
        // Mean squared difference of the two codes (the published code), mean absolute difference
        // (the paper, equation 5), mean absolute difference of image and reconstruction.
        scores: &["l2", "l1", "con"],
        reconstruction: "con",
        headlines: &["err_g", "err_d"],
    };

    fn check(&self, input: Input) -> Result<()> {
        self.of(input).check()
    }

    fn build(&self, input: Input, seed: u64) -> Result<Box<dyn Detector>> {
        Ok(Box::new(Ganomaly::new(self.of(input), seed)?))
    }

    fn least_weights(&self, input: Input) -> u64 {
        self.of(input).least_weights()
    }
}

impl GanomalyConfig {
    /// These settings for such images.
    #[must_use]
    pub fn of(&self, input: Input) -> Self {
        Self { isize: input.side, nc: input.channels, ..self.clone() }
    }

    /// Largest side accepted, so that a typo does not ask for terabytes.
    pub const MAX_ISIZE: usize = 1024;

    /// Maximum number of weights, as counted by [`Self::least_weights`].
    pub const MAX_WEIGHTS: u64 = 1 << 30;

    /// Rejects settings with which the network cannot be built or trained.
    pub fn check(&self) -> Result<()> {
        let size = self.isize;
        require(
            "isize",
            size,
            size.is_power_of_two() && (16..=Self::MAX_ISIZE).contains(&size),
            "the sizes that work are 16, 32, 64, 128, 256, 512 and 1024",
        )?;
        require("nc", self.nc, (1..=1024).contains(&self.nc), "use 1 to 1024 channels")?;
        require("nz", self.nz, (1..=65536).contains(&self.nz), "use 1 to 65536")?;
        let ngf = self.ngf;
        require("ngf", ngf, (2..=4096).contains(&ngf), "use 2 to 4096 features")?;
        require("extralayers", self.extralayers, self.extralayers <= 64, "use 0 to 64 layers")?;
        for (name, w) in [("w_adv", self.w_adv), ("w_con", self.w_con), ("w_enc", self.w_enc)] {
            require(name, w, w.is_finite() && w >= 0.0, "a weight is a finite number, 0 or more")?;
        }
        require("lr", self.lr, self.lr.is_finite() && self.lr > 0.0, "use a number above 0")?;
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            require(name, beta, (0.0..1.0).contains(&beta), "use a number in [0, 1)")?;
        }
        let least = self.least_weights();
        require(
            "ngf",
            ngf,
            least <= Self::MAX_WEIGHTS,
            &format!(
                "with isize {size}, nz {} and {} extra layers that is a network of more than {least} weights; {} at most",
                self.nz,
                self.extralayers,
                Self::MAX_WEIGHTS
            ),
        )
    }

    /// The number of weights of the two encoders' convolutions; the whole network has about twice
    /// as many.
    pub fn least_weights(&self) -> u64 {
        let [isize, nc, nz, ngf, extra] =
            [self.isize, self.nc, self.nz, self.ngf, self.extralayers].map(|n| n as u64);
        let product = |factors: &[u64]| factors.iter().fold(1u64, |p, &f| p.saturating_mul(f));
        let mut encoder = product(&[16, nc, ngf]).saturating_add(product(&[9, extra, ngf, ngf]));
        let (mut side, mut features) = (isize / 2, ngf);
        while side > 4 {
            encoder = encoder.saturating_add(product(&[32, features, features]));
            (side, features) = (side / 2, features.saturating_mul(2));
        }
        encoder.saturating_add(product(&[16, features, nz])).saturating_mul(2)
    }
}

pub(crate) fn require(
    setting: &'static str,
    value: impl ToString,
    holds: bool,
    wanted: &str,
) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::Config { setting, value: value.to_string(), wanted: wanted.into() })
}
