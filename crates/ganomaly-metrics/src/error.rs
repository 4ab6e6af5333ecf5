//! Errors for input without a defined result.

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a metric is undefined for the input.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No scores were given.
    #[error("there are no scores")]
    Empty,
    /// The number of labels differs from the number of scores.
    #[error("{scores} scores, but {labels} labels")]
    LengthMismatch {
        /// Number of scores.
        scores: usize,
        /// Number of labels.
        labels: usize,
    },
    /// The number of image numbers differs from the number of labels.
    #[error("{images} numbers of images, but {labels} labels")]
    Images {
        /// Number of image numbers.
        images: usize,
        /// Number of labels.
        labels: usize,
    },
    /// Paired lists of different lengths.
    #[error("{a} values against {b}: paired lists are equally long")]
    Unpaired {
        /// Length of the first list.
        a: usize,
        /// Length of the second.
        b: usize,
    },
    /// A score that is NaN or infinite.
    #[error("score {index} is {value}: scores must be finite")]
    NonFinite {
        /// Its position.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// Every label is the same.
    #[error("all {count} labels are {}: both kinds are needed", if *anomalous { "anomalous" } else { "normal" })]
    SingleClass {
        /// Number of labels.
        count: usize,
        /// Which kind they are.
        anomalous: bool,
    },
    /// A map of scores that is not one of an image.
    #[error("map {image}: {problem}")]
    Map {
        /// Its position.
        image: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// All scores are equal and cannot be scaled to [0, 1].
    #[error("all scores are equal ({value}): they cannot be scaled to [0, 1]")]
    Constant {
        /// The value.
        value: f64,
    },
    /// A parameter outside its range.
    #[error("{0}")]
    Parameter(String),
}
