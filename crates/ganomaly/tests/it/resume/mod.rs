//! Runs that are interrupted and resumed in this process: they end in the same bits as
//! uninterrupted runs.

mod damage;
mod groups;

use crate::common::skip;
use ganomaly_experiment::config::{DeviceName, Experiment, RunConfig};
use ganomaly_experiment::record::Outcome;
use ganomaly_experiment::registry::Registry;
use ganomaly_experiment::run_data::DataStore;
use ganomaly_runner::checkpoint::{Checkpoint, CheckpointInterval, Checkpoints, FOLDER, Identity};
use ganomaly_runner::interrupt::{Cancel, Interrupted};
use ganomaly_runner::progress::{Progress, RunProgress, Silent};
use ganomaly_runner::train::{Member, train, train_group};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Three epochs of four steps; every kind of thing that a checkpoint keeps.
const TINY: &str = r#"
dataset = "synthetic"
isize = 16
nz = 6
ngf = 4
epochs = 3
train_limit = 160
validation = 0.2
test_limit = 60
batch_size = 32
score_batch_size = 20
lr = 2e-3
abnormal_class = "cross"
seed = 3
keep_scores = "every-epoch"
bootstrap = 50
"#;

/// In place of the features, a detector whose scoring is a search.
const ANOGAN: &str = r#"
detector = "anogan"
width = 0.06
search_steps = 4
search_boundaries = [2, 3]
"#;

const STEPS: u64 = 12;

fn configs(set: &[&str]) -> Vec<RunConfig> {
    configs_of(TINY, set)
}

fn configs_of(text: &str, set: &[&str]) -> Vec<RunConfig> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.toml");
    fs::write(&path, text).unwrap();
    let set: Vec<String> = set.iter().map(ToString::to_string).collect();
    Experiment::read(&path, &set, None, &Registry::builtin()).unwrap().runs
}

fn config(set: &[&str]) -> RunConfig {
    configs(set).remove(0)
}

/// Sets a cancel after some steps, or when a message contains a word; keeps all messages.
#[derive(Clone, Default)]
struct Interrupter {
    after: u64,
    at_word: &'static str,
    taken: Arc<AtomicU64>,
    cancel: Cancel,
    said: Arc<Mutex<Vec<String>>>,
}

impl Progress for Interrupter {
    fn run(&self, _: &str, _: u64) -> Box<dyn RunProgress> {
        Box::new(self.clone())
    }

    fn say(&self, line: &str) {
        RunProgress::say(self, line);
    }
}

