//! Careless and hostile users: the real binary with terminals that close, pipes that nobody reads,
//! signals, excessive requests, and other things in place of files.

mod requests;
mod terminal;

use crate::common::{GANOMALY, TINY, stderr, stdout};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder with an experiment `e`.
struct Sandbox(tempfile::TempDir);

impl Sandbox {
    /// Two runs of a few hundredths of a second.
    fn new() -> Self {
        Self::with(TINY, "[sweep]\nabnormal_class = [0, 1]\nseed = [0]")
    }

    /// These settings, and more.
    fn with(settings: &str, more: &str) -> Self {
        let sandbox = Self(tempfile::tempdir().unwrap());
        sandbox.write("e.toml", &format!("{settings}\n{more}\n"));
        sandbox
    }

    /// One run that never ends by itself.
    fn endless() -> Self {
        let settings = TINY.replace("epochs = 1", "epochs = 1000000");
        Self::with(&settings, "abnormal_class = 0\nseed = 0")
    }

    /// The two runs are done.
    fn swept() -> Self {
        let sandbox = Self::new();
        assert!(sandbox.run(&["sweep", "e.toml", "--jobs", "1"]).status.success());
        sandbox
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn results(&self) -> PathBuf {
        self.path("results/e")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.results().join("sweep.log")).unwrap_or_default()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(GANOMALY);
        command.args(args).current_dir(self.0.path());
        command
    }

    /// In the background, with its output discarded.
    fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Killed after a minute, with limited memory.
    fn run(&self, args: &[&str]) -> Output {
        Command::new("sh")
            .args(["-c", "ulimit -v 4000000; exec timeout 60 \"$0\" \"$@\"", GANOMALY])
            .args(args)
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    /// The command fails by itself, and its message contains the words.
    fn fails(&self, args: &[&str], words: &[&str]) {
        let output = self.run(args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(!said.contains("panicked"), "{args:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{args:?}: {said:?} should contain {word:?}");
        }
    }

    /// The name of the experiment's first run.
    fn first_run(&self) -> String {
        let plan = stdout(&self.run(&["sweep", "e.toml", "--dry-run"]));
        plan.split_whitespace().next().unwrap().to_string()
    }
}

fn until(what: &str, holds: impl FnMut() -> bool) {
    crate::common::until(Duration::from_secs(60), what, holds);
}

fn signal(name: &str, child: &Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
}

/// The exit code of a process that ends within a minute.
fn code(child: &mut Child) -> Option<i32> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if started.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("it did not end within a minute");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
