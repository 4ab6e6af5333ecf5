//! How data sets are fetched, and what is seen of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Settings for a download.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// The address of a folder to use instead of the known mirrors; also `GANOMALY_DATA_MIRROR`.
    pub mirror: Option<String>,
    /// How long to wait for a connection, and for the response to begin.
    pub patience: Duration,
    /// The download is abandoned if the average rate over a period of this length is below
    /// `min_bytes_per_s`.
    pub stall: Duration,
    /// The lowest acceptable rate.
    pub min_bytes_per_s: u64,
    /// When set to true, the download stops with [`Error::Interrupted`] and leaves nothing behind.
    pub cancel: Arc<AtomicBool>,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            mirror: std::env::var("GANOMALY_DATA_MIRROR").ok().filter(|m| !m.is_empty()),
            patience: Duration::from_secs(15),
            stall: Duration::from_secs(20),
            min_bytes_per_s: 1024,
            cancel: Arc::default(),
        }
    }
}

/// Progress reports from a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The file is already present, with the right checksum.
    Present(&'a str),
    /// Bytes received so far, and the total if the server states it.
    Bytes(&'a str, u64, Option<u64>),
    /// The file has been downloaded and its checksum is right.
    Done(&'a str),
}
