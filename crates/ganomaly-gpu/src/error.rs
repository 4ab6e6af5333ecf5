//! What can go wrong on a card.

use crate::precision::Precision;
use thiserror::Error;

/// A failure on the way to a card, or on it.
#[derive(Debug, Error)]
pub enum Error {
    /// The driver's library is not there.
    #[error("no NVIDIA driver: {0} is not found. Install the driver, or use device = \"cpu\"")]
    NoDriver(&'static str),
    /// A program without the part that talks to cards.
    #[error(
        "device = \"{0}\": this program was built without CUDA; build it with `--features cuda`, or use device = \"cpu\""
    )]
    NotBuilt(String),
    /// A driver without the functions that this program calls.
    #[error(
        "the NVIDIA driver knows CUDA {}.{}, this program needs {}.{} or later: update the driver, or use \
         device = \"cpu\"",
        driver.0, driver.1, needed.0, needed.1
    )]
    OldDriver {
        /// The newest CUDA that the driver knows, major and minor.
        driver: (i32, i32),
        /// The oldest that will do.
        needed: (i32, i32),
    },
    /// There is a driver, but not this card.
    #[error(
        "there is no card {wanted}: the driver knows {there} (cuda:0 is the first). Name another, or use \
         device = \"cpu\""
    )]
    NoCard {
        /// The card asked for.
        wanted: usize,
        /// Cards there are.
        there: usize,
    },
    /// No compiler for the kernels: NVIDIA's run-time compiler for a card, a C compiler for the host.
    #[error("the kernels cannot be compiled: {0} is not found. {hint}", hint = compiler_hint(.0))]
    NoCompiler(&'static str),
    /// The kernels do not compile.
    #[error("the kernels do not compile for {architecture}:\n{log}")]
    Compile {
        /// What they were compiled for.
        architecture: String,
        /// What the compiler said.
        log: String,
    },
    /// A compiler whose output the driver cannot read.
    #[error(
        "the driver knows CUDA {}.{}, but libnvrtc is of CUDA {}.{}: update the driver, or install an older \
         compiler (pip install 'cuda-toolkit[nvrtc]=={}.{}.*')",
        driver.0, driver.1, compiler.0, compiler.1, driver.0, driver.1
    )]
    Version {
        /// The compiler's, major and minor.
        compiler: (i32, i32),
        /// The newest that the driver knows.
        driver: (i32, i32),
    },
    /// A card without the arithmetic asked for.
    #[error(
        "precision = {:?} needs compute capability 8.0, this card has {capability}: use \"f32\"",
        precision.to_string()
    )]
    Precision {
        /// What was asked for.
        precision: Precision,
        /// What the card has.
        capability: String,
    },
    /// The card has too little memory left.
    #[error(
        "the card has {free} MiB free, but this takes {needed} MiB: use fewer jobs or a smaller batch"
    )]
    Memory {
        /// MiB free.
        free: usize,
        /// MiB asked for.
        needed: usize,
    },
    /// More than a kernel can take at once.
    #[error(
        "{0} cannot take so many numbers at once: use fewer jobs, or smaller batches or pictures"
    )]
    TooLarge(&'static str),
    /// The host cannot stand in for a card.
    #[error("the kernels cannot run on the host: {0}")]
    Host(String),
    /// Not one model for each run.
    #[error("{models} models for a group of {runs} runs")]
    Runs {
        /// Models given.
        models: usize,
        /// Runs of the group.
        runs: usize,
    },
    /// Orders that the group was not made for.
    #[error("a group of {runs} runs takes as many orders, of at most {room} pictures each")]
    Orders {
        /// Most pictures of an order.
        room: usize,
        /// Runs of the group.
        runs: usize,
    },
    /// A test set that the group was not made for.
    #[error("the group was not made for {0} pictures behind the last whole batch of a test set")]
    Remainder(usize),
    /// Pictures of another size or number than the group was made for.
    #[error(
        "{got} bytes of pictures, or their table, where {expected} bytes and 256 numbers a channel are expected"
    )]
    Pictures {
        /// Bytes given.
        got: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// A batch of another size than the group was made for.
    #[error("a batch of {got} numbers where {expected} are expected")]
    Batch {
        /// Numbers given.
        got: usize,
        /// Numbers expected.
        expected: usize,
    },
    /// A picture that is not there.
    #[error("there is no picture {picture} among {there}")]
    Picture {
        /// The picture asked for.
        picture: u32,
        /// Pictures there are.
        there: usize,
    },
    /// The model's tensors could not be read or written.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The model could not be laid out.
    #[error(transparent)]
    Model(#[from] ganomaly_model::Error),
    /// The driver refused something.
    #[error("{what} failed on the card: {message}")]
    Driver {
        /// What was tried.
        what: &'static str,
        /// The driver's words.
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
