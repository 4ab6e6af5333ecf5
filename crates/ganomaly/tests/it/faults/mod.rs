//! Faults at every write: a full disk, failing and short writes, lost permissions, vanished
//! folders. After each, nothing damaged or missing is read as good, and a second sweep results in
//! the same bytes as an undisturbed one.
//!
//! By default some of the points are tried, with `GANOMALY_SLOW=1` all of them.

mod disk;
mod injected;
mod permissions;

use crate::common::{GANOMALY, TINY, stderr, stdout, timeless, verify};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Two runs, one after the other.
const SWEEP: &str = "seed = 0\n[sweep]\nabnormal_class = [0, 1]\n";

/// An experiment, and its undisturbed result.
struct Bench {
    sandbox: tempfile::TempDir,
    calm: BTreeMap<PathBuf, Vec<u8>>,
}

impl Bench {
    fn new(sweep: &str) -> Self {
        let sandbox = tempfile::tempdir().unwrap();
        fs::write(sandbox.path().join("s.toml"), TINY.to_string() + sweep).unwrap();
        let mut bench = Self { sandbox, calm: BTreeMap::new() };
        let calm = bench.path("calm");
        let output = bench.sweep(&calm).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        bench.calm = timeless(&calm.join("s"));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path().join(name)
    }

    fn arguments(&self, results: &Path) -> Vec<String> {
        let config = self.path("s.toml").display().to_string();
        let results = results.display().to_string();
        ["sweep", &config, "--jobs", "1", "--threads", "1", "--results", &results]
            .map(String::from)
            .into()
    }

    fn sweep(&self, results: &Path) -> Command {
        let mut command = Command::new(GANOMALY);
        command.args(self.arguments(results)).current_dir(self.sandbox.path());
        command
    }

    /// Checks a disturbed sweep: its error, what is there, and what a second sweep makes of it.
    fn judge(&self, what: &str, disturbed: &Output, results: &Path) {
        self.judge_error(what, disturbed, results);
        let folder = results.join("s");
        self.judge_results(what, &verify(&folder));
        let second = self.sweep(results).output().unwrap();
        assert!(second.status.success(), "{what}: the second sweep: {}", stderr(&second));
        self.judge_end(what, &verify(&folder), &folder);
    }

    /// Either a clear error that names a file or folder, or none.
    fn judge_error(&self, what: &str, disturbed: &Output, results: &Path) {
        let text = stderr(disturbed);
        assert!(!text.contains("panicked"), "{what}: {text}");
        if disturbed.status.success() {
            return;
        }
        assert_eq!(disturbed.status.code(), Some(1), "{what}: {text}");
        let named = results.display().to_string();
        let errors: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("error: ") || line.starts_with("failed: "))
            .collect();
        assert!(errors.iter().any(|line| line.contains(&named)), "{what}: {text}");
    }

    /// Everything there is complete: at most, something is missing.
    fn judge_results(&self, what: &str, verified: &Output) {
        if verified.status.success() {
            return;
        }
        let (text, error) = (stdout(verified), stderr(verified));
        let nothing = ["no plan.toml and no finished run in it", "no such folder"];
        if nothing.iter().any(|words| error.contains(words)) {
            return;
        }
        assert!(error.is_empty() && !text.is_empty(), "{what}: {error}");
        for line in text.lines() {
            let missing = [
                "missing run: expected by plan.toml",
                "found none: No such file",
                " MISMATCH",
                "unverifiable",
            ];
            assert!(missing.iter().any(|words| line.contains(words)), "{what}: {text}");
        }
    }

    /// Everything is there, as if nothing had happened, and nothing else.
    fn judge_end(&self, what: &str, verified: &Output, folder: &Path) {
        assert!(verified.status.success(), "{what}: {}{}", stdout(verified), stderr(verified));
        let end = timeless(folder);
        let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&end), names(&self.calm), "{what}");
        for (path, bytes) in &self.calm {
            assert!(end[path] == *bytes, "{what}: {} differs", path.display());
        }
    }
}
