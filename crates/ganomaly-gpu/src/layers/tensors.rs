//! Where tensors are, and how large.

use crate::machine::launch::Buffer;

/// Rows that one block of a normalisation sums, as in the kernels.
pub(crate) const CHUNK: usize = 256;

/// Sizes of activations: runs, images per run, height, width, channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Number of runs, G.
    pub runs: usize,
    /// Images per run.
    pub n: usize,
    /// Height.
    pub h: usize,
    /// Width.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Extent {
    /// Elements of all runs.
    pub(crate) fn len(self) -> usize {
        self.runs * self.run_len()
    }

    /// Elements of one run.
    pub fn run_len(self) -> usize {
        self.rows() * self.c
    }

    /// Pixels of one run.
    pub(crate) fn rows(self) -> usize {
        self.n * self.h * self.w
    }

    pub(crate) fn chunks(self) -> usize {
        self.rows().div_ceil(CHUNK)
    }
}

/// Activations: their buffer and size.
#[derive(Clone, Copy, Debug)]
pub struct Activations {
    pub buffer: Buffer,
    pub extent: Extent,
}

/// Tensors of all runs: their buffer, and the distance between runs.
#[derive(Clone, Copy, Debug)]
pub struct Arena {
    pub buffer: Buffer,
    pub distance: usize,
}

/// Where the parameters' gradients go, and whether they are added to what is there.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub gradients: Arena,
    pub add: bool,
}
