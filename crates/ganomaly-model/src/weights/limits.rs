//! Upper limits on reading a weights file.

use crate::{Error, Result};

/// Limits for a weights file. A file beyond them is rejected with an error that names the file, the
/// limit and how to raise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Maximum size in bytes of the file, and of all its tensors together.
    /// `GANOMALY_MAX_WEIGHT_BYTES`.
    pub bytes: u64,
    /// Maximum size in bytes of the description of the tensors: the header of a safetensors file;
    /// the pickle, and the table of contents, of a `.pth` file. What is built from it takes at most
    /// 16 times as much memory.
    pub header_bytes: u64,
}

/// 2 GiB, of which 4 MiB for the description.
impl Default for ReadLimits {
    fn default() -> Self {
        Self { bytes: 2 << 30, header_bytes: 4 << 20 }
    }
}

const VARIABLE: &str = "GANOMALY_MAX_WEIGHT_BYTES";

impl ReadLimits {
    /// The defaults, with the bytes of `GANOMALY_MAX_WEIGHT_BYTES` if that is set.
    pub fn from_env() -> Result<Self> {
        let mut limits = Self::default();
        let Some(value) = std::env::var_os(VARIABLE).filter(|v| !v.is_empty()) else {
            return Ok(limits);
        };
        let number = value.to_str().and_then(|v| v.parse().ok()).filter(|&n| n > 0);
        limits.bytes = number.ok_or_else(|| {
            let value = value.to_string_lossy();
            Error::Weights(format!("{VARIABLE} = {value:?}: use a whole number above 0"))
        })?;
        Ok(limits)
    }

    pub(super) fn whole(&self) -> String {
        format!("{} are read at most, more with {VARIABLE}", self.bytes)
    }

    pub(super) fn header(&self) -> String {
        format!("{} are read at most", self.header_bytes)
    }
}
