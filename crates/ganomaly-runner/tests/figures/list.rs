//! The sentences.

use super::Figure;

/// Documents in which no other figures may stand that look like an AUROC.
pub const SCANNED: &[&str] = &[];

/// Lines of documents whose figures come from elsewhere, by some of their words.
pub const NOT_FROM_RESULTS: &[(&str, &str)] = &[];

/// Every sentence.
pub const FIGURES: &[Figure] = &[];
