//! Permissions that are lost and folders that vanish during a sweep.

use super::Bench;
use crate::common::{GANOMALY, runs, skip, stderr};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Eight runs, long enough to be disturbed between two of them.
const SWEEP: &str = "seed = 0\n[sweep]\nabnormal_class = [0, 1, 2, 3, 4, 5, 6, 7]\n";

pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The sweep as a user bound by permissions; none if there is no way to become one.
fn bound(bench: &Bench, results: &Path) -> Option<Command> {
    if !is_root() {
        return Some(bench.sweep(results));
    }
    let program = bench.path("ganomaly");
    if !program.exists() {
        fs::copy(GANOMALY, &program).unwrap();
        set_mode(bench.sandbox.path(), 0o777);
    }
    let someone = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let works = Command::new("setpriv").args(someone).arg("true").status();
    if !works.is_ok_and(|status| status.success()) {
        return None;
    }
    let mut command = Command::new("setpriv");
    command.args(someone).arg(program).args(bench.arguments(results));
    command.current_dir(bench.sandbox.path());
    Some(command)
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn until_done(folder: &Path, count: usize) {
    let since = Instant::now();
    while runs(folder).len() < count {
        assert!(since.elapsed() < Duration::from_secs(60), "waited in vain for {count} runs");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn lost_permissions_are_survived() {
    let bench = Bench::new(SWEEP);
    let mut points = 0;
    for (at, part) in ["", "s", "s/.claims", "s/plots"].into_iter().enumerate() {
        for after in [0, 1, 3] {
            let results = bench.path(&format!("results-{at}-{after}"));
            let Some(command) = bound(&bench, &results) else {
                let why = "permissions do not bind this user, and setpriv does not work";
                return skip::allowed(why);
            };
            for folder in ["", "s", "s/.claims", "s/plots"] {
                fs::create_dir_all(results.join(folder)).unwrap();
                set_mode(&results.join(folder), 0o777);
            }
            let lost = results.join(part);
            if after == 0 {
                set_mode(&lost, 0o555);
            }
            let child = start(command);
            if after > 0 {
                until_done(&results.join("s"), after);
                set_mode(&lost, 0o555);
            }
            let output = child.wait_with_output().unwrap();
            let what = format!("{lost:?} read-only after {after} runs");
            // In the folder above, nothing is written once the experiment's folder is there.
            let matters = !part.is_empty();
            assert_eq!(!output.status.success(), matters, "{what}: {}", stderr(&output));
            if matters {
                let text = stderr(&output);
                assert!(text.contains("Permission denied"), "{what}: {text}");
                bench.judge_error(&what, &output, &results);
            }
            bench.judge_results(&what, &crate::common::verify(&results.join("s")));
            set_mode(&lost, 0o777);
            let second = bound(&bench, &results).unwrap().output().unwrap();
            assert!(second.status.success(), "{what}: {}", stderr(&second));
            bench.judge_end(&what, &crate::common::verify(&results.join("s")), &results.join("s"));
            points += 1;
        }
    }
    println!("permissions: {points} points tried");
}

#[test]
fn vanished_folders_and_files_are_survived() {
    let bench = Bench::new(SWEEP);
    let mut points = 0;
    type Victim = (&'static str, fn(&Path) -> PathBuf);
    let victims: [Victim; 5] = [
        ("the experiment's folder", Path::to_path_buf),
        ("the claims", |folder| folder.join(".claims")),
        ("the plan", |folder| folder.join("plan.toml")),
        ("a finished run", |folder| runs(folder)[0].clone()),
        ("a finished run's measures", |folder| runs(folder)[0].join("metrics.json")),
    ];
    for (what, victim) in victims {
        for after in [1, 4] {
            let results = bench.path(&format!("results-{points}"));
            let folder = results.join("s");
            let child = start(bench.sweep(&results));
            until_done(&folder, after);
            let path = victim(&folder);
            // The folder may get new files while it is being removed.
            while path.exists() && remove(&path).is_err() {}
            let output: Output = child.wait_with_output().unwrap();
            let what = format!("{what} vanished after {after} runs");
            if what.contains("measures") {
                // Nobody may remove a folder with some of a run's files.
                assert!(!output.status.success(), "{what}");
                assert!(
                    stderr(&output).contains("in the place of a run, and not one"),
                    "{}",
                    stderr(&output)
                );
                let verified = crate::common::verify(&folder);
                assert!(
                    crate::common::stdout(&verified).contains("metrics.json: SHA-256: expected")
                );
                fs::remove_dir_all(path.parent().unwrap()).unwrap();
            }
            bench.judge(&what, &output, &results);
            points += 1;
        }
    }
    println!("vanished: {points} points tried");
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}
