//! The kernels' own source on the host.

#![allow(dead_code, unsafe_code)] // Each test binary uses a part.

use candle_core::{DType, Tensor};
use ganomaly_gpu::{Args, Buffer, KERNELS, Launch, Machine, Result};
use std::collections::HashMap;
use std::process::Command;

type Kernel = unsafe extern "C" fn(Args, i32, i32, i32);

/// `kernels.cu` compiled by the C compiler, and buffers in the host's memory.
pub struct Host {
    library: libloading::Library,
    pub buffers: Vec<Vec<f32>>,
    _folder: tempfile::TempDir,
}

impl Host {
    /// None, with a word about it, where there is no C compiler.
    pub fn new(buffers: &[usize]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (source, library) = (folder.path().join("kernels.c"), folder.path().join("kernels.so"));
        std::fs::write(&source, KERNELS).unwrap();
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let built = Command::new(&compiler)
            .args(["-O2", "-Wall", "-Werror", "-ffp-contract=off", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .arg("-lm")
            .status();
        match built {
            Ok(status) => assert!(status.success(), "{compiler} cannot compile kernels.cu as C"),
            Err(e) => {
                println!("skipped: no C compiler ({compiler}: {e})");
                return None;
            }
        }
        // SAFETY: the library is ours and has no initialisers.
        let library = unsafe { libloading::Library::new(&library).unwrap() };
        // Whatever is read before it has been written shows.
        let buffers = buffers.iter().map(|&len| vec![f32::NAN; len]).collect();
        Some(Self { library, buffers, _folder: folder })
    }

    pub fn fill(&mut self, buffer: Buffer, bits: u32) {
        self.buffers[buffer.0].fill(f32::from_bits(bits));
    }

    pub fn run(&mut self, launches: &[Launch]) {
        let mut kernels: HashMap<&str, Kernel> = HashMap::new();
        let addresses: Vec<u64> = self.buffers.iter_mut().map(|b| b.as_mut_ptr() as u64).collect();
        for launch in launches {
            let kernel = *kernels.entry(launch.kernel).or_insert_with(|| {
                // SAFETY: every kernel has this signature on the host.
                unsafe { *self.library.get::<Kernel>(launch.kernel.as_bytes()).unwrap() }
            });
            let args = launch.args(|b| addresses[b.0]);
            let [x, y, z] = launch.grid;
            // The last block first: the order of blocks must not matter.
            for z in (0..z).rev() {
                for y in (0..y).rev() {
                    for x in (0..x).rev() {
                        // SAFETY: the plan's sizes bound what a kernel touches; that is what is tested.
                        unsafe { kernel(args, x as i32, y as i32, z as i32) };
                    }
                }
            }
        }
    }
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

impl Machine for Host {
    type Recording = Vec<Launch>;

    fn set(&mut self, buffer: Buffer, numbers: &[f32]) -> Result<()> {
        self.buffers[buffer.0][..numbers.len()].copy_from_slice(numbers);
        Ok(())
    }

    fn get(&mut self, buffer: Buffer) -> Result<Vec<f32>> {
        Ok(self.buffers[buffer.0].clone())
    }

    fn record(&mut self, launches: &[Launch]) -> Result<Vec<Launch>> {
        Ok(launches.to_vec())
    }

    fn replay(&mut self, recording: &Vec<Launch>) -> Result<()> {
        self.run(recording);
        Ok(())
    }
}
