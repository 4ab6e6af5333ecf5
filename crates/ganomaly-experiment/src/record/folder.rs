//! The files in a run's folder.

use std::path::Path;

/// The resolved config.
pub const CONFIG: &str = "config.toml";
/// Losses, AUROCs and times of each epoch.
pub const EPOCHS: &str = "epochs.csv";
/// The last epoch's scores of each test image.
pub const SCORES: &str = "scores.csv";
/// Every epoch's scores, of a run that keeps them.
pub const EPOCH_SCORES: &str = "epoch_scores.safetensors";
/// The AUROC under every protocol, of a run that keeps every epoch's scores.
pub const PROTOCOLS: &str = "protocols.safetensors";
/// The results.
pub const METRICS: &str = "metrics.json";
/// The trained weights.
pub const WEIGHTS: &str = "weights.safetensors";
/// How the run was produced.
pub const PROVENANCE: &str = "run.json";
/// The checksum of each of the other files.
pub const SHA256SUMS: &str = "SHA256SUMS";

/// Whether a folder has the small records of a finished run. Scores and weights may be missing.
pub fn is_run(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let has = |file: &str| folder.join(file).is_file();
    !name.starts_with('.') && [CONFIG, METRICS, PROVENANCE].into_iter().all(has)
}
