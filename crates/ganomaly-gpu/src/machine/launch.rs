//! The work for a GPU: a list of kernel launches on numbered buffers.

use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// A buffer that kernels read and write: its index among the program's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Buffer(pub usize);

/// Threads of every block.
pub const THREADS: usize = 256;

/// A kernel's arguments: the same struct as in the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Args {
    /// Addresses of the buffers.
    pub p: [u64; 8],
    /// Sizes.
    pub n: [i32; 16],
    /// Factors.
    pub f: [f64; 8],
}

/// One kernel on one grid of blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The kernel's name in the source.
    pub kernel: &'static str,
    /// Blocks along each axis.
    pub grid: [usize; 3],
    /// The kernel's buffers, in order.
    pub buffers: Vec<Buffer>,
    /// Its sizes, in order.
    pub sizes: Vec<i32>,
    /// Its factors, in order.
    pub factors: Vec<f64>,
    /// Its minimum work.
    pub work: Work,
}

/// The minimum work of a launch, for comparison with a GPU's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Additions and multiplications in its products.
    pub flops: f64,
    /// Bytes that it reads from or writes to memory, each value counted once.
    pub bytes: f64,
}

impl Launch {
    /// The kernel's arguments, given each buffer's address.
    pub fn args(&self, address: impl Fn(Buffer) -> u64) -> Args {
        let mut args = Args::default();
        for (to, &buffer) in args.p.iter_mut().zip(&self.buffers) {
            *to = address(buffer);
        }
        for (to, &size) in args.n.iter_mut().zip(&self.sizes) {
            *to = size;
        }
        for (to, &factor) in args.f.iter_mut().zip(&self.factors) {
            *to = factor;
        }
        args
    }
}

/// Builds lists of launches. Released buffers are reused by later launches.
#[derive(Debug, Default)]
pub struct Builder {
    /// Four-byte numbers in each buffer.
    buffers: Vec<usize>,
    launches: Vec<Launch>,
    /// Spare buffers by size.
    spare: BTreeMap<usize, Vec<Buffer>>,
    /// A kernel whose sizes or grid are too large for a GPU.
    too_large: Option<&'static str>,
}

/// A kernel's sizes are 32 bits wide, the second and third axes of its grid 16 (CUDA's table of
/// technical specifications).
const MOST: (usize, usize) = (i32::MAX as usize, 65_535);

impl Builder {
    /// A buffer that is never reused.
    pub fn keep(&mut self, len: usize) -> Buffer {
        self.buffers.push(len);
        Buffer(self.buffers.len() - 1)
    }

    /// A buffer with unspecified contents, until [`Self::release`].
    pub fn borrow(&mut self, len: usize) -> Buffer {
        // Never more than twice as large as needed.
        let fit = self.spare.range(len..=2 * len).next().map(|(&size, _)| size);
        let Some(size) = fit else { return self.keep(len) };
        let buffers = self.spare.entry(size).or_default();
        let buffer = buffers.pop();
        if buffers.is_empty() {
            self.spare.remove(&size);
        }
        buffer.unwrap_or_else(|| self.keep(len))
    }

    /// Releases a borrowed buffer: later launches may overwrite it.
    pub fn release(&mut self, buffer: Buffer) {
        self.spare.entry(self.buffers[buffer.0]).or_default().push(buffer);
    }

    /// Appends a launch.
    pub fn launch(
        &mut self,
        kernel: &'static str,
        grid: [usize; 3],
        buffers: &[Buffer],
        sizes: &[usize],
        factors: &[f64],
    ) {
        if grid.contains(&0) {
            return;
        }
        let [x, y, z] = grid;
        // A thread's index along the first axis is also 32 bits wide.
        let threads = x.saturating_mul(THREADS);
        if threads.max(sizes.iter().copied().max().unwrap_or(0)) > MOST.0 || y.max(z) > MOST.1 {
            self.too_large.get_or_insert(kernel);
        }
        self.launches.push(Launch {
            kernel,
            grid,
            buffers: buffers.to_vec(),
            sizes: sizes.iter().map(|&n| i32::try_from(n).unwrap_or(i32::MAX)).collect(),
            factors: factors.to_vec(),
            work: Work::default(),
        });
    }

    /// Sets the work of the last launch: operations, and four-byte values that it reads or writes.
    pub fn work(&mut self, flops: usize, numbers: usize) {
        if let Some(launch) = self.launches.last_mut() {
            launch.work = Work { flops: flops as f64, bytes: (4 * numbers) as f64 };
        }
    }

    /// Appends a launch with a thread for each of `len` elements.
    pub fn each(
        &mut self,
        kernel: &'static str,
        len: usize,
        buffers: &[Buffer],
        more_sizes: &[usize],
        factors: &[f64],
    ) {
        let sizes: Vec<usize> = std::iter::once(len).chain(more_sizes.iter().copied()).collect();
        self.launch(kernel, [len.div_ceil(THREADS), 1, 1], buffers, &sizes, factors);
    }

    /// Takes the launches since the last call; buffers stay.
    pub fn take_launches(&mut self) -> Vec<Launch> {
        std::mem::take(&mut self.launches)
    }

    /// Returns an error if a kernel was launched on more than it can process.
    pub fn check(&self) -> Result<()> {
        self.too_large.map_or(Ok(()), |kernel| Err(Error::TooLarge(kernel)))
    }

    /// Sizes of all buffers so far.
    pub fn buffers(&self) -> &[usize] {
        &self.buffers
    }
}
