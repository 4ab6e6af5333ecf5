//! The crate's errors.

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that says what was wrong and what is expected.
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
        /// Which values are valid.
        wanted: String,
    },
    /// A batch whose shape does not fit the network.
    #[error(
        "a batch of shape {got:?} was given, but this network takes [N, {channels}, {size}, {size}]"
    )]
    BatchShape {
        /// The shape given.
        got: Vec<usize>,
        /// Channels of the network.
        channels: usize,
        /// Side of the network's images.
        size: usize,
    },
    /// Weights that do not fit the network.
    #[error("{0}")]
    Weights(String),
    /// An error from a tensor operation or from reading a tensor file.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
