//! Sweeps that are stopped, killed and shared, with the real binary in temporary folders.

use crate::common::{Sandbox, skip};

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// 24 runs of a few tenths of a second.
const MANY: &str = r#"
dataset = "synthetic"
isize = 16
nz = 8
ngf = 4
epochs = 6
train_limit = 256
test_limit = 100
batch_size = 32
lr = 2e-3
bootstrap = 50

[sweep]
abnormal_class = [0, 1, 2, 3, 4, 5, 6, 7]
seed = [0, 1, 2]
"#;

const TABLES: [&str; 4] = ["table.md", "table.csv", "runs.csv", "plots/auroc.svg"];

impl Sandbox {
    /// Starts a process whose standard error goes into a file with that name.
    fn spawn(&self, log: &str, args: &[&str]) -> Child {
        let log = fs::File::create(self.path(log)).unwrap();
        self.command(args).arg("-v").stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The finished runs in an experiment's folder, each with the time when its record was written.
    fn done(&self, folder: &str) -> BTreeMap<String, std::time::SystemTime> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten();
        let record = |e: fs::DirEntry| {
            let written = fs::metadata(e.path().join("run.json")).ok()?.modified().unwrap();
            let name = e.file_name().to_string_lossy().into_owned();
            (!name.starts_with('.')).then_some((name, written))
        };
        entries.filter_map(|e| record(e.unwrap())).collect()
    }

    fn tables(&self, folder: &str) -> [Vec<u8>; 4] {
        TABLES.map(|file| fs::read(self.path(folder).join(file)).unwrap())
    }
}

fn until(what: &str, holds: impl FnMut() -> bool) {
    crate::common::until(Duration::from_secs(120), what, holds);
}

fn signal(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn hidden(folder: &Path, inside: &str) -> Vec<String> {
    let entries = fs::read_dir(folder.join(inside)).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    if inside.is_empty() {
        names.retain(|name| name.ends_with(".tmp") || name.ends_with(".partial"));
    }
    names
}

/// The runs that a process began to train, according to its output.
fn begun(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|l| l.ends_with("training steps"))
        .map(|l| l.split(':').next().unwrap())
        .collect()
}

#[test]
fn a_sweep_stopped_killed_and_shared_is_as_one_undisturbed() {
    let sandbox = Sandbox::of(MANY);
    sandbox.both(&["sweep", "s.toml", "--jobs", "2", "--results", "calm"]);

    let folder = sandbox.path("results/s");
    let args = ["sweep", "s.toml", "--jobs", "2"];
    let mut child = sandbox.spawn("interrupted", &args);
    until("4 runs are done", || sandbox.done("results/s").len() >= 4);
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let after_interrupt = sandbox.done("results/s");
    assert!(after_interrupt.len() < 24, "it should have been stopped in the middle");
    assert!(sandbox.log("interrupted").contains("of 24 runs are done and kept"));
    assert!(hidden(&folder, ".claims").is_empty() && hidden(&folder, "").is_empty());

    let mut child = sandbox.spawn("killed", &args);
    let goal = after_interrupt.len() + 4;
    until("4 more are done", || sandbox.done("results/s").len() >= goal);
    signal(&child, "-KILL");
    child.wait().unwrap();
    let after_kill = sandbox.done("results/s");
    assert!(after_kill.len() < 24, "it should have been killed in the middle");
    let stale = hidden(&folder, ".claims");
    assert!(!stale.is_empty(), "it should have been at a run");
    let (status, _) = sandbox.both(&["status", "s.toml"]);
    let expected = format!(
        "{} done, 0 running, 0 failed, {} missing",
        after_kill.len(),
        24 - after_kill.len()
    );
    assert!(status.contains(&expected) && status.contains("which is gone"), "{status}");
    assert!(status.contains("one run after another"), "{status}");
    // A folder that a killed process left half-written.
    let name = stale[0].rsplit_once('.').unwrap().0;
    fs::create_dir(folder.join(format!(".{name}.elsewhere-1-2-3.partial"))).unwrap();

    let mut both = ["one", "two"]
        .map(|log| sandbox.spawn(log, &["sweep", "s.toml", "--jobs", "1", "--threads", "1"]));
    let mut seen_running = false;
    until("two processes are through", || {
        if !seen_running && sandbox.done("results/s").len() > after_kill.len() {
            let (status, _) = sandbox.both(&["status"]);
            seen_running = status.contains("  running  ");
        }
        both.iter_mut().all(|child| child.try_wait().unwrap().is_some())
    });
    let logs = ["one", "two"].map(|log| sandbox.log(log));
    for (child, log) in both.iter_mut().zip(&logs) {
        assert!(child.wait().unwrap().success(), "{log}");
        assert!(!begun(log).is_empty(), "each should have done some: {logs:?}");
    }
    assert!(seen_running, "status should have seen a run under way");

    // Each run exactly once: none that was there has been written again, and each of the others was
    // begun by one process.
    let done = sandbox.done("results/s");
    assert_eq!(done.len(), 24);
    for there in [&after_interrupt, &after_kill] {
        assert!(there.iter().all(|(run, written)| done.get(run) == Some(written)));
    }
    let mut begun: Vec<&str> = logs.iter().flat_map(|log| begun(log)).collect();
    begun.sort_unstable();
    let missing: Vec<&str> =
        done.keys().filter(|run| !after_kill.contains_key(*run)).map(String::as_str).collect();
    assert_eq!(begun, missing);
    assert!(hidden(&folder, ".claims").is_empty() && hidden(&folder, "").is_empty());

    assert!(sandbox.tables("results/s") == sandbox.tables("calm/s"), "the tables differ");
    let plan = |results: &str| fs::read(sandbox.path(results).join("s/plan.toml")).unwrap();
    assert!(plan("results") == plan("calm"));
}

