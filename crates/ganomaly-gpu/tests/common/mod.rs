//! What the tests share.

#![allow(dead_code)] // Each test binary uses a part.

use candle_core::{DType, Tensor};
use ganomaly_gpu::twin::Twin;
use ganomaly_gpu::{Buffer, Error, Machine};

/// None, with a word about it, where there is no C compiler.
pub fn twin(buffers: &[usize]) -> Option<Twin> {
    match Twin::new(buffers) {
        Err(Error::NoCompiler(compiler)) => {
            println!("skipped: no C compiler {compiler}");
            None
        }
        twin => Some(twin.unwrap()),
    }
}

/// Gives all numbers of a buffer the same bits.
pub fn fill(twin: &mut Twin, buffer: Buffer, bits: u32) {
    let len = twin.buffers[buffer.0].len();
    twin.set(buffer, &vec![f32::from_bits(bits); len]).unwrap();
}

pub fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

pub fn all(tensors: &[Tensor]) -> Vec<f32> {
    tensors.iter().flat_map(flat).collect()
}

/// Norm of the difference over norm of what is expected.
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
