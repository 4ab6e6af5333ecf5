//! A finished run on disk, written completely or not at all.

pub mod auroc;
pub mod checksums;
pub mod epoch_scores;
pub mod epochs;
pub mod folder;
pub mod machine;
pub mod metrics;
pub mod outcome;
pub mod protocols;
pub mod provenance;
pub mod scores;
mod write;

pub use folder::{
    CONFIG, EPOCH_SCORES, EPOCHS, METRICS, PROTOCOLS, PROVENANCE, SCORES, SHA256SUMS, WEIGHTS,
    is_run,
};
pub use metrics::{BestOnTest, FurtherMetrics, Metrics, ModeMetrics, read_metrics};
pub use outcome::{Epoch, Lowered, ModeScores, Outcome, PixelMetrics};
pub use write::{check_writable, read_seconds, write};
