//! Upper limits on reading, whatever a file's header says.

use crate::{Error, Result};

/// Limits for readers. A file beyond one is rejected with an error that names the file, the limit
/// and how to raise it; nothing is allocated based on a header alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum size of a file in bytes, on disk and unpacked. `GANOMALY_MAX_FILE_BYTES`.
    pub file_bytes: u64,
    /// Maximum number of images in a data file. `GANOMALY_MAX_PICTURES`.
    pub images: usize,
    /// Maximum number of pixels (width times height) in one image. `GANOMALY_MAX_PIXELS`.
    pub pixels: u64,
    /// Maximum size of the resized images of a folder that are kept in memory, in bytes; the others
    /// are read from their files each time. `GANOMALY_MAX_KEPT_BYTES`.
    pub kept_bytes: u64,
}

/// 1 GiB per file, a million images per data file, 64 Mi pixels per image (8192×8192), 1 GiB kept.
impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 1 << 30, images: 1_000_000, pixels: 1 << 26, kept_bytes: 1 << 30 }
    }
}

impl Limits {
    /// The defaults, each replaced by its environment variable if that is set. Fails on a value
    /// that is not a number above 0.
    pub fn from_env() -> Result<Self> {
        let mut limits = Self::default();
        if let Some(n) = variable("GANOMALY_MAX_FILE_BYTES")? {
            limits.file_bytes = n;
        }
        if let Some(n) = variable("GANOMALY_MAX_PICTURES")? {
            limits.images = usize::try_from(n).unwrap_or(usize::MAX);
        }
        if let Some(n) = variable("GANOMALY_MAX_PIXELS")? {
            limits.pixels = n;
        }
        if let Some(n) = variable("GANOMALY_MAX_KEPT_BYTES")? {
            limits.kept_bytes = n;
        }
        Ok(limits)
    }
}

fn variable(name: &str) -> Result<Option<u64>> {
    let Some(value) = std::env::var_os(name).filter(|v| !v.is_empty()) else { return Ok(None) };
    match value.to_str().and_then(|v| v.parse().ok()).filter(|&n| n > 0) {
        Some(n) => Ok(Some(n)),
        None => Err(Error::Invalid(format!(
            "{name} = {}: use a whole number above 0",
            value.to_string_lossy().escape_debug()
        ))),
    }
}
