//! GPUs: whether there is one, and a group of runs on it.

use crate::terminal::note;
use ganomaly_experiment::config::{DeviceName, Precision};
use ganomaly_gpu::twin::Twin;
use ganomaly_gpu::{Error, Peak};
use std::sync::OnceLock;

/// What `auto` means: the first GPU, else the CPU, with a note on the reason.
pub fn auto() -> DeviceName {
    static FIRST: OnceLock<DeviceName> = OnceLock::new();
    *FIRST.get_or_init(|| {
        let reason = match ganomaly_gpu::cuda::gpus() {
            Ok(0) => Error::NoGpu { wanted: 0, there: 0 },
            Ok(_) => return DeviceName::Cuda(0),
            Err(reason) => reason,
        };
        note(format!("device = \"auto\": {reason}; training on the processor"));
        DeviceName::Cpu
    })
}

/// A GPU with room for buffers of these lengths.
pub fn gpu(
    ordinal: usize,
    buffers: &[usize],
    precision: Precision,
) -> ganomaly_gpu::Result<ganomaly_gpu::cuda::Gpu> {
    ganomaly_gpu::cuda::Gpu::new(ordinal, buffers, rounding(precision))
}

/// A GPU's twin on the CPU.
pub fn twin(buffers: &[usize], precision: Precision) -> ganomaly_gpu::Result<Twin> {
    Twin::new(buffers, rounding(precision))
}

/// As reported by the GPU.
pub fn limits(gpu: &ganomaly_gpu::cuda::Gpu, precision: Precision) -> ganomaly_gpu::Result<Peak> {
    gpu.limits(rounding(precision))
}

fn rounding(precision: Precision) -> ganomaly_gpu::Precision {
    match precision {
        Precision::F32 => ganomaly_gpu::Precision::F32,
        Precision::Tf32 => ganomaly_gpu::Precision::Tf32,
        Precision::Bf16 => ganomaly_gpu::Precision::Bf16,
    }
}
