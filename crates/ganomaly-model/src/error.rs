//! What can go wrong in a model.

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that says what was wrong and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting outside its range.
    #[error("{setting} = {value}: {wanted}")]
    Config {
        /// The setting's name.
        setting: &'static str,
        /// The value given.
        value: String,
        /// Which values work.
        wanted: String,
    },
    /// A batch whose shape the network cannot take.
    #[error(
        "a batch of shape {got:?} was given, but this network takes [N, {channels}, {size}, {size}]"
    )]
    BatchShape {
        /// The shape given.
        got: Vec<usize>,
        /// Channels of the network.
        channels: usize,
        /// Side of the network's pictures.
        size: usize,
    },
    /// Weights that do not fit the network.
    #[error("{0}")]
    Weights(String),
    /// An error of a tensor operation or of reading a tensor file.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
