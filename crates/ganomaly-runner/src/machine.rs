//! What this process computes runs on.

use ganomaly_experiment::config::{DeviceName, RunConfig};
use ganomaly_experiment::record::machine::Machine;
use ganomaly_model::kernels;
use std::collections::BTreeMap;
use std::fs;
use std::sync::OnceLock;

/// This machine, for a run of this config.
pub(crate) fn here(config: &RunConfig) -> Machine {
    Machine {
        processor: processor().into(),
        kernels: kernels::cpu::level().to_string(),
        gpu: gpu(config.device.0),
        threads: rayon::current_num_threads(),
        crates: crates(),
    }
}

fn crates() -> BTreeMap<String, String> {
    [
        ("ganomaly-data", ganomaly_data::VERSION),
        ("ganomaly-gpu", ganomaly_gpu::VERSION),
        ("ganomaly-kernels", kernels::VERSION),
        ("ganomaly-metrics", ganomaly_metrics::VERSION),
        ("ganomaly-model", ganomaly_model::VERSION),
        ("ganomaly-runner", env!("CARGO_PKG_VERSION")),
    ]
    .map(|(name, version)| (name.to_string(), version.to_string()))
    .into()
}

/// The CPU's model, or the architecture if it is unknown.
fn processor() -> &'static str {
    static MODEL: OnceLock<String> = OnceLock::new();
    MODEL.get_or_init(|| {
        let model = if cfg!(target_os = "macos") {
            let asked = std::process::Command::new("/usr/sbin/sysctl")
                .args(["-n", "machdep.cpu.brand_string"])
                .output();
            asked.ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        } else if cfg!(windows) {
            std::env::var("PROCESSOR_IDENTIFIER").ok()
        } else {
            let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
            let line = info.lines().find(|line| line.starts_with("model name"));
            line.and_then(|line| Some(line.split_once(':')?.1.to_string()))
        };
        let model = model.map(|model| model.trim().to_string()).filter(|model| !model.is_empty());
        model.unwrap_or_else(|| std::env::consts::ARCH.to_string())
    })
}

/// The GPU's model.
fn gpu(device: DeviceName) -> Option<String> {
    let DeviceName::Cuda(ordinal) = device else { return None };
    ganomaly_gpu::cuda::describe(ordinal).ok().map(|gpu| gpu.name)
}
