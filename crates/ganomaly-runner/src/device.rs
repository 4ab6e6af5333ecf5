//! GPUs: whether there is one, and a group of runs on it.

use crate::terminal::note;
use ganomaly_experiment::config::DeviceName;
use ganomaly_experiment::config::Precision;
use ganomaly_gpu::Error;
use ganomaly_gpu::Peak;
use ganomaly_gpu::twin::Twin;
use std::sync::OnceLock;

/// What `auto` means: the first GPU, else the CPU, with a note on the reason if this program could
/// use a GPU.
pub fn auto() -> DeviceName {
    static FIRST: OnceLock<DeviceName> = OnceLock::new();
    *FIRST.get_or_init(|| match gpus() {
        Ok(n) if n > 0 => DeviceName::Cuda(0),
        Ok(_) => DeviceName::Cpu,
        Err(reason) => {
            note(format!("device = \"auto\": {reason}; training on the processor"));
            DeviceName::Cpu
        }
    })
}

/// Number of GPUs that this program can use; 0 if it was built without. An error gives the reason
/// why there is none.
#[cfg(feature = "cuda")]
fn gpus() -> ganomaly_gpu::Result<usize> {
    match ganomaly_gpu::cuda::gpus()? {
        0 => Err(Error::NoGpu { wanted: 0, there: 0 }),
        there => Ok(there),
    }
}

#[cfg(not(feature = "cuda"))]
fn gpus() -> ganomaly_gpu::Result<usize> {
    Ok(0)
}

/// A GPU with room for buffers of these lengths.
#[cfg(feature = "cuda")]
pub fn gpu(
    ordinal: usize,
    buffers: &[usize],
    precision: Precision,
) -> ganomaly_gpu::Result<ganomaly_gpu::cuda::Gpu> {
    ganomaly_gpu::cuda::Gpu::new(ordinal, buffers, rounding(precision))
}

/// Without CUDA there is none; the type only exists for shared code.
#[cfg(not(feature = "cuda"))]
pub fn gpu(ordinal: usize, _: &[usize], _: Precision) -> ganomaly_gpu::Result<Twin> {
    Err(Error::NotBuilt(format!("cuda:{ordinal}")))
}

/// A GPU's twin on the CPU.
pub fn twin(buffers: &[usize], precision: Precision) -> ganomaly_gpu::Result<Twin> {
    Twin::new(buffers, rounding(precision))
}

/// As reported by the GPU.
#[cfg(feature = "cuda")]
pub fn limits(
    gpu: &ganomaly_gpu::cuda::Gpu,
    precision: Precision,
) -> ganomaly_gpu::Result<Option<Peak>> {
    gpu.limits(rounding(precision)).map(Some)
}

/// Without CUDA there is no GPU to ask.
#[cfg(not(feature = "cuda"))]
pub fn limits(_: &Twin, _: Precision) -> ganomaly_gpu::Result<Option<Peak>> {
    Ok(None)
}

fn rounding(precision: Precision) -> ganomaly_gpu::Precision {
    match precision {
        Precision::F32 => ganomaly_gpu::Precision::F32,
        Precision::Tf32 => ganomaly_gpu::Precision::Tf32,
        Precision::Bf16 => ganomaly_gpu::Precision::Bf16,
    }
}