/// A process that is held up for long loses its run to another, notices, and both end normally.
#[test]
fn a_process_held_up_loses_its_run() {
    let sandbox = Sandbox::of(&MANY.replace("epochs = 6", "epochs = 60"));
    let args = ["sweep", "s.toml", "--set", "abnormal_class=[0,1]", "--set", "seed=0"];
    let args = [&args[..], &["--jobs", "1", "--stale-after", "1"]].concat();
    let mut held_up = sandbox.spawn("held up", &args);
    until("it trains", || sandbox.log("held up").contains("epoch 2"));
    signal(&held_up, "-STOP");
    let other = sandbox.both(&args);
    signal(&held_up, "-CONT");
    assert!(held_up.wait().unwrap().success());
    assert!(other.1.contains("\n2 runs done now, 0 were there, 0 failed"), "{}", other.1);
    let log = sandbox.log("held up");
    assert!(
        log.contains("0 runs done now, 2 done by others meanwhile, 0 were there, 0 failed"),
        "{log}"
    );
    assert!(hidden(&sandbox.path("results/s"), ".claims").is_empty());
    assert!(hidden(&sandbox.path("results/s"), "").is_empty());
}

/// Two runs of a second each.
fn small() -> Sandbox {
    Sandbox::of(
        &MANY
            .replace("epochs = 6", "epochs = 1")
            .replace("[0, 1, 2, 3, 4, 5, 6, 7]", "[0, 1]")
            .replace("[0, 1, 2]", "[0, 1]"),
    )
}

#[test]
fn a_run_that_others_are_at_is_waited_for_until_they_are_gone() {
    let sandbox = small();
    let only = ["s.toml", "--only", "abnormal_class=0,seed=0"];
    let (plan, _) = sandbox.both(&[&["sweep", "--dry-run"], &only[..]].concat());
    let name = plan.split_whitespace().next().unwrap();
    let claims = sandbox.path("results/s/.claims");
    fs::create_dir_all(&claims).unwrap();
    let claim = claims.join(format!("{name}.1"));
    fs::write(&claim, "someone's").unwrap();
    let mut child = sandbox.spawn("log", &[&["sweep", "--stale-after", "2"], &only[..]].concat());
    until("it waits", || {
        fs::write(&claim, "someone's").unwrap();
        sandbox.log("log").contains(&format!("waiting for 1 that others are at:\n  {name}"))
    });
    assert!(sandbox.done("results/s").is_empty());
    assert!(sandbox.both(&["status", "s.toml"]).0.contains("1 running, 0 failed, 3 missing"));
    assert!(child.wait().unwrap().success());
    assert_eq!(sandbox.done("results/s").len(), 1);
    assert!(hidden(&sandbox.path("results/s"), ".claims").is_empty());
}

