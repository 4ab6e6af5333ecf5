//! The real binary, killed or asked to end at any moment.

use crate::common::GANOMALY;
use ganomaly::Registry;
use ganomaly::dev::chaos::{Moment, Options, run};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Two runs of half a second.
const TINY: &str = r#"
dataset = "synthetic"
isize = 16
nz = 8
ngf = 8
epochs = 4
train_limit = 320
test_limit = 100
batch_size = 16
lr = 2e-3
bootstrap = 50
seed = 0
keep_scores = "every-epoch"

[sweep]
abnormal_class = [0, 1]
"#;

fn binary() -> PathBuf {
    GANOMALY.into()
}

#[test]
fn killed_again_and_again_a_sweep_results_in_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("tiny.toml");
    fs::write(&config, TINY).unwrap();
    let options = Options {
        binary: binary(),
        config,
        set: Vec::new(),
        data_dir: None,
        kills: 8,
        seed: 1,
        checkpoint_steps: 3,
    };
    let report =
        run(&options, dir.path(), &Registry::builtin(), &|line| println!("{line}")).unwrap();
    println!("{report}");
    assert_eq!(report.kills.values().sum::<usize>(), 8);
    assert!(report.rounds > 0 && report.compared == 2 * report.rounds);
    assert!(report.files >= 8 * report.compared, "{report}");
    assert!(report.kills.keys().any(|m| *m > Moment::Starting), "no kill hit a step: {report}");
}

/// SIGTERM acts like Ctrl-C: a checkpoint, and the command that resumes.
#[test]
fn a_run_that_is_told_to_end_leaves_a_checkpoint_and_says_how_to_resume() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("tiny.toml");
    fs::write(&config, TINY).unwrap();
    let results = dir.path().join("results of mine");
    let args = |results: &PathBuf| {
        let mut command = Command::new(binary());
        command.args(["train", "--set", "abnormal_class=0", "--set", "epochs=40"]).arg(&config);
        command.args(["--name", "tiny"]);
        command.arg("--results").arg(results);
        command
    };
    for signal in ["-TERM", "-INT"] {
        let log = dir.path().join("log");
        let stderr = fs::File::create(&log).unwrap();
        let mut child = args(&results).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        let since = Instant::now();
        let said = || fs::read_to_string(&log).unwrap();
        while said().matches(": epoch ").count() < 2 {
            assert!(since.elapsed() < Duration::from_secs(60), "{}", said());
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130), "{}", said());
        let said = said();
        assert!(said.contains("checkpoint at epoch"), "{said}");
        let again = said.lines().find(|line| line.starts_with("to resume: ")).unwrap();
        assert!(again.contains("results of mine'"), "quoted for a shell: {again}");
    }
    let checkpoints = results.join("tiny/.checkpoints");
    assert_eq!(fs::read_dir(&checkpoints).unwrap().count(), 1);
    let output = args(&results).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains(": resumed at epoch"), "{said}");
    assert!(!checkpoints.exists(), "they go when the run's folder is there");

    let whole = dir.path().join("whole");
    assert!(args(&whole).output().unwrap().status.success());
    let run = fs::read_dir(whole.join("tiny")).unwrap().map(|e| e.unwrap().file_name());
    let run = run.into_iter().find(|n| n.to_string_lossy().contains("seed")).unwrap();
    for file in ["weights.safetensors", "scores.csv", "epoch_scores.safetensors", "metrics.json"] {
        let read =
            |results: &PathBuf| fs::read(results.join("tiny").join(&run).join(file)).unwrap();
        assert!(read(&results) == read(&whole), "{file}");
    }
}
