//! `ganomaly gpus`: checks each thing that a GPU needs.

use anyhow::Result;
use std::process::ExitCode;

/// Prints every GPU, whether the driver and the run-time compiler are there, and whether that
/// compiler accepts the kernels. The exit code is 1 if anything is missing.
pub fn run() -> Result<ExitCode> {
    use ganomaly_gpu::Precision;
    use ganomaly_gpu::cuda::{compile, describe, gpus};
    let mut missing = false;
    let mut say = |line: String, well: bool| {
        missing |= !well;
        ganomaly_runner::terminal::out(&format!(
            "{} {line}\n",
            if well { "ok     " } else { "MISSING" }
        ))
    };
    let there = match gpus() {
        Ok(there) => {
            say(format!("driver: {there} GPUs"), there > 0)?;
            there
        }
        Err(e) => {
            say(format!("driver: {e}"), false)?;
            0
        }
    };
    let mut capabilities = Vec::new();
    for ordinal in 0..there {
        match describe(ordinal) {
            Ok(d) => {
                let (major, minor) = d.capability;
                let (free, all) = d.memory_mib;
                capabilities.push(d.capability);
                say(
                    format!(
                        "cuda:{ordinal}: {}, compute capability {major}.{minor}, {free} of {all} MiB free, driver for CUDA {}.{}",
                        d.name, d.driver.0, d.driver.1
                    ),
                    true,
                )?;
            }
            Err(e) => say(format!("cuda:{ordinal}: {e}"), false)?,
        }
    }
    if capabilities.is_empty() {
        // So that the compiler can be tried without a GPU.
        capabilities.push((9, 0));
    }
    capabilities.dedup();
    for capability in capabilities {
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            let what = format!("kernels, {precision}, for {}.{}", capability.0, capability.1);
            match compile(capability, precision) {
                Ok(_) => say(format!("compiler: {what}"), true)?,
                Err(e) => say(format!("compiler: {what}: {e}"), false)?,
            }
        }
    }
    Ok(ExitCode::from(u8::from(missing)))
}
