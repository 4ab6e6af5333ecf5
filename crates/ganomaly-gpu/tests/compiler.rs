//! Compiles the kernels for real GPUs if the run-time compiler is available; no GPU is needed.

#[path = "../../../tests/skip.rs"]
mod skip;

use ganomaly_gpu::cuda::{compile, gpus};
use ganomaly_gpu::{Error, Precision};

#[test]
fn kernels_compile_for_every_gpu_since_turing_in_every_precision() {
    for capability in [(7, 5), (8, 0), (9, 0), (10, 0)] {
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            match compile(capability, precision) {
                Ok(ptx) => {
                    let tensor_cores = ptx.to_src().contains("mma.sync");
                    assert_eq!(tensor_cores, precision != Precision::F32);
                }
                Err(Error::NoCompiler(library)) => {
                    return skip::missing(&format!("there is no {library}"));
                }
                Err(e @ Error::Precision { .. }) => assert_eq!(capability, (7, 5), "{e}"),
                Err(e) => panic!("{e}"),
            }
        }
    }
}

#[test]
fn without_a_gpu_the_error_says_what_is_missing() {
    match gpus() {
        Ok(n) if n > 0 => skip::allowed(&format!("there are {n} GPUs")),
        Ok(_) => {}
        Err(e) => assert!(e.to_string().contains("libcuda.so"), "{e}"),
    }
}
