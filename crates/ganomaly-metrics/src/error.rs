//! Input that has no answer.

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a measure is undefined for the input.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No scores at all.
    #[error("there are no scores")]
    Empty,
    /// As many labels as scores are needed.
    #[error("{scores} scores, but {labels} labels")]
    LengthMismatch {
        /// Number of scores.
        scores: usize,
        /// Number of labels.
        labels: usize,
    },
    /// As many images' numbers as labels are needed.
    #[error("{images} numbers of images, but {labels} labels")]
    Images {
        /// Number of images' numbers.
        images: usize,
        /// Number of labels.
        labels: usize,
    },
    /// Paired lists are equally long.
    #[error("{a} values against {b}: paired lists are equally long")]
    Unpaired {
        /// Length of the first list.
        a: usize,
        /// Length of the second.
        b: usize,
    },
    /// A NaN or an infinity.
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
    /// Equal numbers cannot be spread over [0, 1].
    #[error("all scores are equal ({value}): they cannot be scaled to [0, 1]")]
    Constant {
        /// The value.
        value: f64,
    },
    /// A parameter outside its range.
    #[error("{0}")]
    Parameter(String),
}
