//! Runs the kernels' source on the host: what a GPU would do, line by line, without one. Slow; the
//! results differ only by how a GPU's arithmetic units round.

#![allow(unsafe_code)]

use crate::KERNELS;
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::machine::launch::{Args, Buffer, Launch};
use crate::machine::once::Once;
use crate::machine::precision::Precision;
use libloading::Library;
use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

type Kernel = unsafe extern "C" fn(Args, i32, i32, i32);

/// The kernels compiled by the C compiler (`CC`, else `cc`), with buffers in host memory.
pub struct Twin {
    library: Arc<Library>,
    /// The contents of every buffer.
    pub buffers: Vec<Vec<f32>>,
}

/// Compiles the kernels, once per process.
fn compiled(precision: Precision) -> Result<Arc<Library>> {
    static ALL: Once<Precision, Arc<Library>> = Once::new();
    ALL.get(precision, || compile(precision).map(Arc::new))
}

fn compile(precision: Precision) -> Result<Library> {
    let failed = |e: &dyn std::fmt::Display| Error::Host(e.to_string());
    let folder = tempfile::tempdir().map_err(|e| failed(&e))?;
    let (source, library) = (folder.path().join("kernels.c"), folder.path().join("kernels.so"));
    std::fs::write(&source, KERNELS).map_err(|e| failed(&e))?;
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let built = Command::new(&compiler)
        .args(["-O2", "-Wall", "-Werror", "-Wno-unused-function", "-ffp-contract=off"])
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .args(precision.defines())
        .arg("-lm")
        .output()
        .map_err(|_| Error::NoCompiler("cc"))?;
    if !built.status.success() {
        let log = String::from_utf8_lossy(&built.stderr).into_owned();
        return Err(Error::Compile { architecture: compiler, log });
    }
    // SAFETY: the library is ours and has no initialisers.
    unsafe { Library::new(&library) }.map_err(|e| failed(&e))
}

impl Twin {
    /// Compiles the kernels. Every buffer starts as NaN, so that a read before the first write
    /// becomes visible.
    pub fn new(buffers: &[usize], precision: Precision) -> Result<Self> {
        let buffers = buffers.iter().map(|&len| vec![f32::NAN; len]).collect();
        Ok(Self { library: compiled(precision)?, buffers })
    }

    /// Runs launches, each from its last block to its first, because the order of blocks must not
    /// matter.
    pub fn run(&mut self, launches: &[Launch]) -> Result<()> {
        let mut kernels: HashMap<&str, Kernel> = HashMap::new();
        let addresses: Vec<u64> = self.buffers.iter_mut().map(|b| b.as_mut_ptr() as u64).collect();
        for launch in launches {
            let kernel = match kernels.get(launch.kernel) {
                Some(kernel) => *kernel,
                None => {
                    // SAFETY: every kernel has this signature on the host.
                    let kernel = unsafe { self.library.get::<Kernel>(launch.kernel.as_bytes()) };
                    let kernel = *kernel.map_err(|e| Error::Host(e.to_string()))?;
                    kernels.insert(launch.kernel, kernel);
                    kernel
                }
            };
            let args = launch.args(|b| addresses[b.0]);
            let [x, y, z] = launch.grid;
            for z in (0..z).rev() {
                for y in (0..y).rev() {
                    for x in (0..x).rev() {
                        // SAFETY: the program's sizes bound what a kernel accesses, and the buffers
                        // have those sizes.
                        unsafe { kernel(args, x as i32, y as i32, z as i32) };
                    }
                }
            }
        }
        Ok(())
    }
}

impl Machine for Twin {
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
        self.run(recording)
    }

    fn wait(&mut self) -> Result<()> {
        Ok(())
    }

    fn seconds(&mut self, launches: &[Launch]) -> Result<Vec<f64>> {
        let one = |launch| {
            let started = Instant::now();
            self.run(std::slice::from_ref(launch))?;
            Ok(started.elapsed().as_secs_f64())
        };
        launches.iter().map(one).collect()
    }
}
