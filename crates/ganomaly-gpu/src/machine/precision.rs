//! The precision of the products.

use ganomaly_kernels::batch_norm::EPS;
use std::fmt;
use std::str::FromStr;

/// How a product's operands are rounded before they are multiplied. Weights, activations, gradients
/// and sums are always float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Not rounded.
    #[default]
    F32,
    /// To 10 fraction bits, for tensor cores; needs compute capability 8.0 or later.
    Tf32,
    /// To 7 fraction bits, for tensor cores; needs compute capability 8.0 or later.
    Bf16,
}

impl Precision {
    /// Options for the kernels' compiler.
    pub(crate) fn defines(self) -> [String; 2] {
        let number = match self {
            Self::F32 => 0,
            Self::Tf32 => 1,
            Self::Bf16 => 2,
        };
        [format!("-DPRECISION={number}"), format!("-DEPS={EPS:e}")]
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = [Self::F32, Self::Tf32, Self::Bf16];
        let found = known.into_iter().find(|p| p.to_string() == name);
        found
            .ok_or_else(|| format!("unknown precision {name:?}: use \"f32\", \"tf32\" or \"bf16\""))
    }
}
