//! Cards: whether there is one, and a group of runs on it.

use crate::config::DeviceName;
use std::sync::OnceLock;

/// Takes the place of `auto`: the first card, else the processor, with a word about why where this program could use a card.
pub fn resolve(device: DeviceName) -> DeviceName {
    static FIRST: OnceLock<DeviceName> = OnceLock::new();
    if device != DeviceName::Auto {
        return device;
    }
    *FIRST.get_or_init(|| match cards() {
        Ok(n) if n > 0 => DeviceName::Cuda(0),
        Ok(_) => DeviceName::Cpu,
        Err(reason) => {
            eprintln!("device = \"auto\": {reason}; training on the processor");
            DeviceName::Cpu
        }
    })
}

/// Cards that this program can use; 0 where it was built without.
#[cfg(feature = "cuda")]
fn cards() -> ganomaly_gpu::Result<usize> {
    ganomaly_gpu::cuda::cards()
}

#[cfg(not(feature = "cuda"))]
fn cards() -> ganomaly_gpu::Result<usize> {
    Ok(0)
}
