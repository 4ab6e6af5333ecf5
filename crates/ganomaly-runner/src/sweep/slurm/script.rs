//! The scripts that Slurm runs.

use crate::terminal::quoted;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// Where submissions keep their scripts and logs, inside an experiment's folder.
pub const FOLDER: &str = ".slurm";
/// The file with what each task does, a line each.
pub const TASKS: &str = "tasks";
/// What Slurm's names of our jobs begin with.
pub const NAME: &str = "ganomaly-";
/// Seconds before a task's time limit at which it is told to end.
const WARNING: u32 = 60;
/// A task that was requeued more often makes no progress.
const REQUEUES: u32 = 100;

/// What is submitted.
#[derive(Clone, Debug)]
pub struct Order {
    /// This program.
    pub program: PathBuf,
    /// The experiment's folder, which exists.
    pub results: PathBuf,
    /// The experiment's TOML file; a copy of it is what the tasks read.
    pub config: String,
    /// Further arguments of the tasks' sweeps.
    pub arguments: Vec<String>,
    /// Runs of each task.
    pub group: usize,
    /// Maximum number of tasks at once.
    pub at_once: Option<usize>,
    /// Lines for the scripts, such as `#SBATCH --partition=long`.
    pub options: String,
    /// Whether the runs need a GPU.
    pub gpu: bool,
}

/// A submission's scripts.
pub struct Script<'a> {
    pub order: &'a Order,
    pub id: String,
    pub folder: PathBuf,
    /// What each task chooses with `--only`.
    pub tasks: Vec<String>,
}

impl Script<'_> {
    /// The copy of the experiment's file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("experiment.toml")
    }

    fn head(&self, what: &str, name: &str, log: &str) -> Result<String> {
        let folder = text(&self.folder)?;
        Ok(format!(
            "#!/bin/bash\n\
             # {what} Written by `ganomaly sweep --slurm`.\n\
             #SBATCH --job-name={NAME}{}{name}\n\
             #SBATCH --output={folder}/{log}.log\n\
             #SBATCH --open-mode=append\n",
            self.id
        ))
    }

    /// The script of the array.
    pub fn array(&self) -> Result<String> {
        let Order { program, arguments, at_once, options, gpu, .. } = self.order;
        let wrong = options.lines().any(|line| line.trim_start().starts_with("#!"));
        ensure!(!wrong, "the Slurm options: lines for a script, not a script of its own");
        // Slurm reads its options before the first command.
        let (directives, commands): (Vec<&str>, Vec<&str>) =
            options.lines().partition(|line| line.trim_start().starts_with('#'));
        let [directives, commands] = [directives, commands]
            .map(|lines| lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        let (head, tasks) = (self.head("A sweep's runs.", "", "%a")?, self.folder.join(TASKS));
        let last = self.tasks.len().saturating_sub(1);
        let at_once = at_once.map_or(String::new(), |most| format!("%{most}"));
        let gres = if *gpu { "#SBATCH --gres=gpu:1\n" } else { "" };
        let mut sweep =
            vec![text(program)?.to_string(), "sweep".into(), text(&self.config())?.into()];
        sweep.extend(arguments.iter().cloned());
        let sweep = sweep.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let tasks = quoted(text(&tasks)?);
        Ok(format!(
            r#"{head}#SBATCH --array=0-{last}{at_once}
#SBATCH --requeue
#SBATCH --signal=B:TERM@{WARNING}
{gres}{directives}# Before the time limit, the sweep writes a checkpoint and ends, and this task queues again.
trap 'asked=1; kill -TERM "$sweep"' TERM
{commands}only=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {tasks})
{sweep} --runs-only --threads "${{SLURM_CPUS_ON_NODE:-1}}" --only "$only" &
sweep=$!
[ -z "$asked" ] || kill -TERM "$sweep"
# The signal ends the waiting, and not yet the sweep.
while kill -0 "$sweep" 2> /dev/null; do wait "$sweep"; done
wait "$sweep"
code=$?
if [ -n "$asked" ] && [ "$code" != 0 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {REQUEUES} ]; then
    trap '' TERM
    # Not if it was cancelled, or is queued again already.
    if scontrol show job "$SLURM_JOB_ID" | grep -q JobState=RUNNING; then
        scontrol requeue "$SLURM_JOB_ID" && sleep 300
    fi
fi
exit "$code"
"#
        ))
    }

    /// The script of the tables, which comes when every task has ended.
    pub fn tables(&self) -> Result<String> {
        let Order { program, results, options, .. } = self.order;
        let head = self.head("A sweep's tables and plots.", "-tables", "tables")?;
        // The partition and account, and not what is for the runs alone.
        let kept = ["partition", "account", "qos", "-p", "-A", "-q"];
        let kept = options.lines().filter(|line| {
            let option = line.trim().strip_prefix("#SBATCH ").map(str::trim);
            option.is_some_and(|o| kept.iter().any(|k| o.trim_start_matches("--").starts_with(k)))
        });
        let kept: String = kept.map(|line| format!("{line}\n")).collect();
        let (program, results) = (quoted(text(program)?), quoted(text(results)?));
        Ok(format!("{head}{kept}{program} collect {results}\n"))
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{}: not text", path.display()))
}
