//! TensorBoard's event files, while runs train and after.

use crate::common::{Sandbox, skip};
use crate::evaluation::TINY;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// An event file grows while its run trains, and what it holds is in the run's own at the end.
#[test]
fn event_files_grow_while_runs_train() {
    let sandbox = Sandbox::with(&[("t.toml", &TINY.replace("epochs = 3", "epochs = 40"))]);
    let args = [
        "sweep",
        "t.toml",
        "--set",
        "seed=0",
        "--set",
        "abnormal_class=0",
        "--name",
        "t",
        "--tensorboard",
    ];
    let live = sandbox.path("results/t/.tensorboard");
    let sizes = |folder: &Path| -> Vec<u64> {
        let runs = fs::read_dir(folder).into_iter().flatten().flatten();
        let files = runs.flat_map(|run| fs::read_dir(run.path()).into_iter().flatten().flatten());
        files.filter_map(|file| Some(file.metadata().ok()?.len())).collect()
    };
    let mut child =
        sandbox.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut seen: Vec<u64> = Vec::new();
    while child.try_wait().unwrap().is_none() {
        let now = sizes(&live);
        assert!(now.len() < 2, "one run has one file");
        let last = seen.last().copied();
        seen.extend(now.first().copied().filter(|size| last != Some(*size)));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    assert!(seen.len() > 3 && seen.is_sorted(), "{seen:?}");
    assert!(!live.exists());
    let whole = sizes(&sandbox.runs("t")[0]);
    assert!(whole.len() == 1 && whole[0] >= *seen.last().unwrap(), "{whole:?} and {seen:?}");
}

#[test]
fn event_files_lie_in_the_runs() {
    let short = TINY.replace("epochs = 3", "epochs = 2");
    let sandbox = Sandbox::with(&[("t.toml", &short)]);
    sandbox.ok(&["sweep", "t.toml", "--set", "seed=0", "--name", "t"]);
    assert!(sandbox.runs("t").iter().all(|run| !run.join("tensorboard").exists()));
    // Runs that are already there also get theirs, without training again.
    let again = ["--set", "seed=0", "--name", "t", "--tensorboard"];
    let output = sandbox.run(&[&["sweep", "t.toml"][..], &again].concat());
    assert!(String::from_utf8_lossy(&output.stderr).contains("0 runs done now, 2 were there"));
    for run in sandbox.runs("t") {
        let files: Vec<PathBuf> =
            fs::read_dir(run.join("tensorboard")).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        assert!(
            files[0].file_name().unwrap().to_string_lossy().starts_with("events.out.tfevents.")
        );
        let bytes = fs::read(&files[0]).unwrap();
        // Three records in sequence: the version, and one event per epoch.
        let (mut at, mut records) = (0, 0);
        while at < bytes.len() {
            let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            at += 16 + length as usize;
            records += 1;
        }
        assert_eq!((records, at), (3, bytes.len()));
    }
    let Ok(python) = std::env::var("GANOMALY_PYTHON") else {
        return skip::missing("GANOMALY_PYTHON names no Python with TensorBoard");
    };
    for run in sandbox.runs("t") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_events.py");
        let read = Command::new(&python).arg(script).arg(run.join("tensorboard")).output().unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        let scalars: serde_json::Value = serde_json::from_slice(&read.stdout).unwrap();
        let epochs = fs::read_to_string(run.join("epochs.csv")).unwrap();
        let mut lines = epochs.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let header = lines.next().unwrap();
        let rows: Vec<_> = lines.collect();
        for (column, tag) in
            [("err_g_con", "loss/err_g_con"), ("auroc_batch-shuffled", "auroc/batch-shuffled")]
        {
            let at = header.iter().position(|name| *name == column).unwrap();
            let read = scalars[tag].as_array().unwrap();
            assert_eq!(read.len(), rows.len());
            for (read, row) in read.iter().zip(&rows) {
                assert_eq!(read[0].to_string(), row[0], "the step is the epoch");
                let (read, written) = (read[1].as_f64().unwrap(), row[at].parse::<f64>().unwrap());
                assert!(
                    (read - written).abs() < 1e-6 * written.abs(),
                    "{tag}: {read}, not {written}"
                );
            }
        }
    }
    println!("TensorBoard's own reader finds the same numbers");
}
