//! Results in temporary folders, made and checked by the real binary.

#[path = "../../../../tests/skip.rs"]
pub mod skip;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

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

/// Waits until something holds, and no longer than this.
pub fn until(within: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < within, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
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

/// A temporary folder in which the binary is run.
pub struct Sandbox(pub tempfile::TempDir);

impl Sandbox {
    pub fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With one experiment, `s.toml`.
    pub fn of(config: &str) -> Self {
        Self::with(&[("s.toml", config)])
    }

    pub fn with(files: &[(&str, &str)]) -> Self {
        let sandbox = Self::empty();
        for (name, text) in files {
            sandbox.write(name, text);
        }
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> &Self {
        fs::write(self.path(name), text).unwrap();
        self
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// `ganomaly ARGS...` in the folder; it never downloads.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(GANOMALY);
        command.args(args).current_dir(self.0.path());
        command.env("GANOMALY_DATA_MIRROR", "http://127.0.0.1:9/").env_remove("GANOMALY_DATA_DIR");
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of a command that succeeds.
    pub fn ok(&self, args: &[&str]) -> String {
        self.both(args).0
    }

    /// Standard output and errors of a command that succeeds.
    pub fn both(&self, args: &[&str]) -> (String, String) {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?} failed: {}", stderr(&output));
        (stdout(&output), stderr(&output))
    }

    /// The command fails, and its message has every one of the words.
    pub fn fails(&self, args: &[&str], words: &[&str]) {
        let output = self.run(args);
        let said = stderr(&output);
        assert!(!output.status.success(), "{args:?} should fail");
        assert!(!said.contains("panicked"), "{args:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{args:?}: {said:?} should contain {word:?}");
        }
    }

    /// The folders of an experiment's runs.
    pub fn runs(&self, experiment: &str) -> Vec<PathBuf> {
        runs(&self.path("results").join(experiment))
    }
}
