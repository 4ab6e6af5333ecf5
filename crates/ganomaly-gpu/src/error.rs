//! The crate's errors.

use crate::machine::precision::Precision;
use thiserror::Error;

/// A failure in reaching a GPU, or on it.
#[derive(Debug, Error)]
pub enum Error {
    /// The driver's library is missing.
    #[error("no NVIDIA driver: {0} is not found. Install the driver, or use device = \"cpu\"")]
    NoDriver(&'static str),
    /// A driver that lacks functions this program calls.
    #[error(
        "the NVIDIA driver knows CUDA {}.{}, this program needs {}.{} or later: update the driver, or use \
         device = \"cpu\"",
        driver.0, driver.1, needed.0, needed.1
    )]
    OldDriver {
        /// The newest CUDA version that the driver supports, major and minor.
        driver: (i32, i32),
        /// The oldest version that works.
        needed: (i32, i32),
    },
    /// There is a driver, but not this GPU.
    #[error(
        "there is no GPU {wanted}: the driver knows {there} (cuda:0 is the first). Name another, or use \
         device = \"cpu\""
    )]
    NoGpu {
        /// The requested GPU.
        wanted: usize,
        /// Number of GPUs.
        there: usize,
    },
    /// No compiler for the kernels: NVIDIA's run-time compiler for a GPU, a C compiler for the
    /// host.
    #[error("the kernels cannot be compiled: {0} is not found. {hint}", hint = compiler_hint(.0))]
    NoCompiler(&'static str),
    /// The kernels do not compile.
    #[error("the kernels do not compile for {architecture}:\n{log}")]
    Compile {
        /// The target they were compiled for.
        architecture: String,
        /// The compiler's output.
        log: String,
    },
    /// A compiler whose output the driver cannot read.
    #[error(
        "the driver knows CUDA {}.{}, but libnvrtc is of CUDA {}.{}: update the driver, or install an older \
         compiler (pip install 'cuda-toolkit[nvrtc]=={}.{}.*')",
        driver.0, driver.1, compiler.0, compiler.1, driver.0, driver.1
    )]
    Version {
        /// The compiler's version, major and minor.
        compiler: (i32, i32),
        /// The newest version that the driver supports.
        driver: (i32, i32),
    },
    /// A GPU without the requested arithmetic.
    #[error(
        "precision = {:?} needs compute capability 8.0, this GPU has {capability}: use \"f32\"",
        precision.to_string()
    )]
    Precision {
        /// The requested precision.
        precision: Precision,
        /// The GPU's compute capability.
        capability: String,
    },
    /// The GPU has too little free memory.
    #[error(
        "the GPU has {free} MiB free, but this takes {needed} MiB: use fewer jobs or a smaller batch"
    )]
    Memory {
        /// Free memory in MiB.
        free: usize,
        /// Required memory in MiB.
        needed: usize,
    },
    /// More than a kernel can process at once.
    #[error(
        "{0} cannot take that many values at once: use fewer jobs, or smaller batches or images"
    )]
    TooLarge(&'static str),
    /// The host cannot stand in for a GPU.
    #[error("the kernels cannot run on the host: {0}")]
    Host(String),
    /// The number of models is not the number of runs.
    #[error("{models} models for a group of {runs} runs")]
    Runs {
        /// Number of models given.
        models: usize,
        /// Runs of the group.
        runs: usize,
    },
    /// Orders that do not fit the group.
    #[error("a group of {runs} runs takes as many orders, of at most {room} images each")]
    Orders {
        /// Maximum number of images in an order.
        room: usize,
        /// Runs of the group.
        runs: usize,
    },
    /// A test set that does not fit the group.
    #[error("the group was not made for {0} images after the last whole batch of a test set")]
    Remainder(usize),
    /// Images whose size or number does not fit the group.
    #[error(
        "{got} bytes of images, or their table, where {expected} bytes and 256 values per channel are expected"
    )]
    Images {
        /// Bytes given.
        got: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// A batch whose size does not fit the group.
    #[error("a batch of {got} numbers where {expected} are expected")]
    Batch {
        /// Values given.
        got: usize,
        /// Values expected.
        expected: usize,
    },
    /// An image that does not exist.
    #[error("there is no image {image} among {there}")]
    Image {
        /// The requested image.
        image: u32,
        /// Number of images.
        there: usize,
    },
    /// The model's tensors could not be read or written.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The model could not be laid out.
    #[error(transparent)]
    Model(#[from] ganomaly_model::Error),
    /// A driver call failed.
    #[error("{what} failed on the GPU: {message}")]
    Driver {
        /// What was attempted.
        what: &'static str,
        /// The driver's message.
        message: String,
    },
}

fn compiler_hint(compiler: &str) -> &'static str {
    if compiler == "cc" {
        "Install a C compiler, or name one in CC"
    } else {
        "`pip install nvidia-cuda-nvrtc` has it; set LD_LIBRARY_PATH to its folder nvidia/cu13/lib"
    }
}

/// A result that may be an [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
