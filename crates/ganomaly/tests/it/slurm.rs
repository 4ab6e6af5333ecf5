//! `ganomaly sweep --slurm` with a real Slurm, if one runs here (`SLURM_CONF`).

use crate::common::{self, Sandbox, skip, stdout};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(280);

/// Ten runs of a moment, two of many epochs, and one that fails for good.
fn experiment() -> String {
    let head = common::TINY.replace("epochs = 1\n", "");
    let one = |seed: u32, rest: &str| format!("\n[[variant]]\nseed = {seed}\n{rest}\n");
    let short: String = (0..9).map(|seed| one(seed, "epochs = 1")).collect();
    let rest = [one(9, "epochs = 600"), one(10, "epochs = 601"), one(11, "epochs = 1\nlr = 1e30")];
    format!(
        "{head}also_score = []\nabnormal_class = \"ring\"\ndevice = \"cpu\"\n{short}{}",
        rest.concat()
    )
}

/// Slurm looks at the time every half minute, and sends the signal when it is due before the next
/// look: so at its first look at a task.
const LOOK: Duration = Duration::from_secs(33);
const OPTIONS: &str = "#SBATCH --time=1\n#SBATCH --signal=B:TERM@30\n";

fn ask(command: &str, args: &[&str]) -> String {
    stdout(&Command::new(command).args(args).output().unwrap())
}

fn until(what: &str, holds: impl FnMut() -> bool) {
    common::until(PATIENCE, what, holds);
}

#[test]
fn an_array_killed_requeued_and_out_of_time_makes_the_tables_of_an_undisturbed_sweep() {
    let runs = Command::new("sinfo").arg("--noheader").output();
    if std::env::var_os("SLURM_CONF").is_none() || !runs.is_ok_and(|o| o.status.success()) {
        return skip::missing("no Slurm runs here");
    }
    let sandbox = Sandbox::with(&[("s.toml", &experiment()), ("options", OPTIONS)]);
    let submit = ["sweep", "s.toml", "--slurm", "--slurm-options", "options"];
    let submit = [&submit[..], &["--checkpoint-minutes", "0.02"]].concat();
    let said = sandbox.ok(&submit);
    assert!(said.contains("12 tasks, 12 runs; 0 are done"), "{said}");
    let (_, job) = said.split_once("Slurm job ").unwrap();
    let job = job.split(':').next().unwrap();
    let mut alone = sandbox.command(&["sweep", "s.toml", "--results", "undisturbed", "-q"]);
    let mut alone = alone.stdout(Stdio::null()).spawn().unwrap();
    // Nothing is submitted twice, and the queue is shown.
    assert!(sandbox.ok(&submit).contains("nothing to submit: all 12 runs"), "{said}");
    let status = || sandbox.ok(&["status", "results/s"]);
    assert!(status().contains("Slurm job"), "{}", status());

    let results = sandbox.path("results/s");
    let checkpoint = |seed: &str| {
        let all = fs::read_dir(results.join(".checkpoints")).into_iter().flatten();
        all.flatten().any(|run| {
            let files = fs::read_dir(run.path()).into_iter().flatten().count();
            run.file_name().to_string_lossy().contains(seed) && files > 0
        })
    };
    until("the first long run has a checkpoint", || checkpoint("seed9-"));
    let task = |index: u32| format!("{job}_{index}");
    ask("scontrol", &["requeue", &task(9)]);
    // The other one is held up until Slurm has looked at its time.
    let mut process = None;
    until("the second long run has begun", || {
        let status = status();
        let line = status.lines().find(|line| line.contains("seed10-") && line.contains("epoch "));
        process =
            line.and_then(|line| line.split("by process ").nth(1)?.split(' ').next()?.parse().ok());
        process.is_some()
    });
    let process = Pid::from_raw(process.unwrap()).unwrap();
    kill_process(process, Signal::STOP).unwrap();
    std::thread::sleep(LOOK);
    kill_process(process, Signal::CONT).unwrap();
    let ours = |line: &str| line.trim().split('_').next() == Some(job);
    let queued = || ask("squeue", &["--noheader", "--array", "--format=%i"]).lines().any(ours);
    until("every task has ended", || {
        std::thread::sleep(Duration::from_millis(200));
        !queued()
    });
    until("the tables are there", || results.join("table.md").is_file());

    for (index, state, restarted) in [
        (0, "COMPLETED", false),
        (9, "COMPLETED", true),
        (10, "COMPLETED", true),
        (11, "FAILED", false),
    ] {
        let job = ask("scontrol", &["show", "job", &task(index)]);
        assert!(job.contains(&format!("JobState={state}")), "{index}: {job}");
        assert_eq!(!job.contains("Restarts=0"), restarted, "{index}: {job}");
    }
    let status = status();
    assert!(status.contains("12 runs: 11 done, 0 running, 1 failed, 0 missing"), "{status}");
    assert_eq!(alone.wait().unwrap().code(), Some(1), "one run fails");
    for file in ["table.md", "table.csv", "runs.csv", "plots/auroc.svg", "plan.toml"] {
        let read = |folder: &Path| fs::read(folder.join(file)).unwrap();
        assert!(read(&results) == read(&sandbox.path("undisturbed/s")), "{file}");
    }
    // What failed is what is missing.
    let said = sandbox.ok(&[&submit[..], &["--dry-run"]].concat());
    assert!(said.contains("--array=0-0\n"), "{said}");
}

