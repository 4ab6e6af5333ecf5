//! What a group of runs asks of whatever runs its launches.

use crate::error::Result;
use crate::launch::{Buffer, Launch};

/// Runs a [`Program`](crate::Program)'s launches on its buffers: a card, or the host where no card is to be had.
pub trait Machine {
    /// Launches kept ready.
    type Recording;

    /// Writes the first numbers of a buffer.
    fn set(&mut self, buffer: Buffer, numbers: &[f32]) -> Result<()>;

    /// Reads a buffer, once all that was asked for before is done.
    fn get(&mut self, buffer: Buffer) -> Result<Vec<f32>>;

    /// Keeps launches ready; nothing runs yet.
    fn record(&mut self, launches: &[Launch]) -> Result<Self::Recording>;

    /// Runs what was recorded, behind all that was asked for before. Need not wait for its end.
    fn replay(&mut self, recording: &Self::Recording) -> Result<()>;

    /// Waits for the end of all that was asked for.
    fn wait(&mut self) -> Result<()>;

    /// Runs launches one by one, and says how long each took.
    fn seconds(&mut self, launches: &[Launch]) -> Result<Vec<f64>>;
}

/// What a card can do at most.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The card's name.
    pub name: String,
    /// Additions and multiplications of products, where they are known.
    pub flops_per_s: Option<f64>,
    /// To and from its memory.
    pub bytes_per_s: f64,
}
