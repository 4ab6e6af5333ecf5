//! The program `ganomaly`, with this project's data sets and detectors.

use ganomaly::Registry;
use std::process::ExitCode;

fn main() -> ExitCode {
    let registry = Registry::builtin().dataset(ganomaly_data_mvtec::Mvtec::default());
    #[cfg(feature = "hub")]
    let registry = ganomaly_data_hub::datasets().into_iter().fold(registry, Registry::dataset);
    ganomaly::main(registry)
}
