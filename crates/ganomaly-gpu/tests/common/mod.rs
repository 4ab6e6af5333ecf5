//! Shared by the tests.

#![allow(dead_code)] // Each test binary uses only a part.

#[path = "../../../../tests/skip.rs"]
pub mod skip;

use candle_core::{DType, Tensor};
use ganomaly_gpu::twin::Twin;
use ganomaly_gpu::{Buffer, Error, Launch, Machine, Precision, Result};

/// What runs the tests: the host, and the first GPU if there is one.
pub enum Anywhere {
    Host(Twin),
    Gpu(Box<ganomaly_gpu::cuda::Gpu>),
}

/// Every available machine, with room for `buffers`.
pub fn machines(buffers: &[usize], precision: Precision) -> Vec<Anywhere> {
    let mut all = Vec::new();
    match Twin::new(buffers, precision) {
        Err(Error::NoCompiler(compiler)) => {
            skip::missing(&format!("there is no C compiler {compiler} for the host"));
        }
        twin => all.push(Anywhere::Host(twin.unwrap())),
    }
    match ganomaly_gpu::cuda::Gpu::new(0, buffers, precision) {
        Err(e @ (Error::NoDriver(_) | Error::NoGpu { .. })) => {
            skip::allowed(&format!("{e} (the GPU)"));
        }
        gpu => all.push(Anywhere::Gpu(Box::new(gpu.unwrap()))),
    }
    all
}

macro_rules! either {
    ($machine:expr, $inner:ident => $body:expr) => {
        match $machine {
            Anywhere::Host($inner) => $body,
            Anywhere::Gpu($inner) => $body,
        }
    };
}

impl Machine for Anywhere {
    type Recording = Vec<Launch>;

    fn set(&mut self, buffer: Buffer, numbers: &[f32]) -> Result<()> {
        either!(self, m => m.set(buffer, numbers))
    }

    fn get(&mut self, buffer: Buffer) -> Result<Vec<f32>> {
        either!(self, m => m.get(buffer))
    }

    fn record(&mut self, launches: &[Launch]) -> Result<Vec<Launch>> {
        Ok(launches.to_vec())
    }

    fn replay(&mut self, launches: &Vec<Launch>) -> Result<()> {
        either!(self, m => {
            let recording = m.record(launches)?;
            m.replay(&recording)?;
            m.wait()
        })
    }

    fn wait(&mut self) -> Result<()> {
        either!(self, m => m.wait())
    }

    fn seconds(&mut self, launches: &[Launch]) -> Result<Vec<f64>> {
        either!(self, m => m.seconds(launches))
    }
}

/// How far a machine's results may be from those of the CPU in float64.
pub struct Tolerance {
    /// One layer in tf32 or bf16, given its rounded operands.
    pub tensor_cores: f64,
    /// A whole step's gradients.
    pub gradients: f64,
    /// What depends on gradients: weights, statistics and the losses of later steps.
    pub learnt: f64,
    /// Scores with such weights.
    pub scores: f64,
}

/// The twin rounds each addition and multiplication to nearest, as the kernels are written.
const HOST: Tolerance =
    Tolerance { tensor_cores: 2e-6, gradients: 1e-5, learnt: 1e-5, scores: 1e-4 };

/// A GPU's arithmetic differs, although no fast intrinsics are requested.
///
/// - Tensor cores truncate sums instead of rounding to nearest: each addition loses up to one unit
///   in the last place, always towards zero. A twin that truncates in the same way is up to 7.6e-7
///   off in the tests' layers. How many terms a GPU truncates at once is not documented, hence ten
///   times that. Operands that are truncated instead of rounded are 8e-4 off in tf32, and are still
///   detected.
/// - A multiplication and an addition are one operation, rounded once. A rectifier's input within
///   rounding error of its kink may then fall on the other side than in float64, and so does its
///   gradient. Adam divides a gradient by its size, so if one is near 0, the whole step of the
///   weight (1e-2 of a weight) depends on it.
const GPU: Tolerance =
    Tolerance { tensor_cores: 1e-5, gradients: 1e-3, learnt: 1e-3, scores: 1e-2 };

impl Anywhere {
    pub fn limits(&self) -> &'static Tolerance {
        match self {
            Self::Host(_) => &HOST,
            Self::Gpu(_) => &GPU,
        }
    }

    pub fn run(&mut self, launches: &[Launch]) {
        self.replay(&launches.to_vec()).unwrap();
    }

    pub fn numbers(&mut self, buffer: Buffer) -> Vec<f32> {
        self.get(buffer).unwrap()
    }
}

/// Sets the first `len` values of a buffer to the same bits.
pub fn fill(host: &mut Anywhere, buffer: Buffer, len: usize, bits: u32) {
    host.set(buffer, &vec![f32::from_bits(bits); len]).unwrap();
}

pub fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

pub fn all(tensors: &[Tensor]) -> Vec<f32> {
    tensors.iter().flat_map(flat).collect()
}

/// Norm of the difference over norm of the expected values.
pub fn deviation(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let pairs = || got.iter().zip(expected).map(|(&g, &e)| (f64::from(g), f64::from(e)));
    let difference: f64 = pairs().map(|(g, e)| (g - e).powi(2)).sum();
    let norm: f64 = pairs().map(|(_, e)| e * e).sum();
    (difference / norm.max(1e-300)).sqrt()
}

pub fn check(what: &str, got: &[f32], expected: &[f32], limit: f64) {
    let d = deviation(got, expected);
    println!("{what}: {d:.1e}");
    assert!(d < limit, "{what}: deviation {d:e}, limit {limit:e}");
}
