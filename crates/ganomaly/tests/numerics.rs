//! The bytes of small runs, pinned: they move only when the numerics' generation is raised.
//!
//! Pinned on x86-64 Linux with glibc 2.36 and gcc 12. A C library or compiler that rounds `exp`
//! differently would also change them; then too, the results are those of another generation.

#![cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]

use ganomaly_experiment::config::{DeviceName, Experiment, RunConfig};
use ganomaly_experiment::numerics::NUMERICS;
use ganomaly_experiment::record::Outcome;
use ganomaly_experiment::record::provenance::Provenance;
use ganomaly_experiment::registry::Registry;
use ganomaly_experiment::run_data::DataStore;
use ganomaly_model::kernels::cpu::{Level, best, set_level};
use ganomaly_report::verify::verify;
use ganomaly_runner::checkpoint::{CheckpointInterval, Checkpoints};
use ganomaly_runner::interrupt::{Cancel, Interrupted};
use ganomaly_runner::progress::{Progress, RunProgress, Silent};
use ganomaly_runner::sweep::run_one;
use ganomaly_runner::train::{Member, train, train_group};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[path = "../../../tests/skip.rs"]
mod skip;

/// Two networks that together have every kind of layer, loss, statistics and split.
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

/// The CPU's best kernels, those in use, and the first digits of the SHA-256 of both runs' weights
/// and scores. The general matrix product always uses the CPU's best, so the same kernels round
/// differently on other kinds of CPU. AVX-512 kernels are not pinned yet: the test prints what
/// belongs here.
const PINNED: &[(&str, &str, &str)] = &[
    ("AVX2", "AVX2", "a4fc9b476d7ef8bc"),
    ("AVX2", "portable", "73f2f4f0bf902b1c"),
    ("AVX2", "twin", "a37cafba008de4e8"),
];

fn config(text: &str, device: &str) -> RunConfig {
    let set = [format!("device=\"{device}\"")];
    Experiment::parse("pinned", text, &set, &Registry::builtin()).unwrap().runs.remove(0)
}

fn outcome(config: &RunConfig, folder: &Path) -> Outcome {
    let name = config.run_name().unwrap();
    let checkpoints = Checkpoints::new(folder, &name, config, CheckpointInterval::NEVER).unwrap();
    let (store, cancel) = (DataStore::new(Registry::builtin(), Some(folder)), Cancel::default());
    if config.device.0 == DeviceName::Cpu {
        return train(config, &name, &store, &Silent, &cancel, &checkpoints).unwrap();
    }
    let member = Member { config, name: &name, checkpoints: &checkpoints, lost: &cancel };
    let done = train_group(&[member], config.device.0, &store, &Silent, &cancel).unwrap();
    done.into_iter().next().unwrap().unwrap()
}

/// Digest of every bit of the weights, the scores and the validation error.
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
            assert_eq!(scores.of("l2").len(), outcome.data.split.test.len());
            let all = ["l2", "l1", "con"].map(|name| scores.of(name));
            all.iter().for_each(|s| s.iter().for_each(|v| hash.update(v.to_le_bytes())));
        }
        let validation = outcome.epochs.iter().filter_map(|e| e.validation_con);
        validation.for_each(|v| hash.update(v.to_le_bytes()));
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// One test, as the level of the kernels is set per process.
#[test]
fn results_move_only_with_the_generation() {
    let processor = best().to_string();
    let levels = [Level::Avx512, Level::Avx2, Level::Portable].into_iter();
    let mut found = Vec::new();
    for level in levels.filter(|&level| level <= best()) {
        assert_eq!(set_level(level), level);
        found.push((level.to_string(), digest("cpu")));
    }
    resumed_with_other_kernels();
    set_level(best());
    let has_compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let has_compiler = std::process::Command::new(has_compiler).arg("--version").output().is_ok();
    if has_compiler {
        found.push(("twin".to_string(), digest("twin")));
    } else {
        skip::missing("there is no C compiler for the twin");
    }
    let of_this = PINNED
        .iter()
        .filter(|(of, kernels, _)| *of == processor && (has_compiler || *kernels != "twin"));
    let pinned: Vec<_> =
        of_this.map(|(_, kernels, sum)| (kernels.to_string(), sum.to_string())).collect();
    if pinned.is_empty() {
        skip::allowed(&format!("not pinned for processors with {processor}: {found:?}"));
        return;
    }
    assert!(
        found == pinned,
        "results have moved: {found:?}, pinned for generation {NUMERICS} are {pinned:?}.\n\
         If that was meant, raise the generation: NUMERICS in ganomaly-experiment, with a line in its \
         table; then put these here, and make the committed results again (docs/provenance.md)."
    );
}

/// A run that began with other kernels may be resumed, and its record names both.
fn resumed_with_other_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(RUNS[0], "cpu");
    let store = DataStore::new(Registry::builtin(), Some(folder.path()));
    let run = |cancel: &Cancel, progress: &Lines| {
        let every = CheckpointInterval { steps: 1, time: Duration::ZERO };
        run_one(&config, folder.path(), &store, progress, cancel, every)
    };
    set_level(best());
    let cancel = Cancel::default();
    let first = Lines { cancel_at: Some(cancel.clone()), ..Lines::default() };
    assert!(run(&cancel, &first).unwrap_err().is::<Interrupted>());
    set_level(Level::Portable);
    let second = Lines::default();
    let done = run(&Cancel::default(), &second).unwrap();
    let said = second.said.lock().unwrap().join("\n");
    assert!(said.contains("resumed at epoch 1, step 1"), "{said}");
    assert!(said.contains("no single machine gives its bytes again"), "{said}");
    let record = Provenance::read(&done).unwrap();
    assert_eq!(record.kernel_kinds(), [best().to_string(), "portable".into()]);
    assert_eq!((record.parts[1].epoch, record.parts[1].step), (1, 1));
    let found = verify(folder.path(), &store).unwrap();
    assert!(found.wrong.is_empty(), "{:?}", found.wrong);
    assert!(found.notes.iter().any(|note| note.contains("kernels of several kinds")));
}

/// Keeps all messages; may cancel after the first step.
#[derive(Clone, Default)]
struct Lines {
    said: Arc<Mutex<Vec<String>>>,
    cancel_at: Option<Cancel>,
}

impl Progress for Lines {
    fn run(&self, _: &str, _: u64) -> Box<dyn RunProgress> {
        Box::new(self.clone())
    }

    fn say(&self, line: &str) {
        self.said.lock().unwrap().push(line.to_string());
    }
}

impl RunProgress for Lines {
    fn step(&self, _: usize, _: &[(&'static str, f64)], _: f64) {
        self.cancel_at.iter().for_each(Cancel::set);
    }

    fn say(&self, line: &str) {
        Progress::say(self, line);
    }
}