impl RunProgress for Interrupter {
    fn step(&self, _: usize, _: &[(&'static str, f64)], _: f64) {
        if self.taken.fetch_add(1, Ordering::SeqCst) + 1 == self.after {
            self.cancel.set();
        }
    }

    fn scoring(&self, line: &str) {
        RunProgress::say(self, line);
    }

    fn say(&self, line: &str) {
        if !self.at_word.is_empty() && line.contains(self.at_word) {
            self.cancel.set();
        }
        self.said.lock().unwrap().push(line.to_string());
    }
}

impl Interrupter {
    fn after(steps: u64) -> Self {
        Self { after: steps, ..Self::default() }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }
}

/// Every number of an outcome except times, as bits.
fn fingerprint(outcome: &Outcome) -> Vec<(String, Vec<u64>)> {
    let bits = |numbers: &[f64]| numbers.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let mut all = Vec::new();
    for (name, t) in outcome.detector.training_state().unwrap() {
        let numbers = t.flatten_all().unwrap().to_dtype(candle_core::DType::F64).unwrap();
        all.push((name, bits(&numbers.to_vec1::<f64>().unwrap())));
    }
    assert!(!all.is_empty(), "a state without tensors");
    for e in &outcome.epochs {
        let losses: Vec<f64> = e.losses.iter().map(|(_, v)| *v).collect();
        all.push((format!("epoch {}", e.epoch), bits(&[losses, e.auroc.clone()].concat())));
        all.push(("validation".into(), e.validation_con.iter().map(|v| v.to_bits()).collect()));
    }
    for (at, scores) in outcome.epoch_scores.iter().chain([&outcome.scores]).enumerate() {
        for (mode, s) in scores {
            let named =
                |(name, column): &(String, Vec<f64>)| (format!("{at} {mode} {name}"), bits(column));
            all.extend(s.columns().iter().map(named));
        }
    }
    assert!(!outcome.epochs.is_empty() && !outcome.scores.is_empty());
    for (name, bits) in &all {
        assert!(!bits.is_empty() || name == "validation", "{name} is empty");
    }
    all
}

fn same(a: &Outcome, b: &Outcome, what: &str) {
    let (a, b) = (fingerprint(a), fingerprint(b));
    let names = |all: &[(String, Vec<u64>)]| all.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    assert_eq!(names(&a), names(&b), "{what}");
    for (a, b) in a.iter().zip(&b) {
        assert!(a == b, "{what}: {} differs", a.0);
    }
}

struct Bench {
    results: tempfile::TempDir,
    store: DataStore,
}

impl Bench {
    fn new() -> Self {
        Self {
            results: tempfile::tempdir().unwrap(),
            store: DataStore::new(Registry::builtin(), None),
        }
    }

    fn checkpoints(&self, config: &RunConfig, every: CheckpointInterval) -> Checkpoints {
        let run = config.run_name().unwrap();
        Checkpoints::new(self.results.path(), &run, config, every).unwrap()
    }

    fn folder(&self, config: &RunConfig) -> PathBuf {
        self.results.path().join(FOLDER).join(config.run_name().unwrap())
    }

    fn train(
        &self,
        config: &RunConfig,
        every: CheckpointInterval,
        by: &Interrupter,
    ) -> anyhow::Result<Outcome> {
        let checkpoints = self.checkpoints(config, every);
        train(config, "run", &self.store, by, &by.cancel, &checkpoints)
    }

    fn whole(&self, config: &RunConfig) -> Outcome {
        let checkpoints = self.checkpoints(config, CheckpointInterval::NEVER);
        train(config, "run", &self.store, &Silent, &Cancel::default(), &checkpoints).unwrap()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn every(steps: u64) -> CheckpointInterval {
    CheckpointInterval { steps, time: Duration::ZERO }
}

fn interrupted(outcome: anyhow::Result<Outcome>) {
    let error = outcome.err().expect("it is interrupted");
    assert!(error.is::<Interrupted>(), "{error:#}");
}

#[test]
fn a_run_that_is_interrupted_after_any_step_ends_the_same() {
    let bench = Bench::new();
    let config = config(&[]);
    let whole = bench.whole(&config);
    assert!(!bench.folder(&config).exists(), "none are wanted");
    for step in 1..=STEPS {
        let bench = Bench::new();
        let by = Interrupter::after(step);
        interrupted(bench.train(&config, CheckpointInterval::default(), &by));
        // After an epoch's last step, scoring is what gets interrupted.
        let (epoch, of_epoch) = ((step - 1) / 4 + 1, (step - 1) % 4 + 1);
        let expected = format!("epoch{epoch}-step{of_epoch}.safetensors");
        assert_eq!(names(&bench.folder(&config)), [expected]);
        let again = Interrupter::default();
        let outcome = bench.train(&config, CheckpointInterval::default(), &again).unwrap();
        assert!(again.said().contains(&format!("resumed at epoch {epoch}, step {of_epoch}")));
        assert_eq!(again.taken.load(Ordering::SeqCst), STEPS - step);
        same(&outcome, &whole, &format!("interrupted after step {step}"));
    }
    // Between an epoch's scores and the next one's first step.
    for epoch in 1..=3 {
        let bench = Bench::new();
        let at_word = ["epoch 1:", "epoch 2:", "epoch 3:"][epoch - 1];
        let by = Interrupter { at_word, ..Interrupter::default() };
        let outcome = bench.train(&config, every(4), &by);
        if epoch == 3 {
            same(&outcome.unwrap(), &whole, "asked to end when all is done");
            assert!(names(&bench.folder(&config)).contains(&"epoch3-step4.safetensors".into()));
        } else {
            interrupted(outcome);
        }
        let again = Interrupter::default();
        same(&bench.train(&config, every(4), &again).unwrap(), &whole, "between epochs");
        assert!(again.said().contains("resumed"), "{}", again.said());
    }
}

/// Two modes of 60 images in batches of 20.
#[test]
fn a_run_that_is_interrupted_amid_scoring_resumes_there() {
    for (words, left) in [("scored 20 of", 5), ("scored 60 of", 3), ("scored 100 of", 1)] {
        for text in [TINY, &TINY.replace("ngf = 4\n", ANOGAN)] {
            let config = configs_of(text, &["also_score=[\"batch-shuffled\"]"]).remove(0);
            let whole = Bench::new().whole(&config);
            let bench = Bench::new();
            let by = Interrupter { at_word: words, ..Interrupter::default() };
            interrupted(bench.train(&config, CheckpointInterval::default(), &by));
            assert_eq!(names(&bench.folder(&config)), ["epoch1-step4.safetensors"]);
            let again = Interrupter::default();
            let outcome = bench.train(&config, CheckpointInterval::default(), &again).unwrap();
            same(&outcome, &whole, words);
            let scored = again.said().matches("scored ").count();
            assert_eq!(scored, left + 2 * 6, "{words}, then two epochs: {}", again.said());
        }
    }
}

#[test]
fn a_run_that_is_interrupted_after_every_step_ends_the_same() {
    let bench = Bench::new();
    let config = config(&["also_score=[\"single\"]", "extralayers=1"]);
    let whole = bench.whole(&config);
    let mut times = 0;
    let outcome = loop {
        match bench.train(&config, CheckpointInterval::default(), &Interrupter::after(1)) {
            Ok(outcome) => break outcome,
            error => interrupted(error),
        }
        times += 1;
        assert!(names(&bench.folder(&config)).len() <= 2, "the last two are kept");
    };
    assert_eq!(times, STEPS);
    same(&outcome, &whole, "interrupted after every step");
}

#[test]
fn checkpoints_come_after_n_steps_or_minutes() {
    let config = config(&[]);
    for (every, expected) in [
        (every(5), vec!["epoch2-step1.safetensors", "epoch3-step2.safetensors"]),
        (every(100), vec![]),
        // Such a short time has passed after every step.
        (
            CheckpointInterval { steps: 0, time: Duration::from_nanos(1) },
            vec!["epoch3-step4.safetensors", "epoch4-step0.safetensors"],
        ),
    ] {
        let bench = Bench::new();
        bench.train(&config, every, &Interrupter::default()).unwrap();
        assert_eq!(names(&bench.folder(&config)), expected, "{every:?}");
    }
    let bench = Bench::new();
    interrupted(bench.train(&config, CheckpointInterval::NEVER, &Interrupter::after(3)));
    assert!(!bench.folder(&config).exists());
}

#[test]
fn a_loss_that_is_not_a_number_stops_the_run_at_its_step() {
    let bench = Bench::new();
    let config = config(&["lr=1e30"]);
    let error = |bench: &Bench| {
        let outcome = bench.train(&config, every(1), &Interrupter::default());
        format!("{:#}", outcome.err().expect("it fails"))
    };
    let first = error(&bench);
    assert!(first.contains("epoch 1, step 2 of 4: the loss err_"), "{first}");
    assert!(first.contains("A lower lr"), "{first}");
    assert!(first.contains("the last good checkpoint is ") && first.contains("(epoch 1, step 1)"));
    assert_eq!(names(&bench.folder(&config)), ["epoch1-step1.safetensors"]);
    assert_eq!(error(&bench), first, "from its checkpoint it fails at the same step");
    let outcome = Bench::new().train(&config, CheckpointInterval::NEVER, &Interrupter::default());
    let without = format!("{:#}", outcome.err().unwrap());
    assert!(without.contains("no checkpoint had been written"), "{without}");
}

#[test]
fn a_run_may_continue_with_a_lower_learning_rate_and_says_so() {
    let config = config(&["lr=1e7", "on_nan=\"lower-lr\""]);
    let bench = Bench::new();
    let by = Interrupter::default();
    let whole = bench.train(&config, CheckpointInterval::NEVER, &by).unwrap();
    let lowered = &whole.lowered;
    assert!(!lowered.is_empty() && lowered.len() <= 3, "{lowered:?}\n{}", by.said());
    assert!(lowered[0].what.contains("err_") || lowered[0].what.contains("tensor"), "{lowered:?}");
    assert_eq!(lowered[0].lr, 1e6);
    assert!(by.said().contains("back to the start of epoch"), "{}", by.said());
    // Another result, under another name.
    assert_ne!(config.run_name().unwrap(), self::config(&["lr=1e7"]).run_name().unwrap());
    for step in 1..=by.taken.load(Ordering::SeqCst) {
        let bench = Bench::new();
        interrupted(bench.train(&config, every(2), &Interrupter::after(step)));
        let outcome = bench.train(&config, every(2), &Interrupter::default()).unwrap();
        same(&outcome, &whole, &format!("interrupted after step {step}"));
        assert_eq!(&outcome.lowered, lowered);
    }
    let hopeless = self::config(&["lr=1e35", "on_nan=\"lower-lr\""]);
    let error = Bench::new().train(&hopeless, every(1), &Interrupter::default());
    let error = format!("{:#}", error.err().unwrap());
    assert!(error.contains("with lr lowered 3 times"), "{error}");
}
