//! Config values that are written by name.

use anyhow::{Result, ensure};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Parses one value in TOML syntax; a word that is not a TOML value is a string: `running` for
/// `"running"`. Nothing may follow the value, on the same line or another.
pub fn parse_value(text: &str) -> Result<toml::Value> {
    let text = text.trim();
    ensure!(!text.is_empty(), "no value is given");
    ensure!(!text.contains(['\n', '\r']), "{text:?}: a value is a single line");
    if let Ok(value) = text.parse() {
        return Ok(value);
    }
    ensure!(
        !text.starts_with(['[', '{', '"', '\'']),
        "{text}: not a TOML value; is a bracket or a quote missing?"
    );
    ensure!(!text.contains(','), "{text}: a list has brackets: [{text}]");
    Ok(toml::Value::String(text.to_string()))
}

/// A TOML error with Rust's type names replaced by words.
pub fn in_words(error: impl fmt::Display) -> String {
    let mut text = error.to_string();
    for (name, words) in [
        ("expected f64", "expected a number"),
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected a boolean", "expected true or false"),
        ("expected a sequence", "expected a list"),
    ] {
        text = text.replace(name, words);
    }
    text
}

/// The statistics of batch normalisation during scoring, and the order of the test images where it
/// matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScoringMode {
    /// Running statistics: an image's score depends on that image alone.
    Running,
    /// Statistics of each scored batch, normal and anomalous images mixed by the seed: the
    /// published code on MNIST and on folders of images.
    BatchShuffled,
    /// Statistics of each scored batch, all normal images first: the published code on CIFAR-10,
    /// whose test loader does not shuffle (lib/data.py).
    BatchSequential,
    /// Statistics of the scored image alone: each is its own batch, so that no other image matters.
    /// Every normalised layer has at least 4×4 numbers per channel; the 1×1 latent vectors, which
    /// would have one and become 0, are not normalised in this network.
    Single,
}

/// How a GPU's products round their operands; sums are in single precision in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Not at all.
    #[default]
    F32,
    /// To 10 bits of mantissa.
    Tf32,
    /// To 7 bits of mantissa.
    Bf16,
}

/// Which epochs' scores a run keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeepScores {
    /// Those of the last epoch, in `scores.csv`.
    #[default]
    Last,
    /// Those of every epoch as well, in `epoch_scores.safetensors`.
    EveryEpoch,
}

/// What happens to a run when one of its losses is NaN or infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnNan {
    /// It stops and counts as failed.
    #[default]
    Stop,
    /// It goes back to the start of the epoch and continues with a tenth of the learning rate, at
    /// most three times; its metrics record this.
    LowerLr,
}

/// How many normal training images are held out from training.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected a number of images, or a fraction below 1")]
pub enum Validation {
    /// This number of images.
    Count(usize),
    /// This fraction of them, in (0, 1), rounded down.
    Fraction(f64),
}

impl Default for Validation {
    fn default() -> Self {
        Self::Count(0)
    }
}

impl Validation {
    /// How many of `images` images.
    pub fn of(self, images: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Fraction(part) => (images as f64 * part) as usize,
        }
    }
}

/// Where a run trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceName {
    /// The first GPU, or the CPU if there is none.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU, by the driver's number.
    Cuda(usize),
    /// A GPU's twin on the CPU: the same kernels, slowly, for checking them without a GPU.
    Twin,
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
            Self::Twin => f.write_str("twin"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match (name, name.strip_prefix("cuda:").map(str::parse)) {
            ("auto", _) => Ok(Self::Auto),
            ("cpu", _) => Ok(Self::Cpu),
            ("twin", _) => Ok(Self::Twin),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(Ok(n))) => Ok(Self::Cuda(n)),
            _ => Err(format!(
                "unknown device {name:?}: use \"auto\", \"cpu\", \"cuda:0\" or \"twin\""
            )),
        }
    }
}

macro_rules! names {
    ($type:ty, $what:literal, $($variant:ident = $name:literal),+) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$variant => $name),+ })
            }
        }
        impl std::str::FromStr for $type {
            type Err = String;
            fn from_str(name: &str) -> Result<Self, String> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(format!("unknown {} {name:?}: use one of {:?}", $what, [$($name),+])),
                }
            }
        }
    };
}
pub(super) use names;

names!(
    ScoringMode,
    "scoring",
    Running = "running",
    BatchShuffled = "batch-shuffled",
    BatchSequential = "batch-sequential",
    Single = "single"
);
names!(Precision, "precision", F32 = "f32", Tf32 = "tf32", Bf16 = "bf16");
names!(KeepScores, "keep_scores", Last = "last", EveryEpoch = "every-epoch");
names!(OnNan, "on_nan", Stop = "stop", LowerLr = "lower-lr");

/// A value written by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Name<T>(pub T);

impl<T: fmt::Display> Serialize for Name<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Name<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Name).map_err(serde::de::Error::custom)
    }
}

/// GPUs are alike: a resolved run names only the kind.
pub(super) fn device_kind<S: Serializer>(
    device: &Name<DeviceName>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match device.0 {
        DeviceName::Cuda(_) => serializer.serialize_str("cuda"),
        other => serializer.collect_str(&other),
    }
}

/// A class is written `"airplane"`, `"2"` or 2.
pub(super) fn class_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a class name or number")]
    enum Class {
        Number(u8),
        Name(String),
    }
    Ok(Some(match Class::deserialize(deserializer)? {
        Class::Number(number) => number.to_string(),
        Class::Name(name) => name,
    }))
}
