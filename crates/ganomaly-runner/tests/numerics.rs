//! The bytes of small runs, pinned: they move only when the numerics' generation is raised.
//!
//! Pinned on x86-64 Linux with glibc 2.36 and gcc 12. A C library or compiler that rounds `exp`
//! otherwise would move them as well; then, too, results are those of another generation.

#![cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]

use ganomaly_model::kernels::cpu::{Level, best, set_level};
use ganomaly_runner::checkpoint::{Checkpoints, Every};
use ganomaly_runner::config::{DeviceName, Experiment, RunConfig};
use ganomaly_runner::data::DataStore;
use ganomaly_runner::lockstep::{self, Member};
use ganomaly_runner::numerics::NUMERICS;
use ganomaly_runner::progress::{Cancel, Silent};
use ganomaly_runner::train::{Outcome, train};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Two networks that have every kind of layer, loss, statistics and split between them.
const RUNS: [&str; 2] = [
    r#"
dataset = "synthetic"
isize = 32
nz = 12
ngf = 8
epochs = 2
train_limit = 130
validation = 0.1
test_limit = 70
batch_size = 32
score_batch_size = 20
lr = 2e-3
abnormal_class = "cross"
seed = 3
also_score = ["batch-shuffled", "batch-sequential", "single"]
"#,
    r#"
dataset = "synthetic-colour"
isize = 16
nz = 6
ngf = 4
extralayers = 1
adversarial = "bce"
epochs = 2
train_limit = 70
test_limit = 40
batch_size = 16
lr = 2e-3
split = "official"
normalize = "tanh"
abnormal_class = "ring"
seed = 11
"#,
];

/// Generation and kernels, and the first digits of the SHA-256 of both runs' weights and scores.
/// Only the newest generation is here. On processors without AVX-512 the general matrix product
/// rounds otherwise at every level, so that these are of processors with it.
const PINNED: [(&str, &str); 4] =
    [("AVX-512", "?"), ("AVX2", "?"), ("portable", "?"), ("twin", "?")];

fn config(text: &str, device: &str) -> RunConfig {
    let set = [format!("device=\"{device}\"")];
    Experiment::parse("pinned", text, &set).unwrap().runs.remove(0)
}

fn outcome(config: &RunConfig, folder: &Path) -> Outcome {
    let name = config.run_name().unwrap();
    let checkpoints = Checkpoints::new(folder, &name, config, Every::NEVER).unwrap();
    let (store, cancel) = (DataStore::new(Some(folder)), Cancel::default());
    if config.device.0 == DeviceName::Cpu {
        return train(config, &name, &store, &Silent, &cancel, &checkpoints).unwrap();
    }
    let member = Member { config, name: &name, checkpoints: &checkpoints };
    let done = lockstep::train(&[member], config.device.0, &store, &Silent, &cancel).unwrap();
    done.into_iter().next().unwrap().unwrap()
}

/// Of every bit of the weights and scores, and of the validation error.
fn digest(device: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut hash = Sha256::new();
    for text in RUNS {
        let outcome = outcome(&config(text, device), folder.path());
        for (name, tensor) in outcome.detector.state().unwrap() {
            hash.update(name);
            let tensor = tensor.flatten_all().unwrap().to_dtype(candle_core::DType::F64).unwrap();
            tensor.to_vec1::<f64>().unwrap().iter().for_each(|v| hash.update(v.to_le_bytes()));
        }
        for (_, scores) in &outcome.scores {
            assert_eq!(scores.l2.len(), outcome.data.split.test.len());
            let all = [&scores.l2, &scores.l1, &scores.con];
            all.iter().for_each(|s| s.iter().for_each(|v| hash.update(v.to_le_bytes())));
        }
        let validation = outcome.epochs.iter().filter_map(|e| e.validation_con);
        validation.for_each(|v| hash.update(v.to_le_bytes()));
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// One test, as the level of the kernels is the process's.
#[test]
fn results_move_only_with_the_generation() {
    if best() < Level::Avx512 {
        println!("skipped: pinned for processors with AVX-512");
        return;
    }
    let mut found = Vec::new();
    for level in [Level::Avx512, Level::Avx2, Level::Portable] {
        assert_eq!(set_level(level), level);
        found.push((level.to_string(), digest("cpu")));
    }
    set_level(best());
    found.push(("twin".to_string(), digest("twin")));
    let pinned = PINNED.map(|(kind, sum)| (kind.to_string(), sum.to_string()));
    assert!(
        found == pinned,
        "results have moved: {found:?}, pinned for generation {NUMERICS} are {pinned:?}.\n\
         If that was meant, raise the generation: NUMERICS in src/numerics.rs, with a line in its \
         table; then put these here, and make the committed results again (docs/provenance.md)."
    );
}
