//! Results in temporary folders, made and checked by the real binary.

#![allow(dead_code, reason = "each test uses a part")]

#[path = "../../../../tests/skip.rs"]
pub mod skip;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const GANOMALY: &str = env!("CARGO_BIN_EXE_ganomaly");

/// Runs of a few hundredths of a second; each test adds its sweep.
pub const TINY: &str = r#"
dataset = "synthetic"
isize = 16
nz = 4
ngf = 2
epochs = 1
train_limit = 32
test_limit = 40
batch_size = 32
bootstrap = 10
"#;

/// Whether the long tests were requested.
pub fn slow() -> bool {
    std::env::var_os("GANOMALY_SLOW").is_some_and(|v| !v.is_empty() && v != "0")
}

/// Every file under a folder, by its path inside it.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut left = vec![folder.to_path_buf()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else {
            all.insert(path.strip_prefix(folder).unwrap().to_path_buf(), fs::read(&path).unwrap());
        }
    }
    all
}

/// The files of an experiment that are the same every time: without times, and what depends on
/// them.
pub fn timeless(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = files(folder);
    let times = ["run.json", "epochs.csv", "SHA256SUMS", "report.html", "sweep.log"];
    all.retain(|path, _| !times.iter().any(|name| path.ends_with(name)));
    all
}

pub fn copy(from: &Path, to: &Path) {
    for (path, contents) in files(from) {
        let path = to.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
}

/// The folders of an experiment's runs, sorted.
pub fn runs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut runs: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    let hidden = |path: &Path| path.file_name().unwrap().to_string_lossy().starts_with('.');
    runs.retain(|path| !hidden(path) && path.join("config.toml").is_file());
    runs.sort();
    runs
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn verify(folder: &Path) -> Output {
    Command::new(GANOMALY).arg("verify").arg(folder).output().unwrap()
}
