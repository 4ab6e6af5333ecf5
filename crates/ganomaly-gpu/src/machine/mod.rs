//! The interface between a group of runs and what executes its launches.

pub mod cuda;
pub mod launch;
pub(crate) mod once;
pub(crate) mod precision;
pub mod twin;

use crate::error::Result;
use launch::{Buffer, Launch};

/// Runs a [`Program`](crate::Program)'s launches on its buffers: a GPU, or the host if there is no
/// GPU.
pub trait Machine {
    /// Prepared launches.
    type Recording;

    /// Writes the first values of a buffer.
    fn set(&mut self, buffer: Buffer, numbers: &[f32]) -> Result<()>;

    /// Reads a buffer after all earlier work is done.
    fn get(&mut self, buffer: Buffer) -> Result<Vec<f32>>;

    /// Prepares launches without running them.
    fn record(&mut self, launches: &[Launch]) -> Result<Self::Recording>;

    /// Runs recorded launches after all earlier work. May return before they finish.
    fn replay(&mut self, recording: &Self::Recording) -> Result<()>;

    /// Waits until all work is done.
    fn wait(&mut self) -> Result<()>;

    /// Runs launches one by one, and returns the seconds that each took.
    fn seconds(&mut self, launches: &[Launch]) -> Result<Vec<f64>>;
}

/// A GPU's limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Peak {
    /// The GPU's name.
    pub name: String,
    /// Additions and multiplications in products per second, if known.
    pub flops_per_s: Option<f64>,
    /// Bytes per second to and from its memory.
    pub bytes_per_s: f64,
}