/// On the CPU, and in a group on a GPU's twin.
#[test]
fn a_claim_that_cannot_be_read_fails_its_run_and_no_other() {
    for device in ["device=cpu", "device=twin"] {
        let sandbox = small();
        let args = ["s.toml", "--set", "seed=0", "--set", device, "--name", "s"];
        let (plan, _) = sandbox.both(&[&["sweep", "--dry-run"], &args[..]].concat());
        let name = plan.split_whitespace().next().unwrap();
        let claim = sandbox.path("results/s/.claims").join(format!("{name}.1"));
        fs::create_dir_all(claim).unwrap();
        let output = sandbox.run(&[&["sweep"], &args[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("Install a C compiler") {
            return skip::missing("there is no C compiler");
        }
        assert!(!output.status.success(), "{said}");
        for words in ["1 failed", &format!("failed: {name}"), "cannot read"] {
            assert!(said.contains(words), "{device}: {words:?} in {said}");
        }
        assert_eq!(sandbox.done("results/s").len(), 1, "{said}");
    }
}

#[test]
fn failures_are_kept_shown_and_tried_again() {
    let sandbox = small();
    let args = ["s.toml", "--set", "seed=0", "--set", "lr=[2e-3,1e38]", "--name", "s"];
    let sweep = [&["sweep"], &args[..]].concat();
    let status = [&["status"], &args[..]].concat();
    for _ in 0..2 {
        sandbox.fails(&sweep, &["2 failed", "failed: ring-seed0-", "the loss", "A lower lr"]);
        let (text, _) = sandbox.both(&status);
        assert!(text.contains("2 done, 0 running, 2 failed, 0 missing"), "{text}");
        assert!(text.contains("ago: epoch 1, step"), "{text}");
    }
    let (text, _) = sandbox.both(&[&sweep[..], &["--dry-run"]].concat());
    assert!(text.contains("would be tried again, after: epoch 1"), "{text}");

    // A failure is forgotten once the run succeeds.
    let failed = sandbox.path("results/s/.failed");
    let (plan, _) =
        sandbox.both(&["sweep", "s.toml", "--dry-run", "--only", "seed=1,abnormal_class=0"]);
    let name = plan.split_whitespace().next().unwrap();
    let before = "time_unix_s = 1\nhost = \"h\"\npid = 1\nerror = \"no disk\"\n";
    fs::write(failed.join(name), before).unwrap();
    assert!(sandbox.both(&["status", "s.toml"]).0.contains("no disk"));
    sandbox.both(&["sweep", "s.toml"]);
    assert!(!failed.join(name).exists());
}

#[test]
fn parts_of_a_plan_and_tables_from_the_results_alone() {
    let sandbox = small();
    let (plan, _) = sandbox.both(&["sweep", "s.toml", "--dry-run"]);
    assert!(
        plan.contains("4 of 4 runs would be done")
            && plan.contains("abnormal_class = \"ring\", seed = 0; would be done"),
        "{plan}"
    );
    assert!(!sandbox.path("results").exists());
    sandbox.fails(&["status"], &["results: no results yet"]);
    sandbox.fails(
        &["sweep", "s.toml", "--only", "w_con=1"],
        &["--only", "none of the 4 runs has w_con = 1; the runs have 50.0"],
    );
    sandbox.fails(&["sweep", "s.toml", "--only", "seed"], &["--only", "write KEY=VALUE"]);
    sandbox.fails(&["sweep", "s.toml", "--stale-after", "0"], &["--stale-after 0"]);

    let (_, log) = sandbox.both(&["sweep", "s.toml", "--only", "abnormal_class=1,seed=0"]);
    assert!(log.contains("\n1 runs done now, 0 were there, 0 failed"), "{log}");
    let (status, _) = sandbox.both(&["status", "results/s"]);
    assert!(status.contains("4 runs: 1 done, 0 running, 0 failed, 3 missing"), "{status}");
    sandbox.both(&["sweep", "s.toml"]);
    let tables = sandbox.tables("results/s");

    // Runs of another config stay, and are distinguished.
    let changed = ["s.toml", "--set", "w_con=10", "--only", "seed=0,abnormal_class=0"];
    sandbox.both(&[&["train"], &changed[..], &["--name", "s"]].concat());
    for file in TABLES {
        fs::remove_file(sandbox.path("results/s").join(file)).unwrap();
    }
    let (table, log) = sandbox.both(&["collect", "results/s"]);
    assert!(sandbox.tables("results/s") == tables);
    assert_eq!(table.as_bytes(), tables[0]);
    assert!(
        log.contains("tables of 4 runs")
            && log.contains(
                "of other configs or generations, not in the plan and the tables: ring-seed0-"
            ),
        "{log}"
    );
    let (status, _) = sandbox.both(&["status", "s.toml"]);
    assert!(
        status.contains(
            "1 finished with other configs or generations, not in this plan: ring-seed0-"
        ),
        "{status}"
    );

    // Without its plan, a folder is described by its runs.
    fs::remove_file(sandbox.path("results/s/plan.toml")).unwrap();
    let (table, log) = sandbox.both(&["collect", "results/s"]);
    assert!(log.contains("the plan is that of what is there and has 5"), "{log}");
    assert!(table.contains("w_con = 10.0") && table.contains("w_con = 50.0"), "{table}");
    sandbox.fails(&["collect", "results/none"], &["results/none: no such folder"]);
    fs::create_dir(sandbox.path("results/empty")).unwrap();
    sandbox.fails(&["collect", "results/empty"], &["no plan.toml and no finished run in it"]);
}
