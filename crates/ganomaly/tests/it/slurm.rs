//! `ganomaly sweep --slurm` with a real Slurm, if one runs here (`SLURM_CONF`).

use crate::common::{Sandbox, skip, stdout};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(280);

/// Ten runs of a moment, two of many epochs, and one that fails for good.
fn experiment() -> String {
    let head = crate::common::TINY.replace("epochs = 1\n", "");
    let one = |seed: u32, rest: &str| format!("\n[[variant]]\nseed = {seed}\n{rest}\n");
    let short: String = (0..9).map(|seed| one(seed, "epochs = 1")).collect();
    let rest = [one(9, "epochs = 600"), one(10, "epochs = 4200"), one(11, "epochs = 1\nlr = 1e30")];
    format!(
        "{head}also_score = []\nabnormal_class = \"ring\"\ndevice = \"cpu\"\n{short}{}",
        rest.concat()
    )
}

/// Slurm looks at the time every half minute, and sends the signal when it is due before the next
/// look: so at its first look at a task.
const OPTIONS: &str = "#SBATCH --time=1\n#SBATCH --signal=B:TERM@30\n";

fn ask(command: &str, args: &[&str]) -> String {
    stdout(&Command::new(command).args(args).output().unwrap())
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited too long until {what}; {}", ask("squeue", &[]));
        std::thread::sleep(Duration::from_millis(200));
    }
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
        let all = std::fs::read_dir(results.join(".checkpoints")).into_iter().flatten();
        all.flatten().any(|run| {
            let files = std::fs::read_dir(run.path()).into_iter().flatten().count();
            run.file_name().to_string_lossy().contains(seed) && files > 0
        })
    };
    until("the first long run has a checkpoint", || checkpoint("seed9-"));
    let task = |index: u32| format!("{job}_{index}");
    ask("scontrol", &["requeue", &task(9)]);
    let ours = |line: &str| line.trim().split('_').next() == Some(job);
    let queued = || ask("squeue", &["--noheader", "--array", "--format=%i"]).lines().any(ours);
    until("every task has ended", || !queued());
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
        let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert!(read(&results) == read(&sandbox.path("undisturbed/s")), "{file}");
    }
    // What failed is what is missing.
    let said = sandbox.ok(&[&submit[..], &["--dry-run"]].concat());
    assert!(said.contains("--array=0-0\n"), "{said}");
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
        "--partition=long\nmodule load x\n",
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
    let said = crate::common::stderr(&output);
    assert!(!output.status.success() && said.contains("sbatch cannot be run"), "{said}");
}