/// The script of a task, told to end at every half millisecond of its first 60, with a Slurm that
/// says that the task runs no more.
#[test]
fn a_task_told_to_end_at_any_moment_ends() {
    let sandbox = Sandbox::of(&experiment());
    let tools = ["squeue", "sbatch", "scontrol"];
    fs::create_dir(sandbox.path("bin")).unwrap();
    for tool in tools {
        let path = sandbox.path("bin").join(tool);
        let says = if tool == "sbatch" { "echo 7" } else { "true" };
        fs::write(&path, format!("#!/bin/sh\n{says}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", sandbox.path("bin").display(), std::env::var("PATH").unwrap());
    let submitted =
        sandbox.command(&["sweep", "s.toml", "--slurm"]).env("PATH", &path).output().unwrap();
    assert!(submitted.status.success(), "{}", common::stderr(&submitted));
    let submission = fs::read_dir(sandbox.path("results/s/.slurm")).unwrap().next().unwrap();
    let script = submission.unwrap().path().join("array.sh");
    for half in 0..120 {
        let mut task = Command::new("bash");
        task.arg(&script).env("PATH", &path).env("SLURM_ARRAY_TASK_ID", "9");
        let mut task = task.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(500 * half));
        kill_process(Pid::from_child(&task), Signal::TERM).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while task.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "told to end after {half} half milliseconds");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn scripts_are_shown_and_wrong_orders_refused() {
    let sandbox = Sandbox::with(&[
        ("s.toml", &experiment()),
        ("options", "#SBATCH --partition=long\nmodule load x\n"),
    ]);
    let dry = ["sweep", "s.toml", "--slurm", "--dry-run"];
    let said = sandbox.ok(&[
        &dry[..],
        &["--slurm-group", "5", "--slurm-at-once", "2", "--slurm-options", "options"],
    ]
    .concat());
    for words in [
        "--array=0-2%2\n",
        "--partition=long\n",
        "TERM\nmodule load x\n",
        "--jobs 5",
        "--set device=cpu",
        "--requeue",
    ] {
        assert!(said.contains(words), "{said} should contain {words}");
    }
    assert_eq!(said.matches("--partition=long").count(), 2, "the tables need it too");
    assert!(!said.contains("--gres"), "{said}");
    assert!(!sandbox.path("results").exists(), "nothing is written");
    let gpu = sandbox.ok(&[&dry[..], &["--set", "device=cuda:0"]].concat());
    assert!(gpu.contains("#SBATCH --gres=gpu:1\n"), "{gpu}");
    sandbox.fails(&[&dry[..], &["--slurm-group", "0"]].concat(), &["--slurm-group 0"]);
    sandbox.fails(&[&dry[..], &["--slurm-options", "none"]].concat(), &["none"]);
    sandbox.fails(&[&dry[..], &["--results", "a b"]].concat(), &["spaces"]);
    sandbox.fails(&["sweep", "s.toml", "--slurm-group", "2"], &["--slurm"]);
    let mut without = sandbox.command(&["sweep", "s.toml", "--slurm"]);
    let output = without.env("PATH", "").output().unwrap();
    let said = common::stderr(&output);
    assert!(!output.status.success() && said.contains("sbatch cannot be run"), "{said}");
}
