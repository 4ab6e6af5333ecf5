//! A sweep as jobs of Slurm: an array with a task for each run, and behind it a job that writes the
//! tables. Slurm decides when and where; the results folder, which all machines share, remains what
//! keeps each run single.

mod queue;
mod script;

pub use queue::Queue;
pub use script::Order;

use anyhow::{Context, Result, bail, ensure};
use ganomaly_data::shown;
use ganomaly_experiment::files::write_whole;
use ganomaly_experiment::plan::Run;
use script::{FOLDER, Script, TASKS};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Slurm's default maximum of tasks in an array.
const MOST: usize = 1000;

/// A submission that Slurm has taken.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// Slurm's number of the array.
    pub job: String,
    /// Number of tasks.
    pub tasks: usize,
    /// Its scripts and logs.
    pub folder: PathBuf,
}

impl Order {
    /// The two scripts, of the array and of the tables, as they would be submitted.
    pub fn scripts(&self, runs: &[&Run]) -> Result<String> {
        let script = self.script("ID", runs)?;
        Ok(format!("{}\n{}", script.array()?, script.tables()?))
    }

    /// Submits the runs.
    pub fn submit(&self, runs: &[&Run]) -> Result<Submitted> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let id = format!("{:x}-{}", now.as_millis(), std::process::id());
        let script = self.script(&id, runs)?;
        let (array, tables) = (script.array()?, script.tables()?);
        let folder = &script.folder;
        fs::create_dir_all(folder).with_context(|| shown(folder))?;
        write_whole(&script.config(), self.config.as_bytes())?;
        write_whole(&folder.join(TASKS), script.tasks.join("\n") + "\n")?;
        let submitted = || -> Result<String> {
            let job = submit(&folder.join("array.sh"), &array, None)?;
            if let Err(e) = submit(&folder.join("tables.sh"), &tables, Some(&job)) {
                let _ = Command::new("scancel").arg(&job).status();
                return Err(e);
            }
            Ok(job)
        };
        match submitted() {
            Ok(job) => Ok(Submitted { job, tasks: script.tasks.len(), folder: folder.clone() }),
            Err(e) => {
                let _ = fs::remove_dir_all(folder);
                Err(e)
            }
        }
    }

    fn script(&self, id: &str, runs: &[&Run]) -> Result<Script<'_>> {
        ensure!(self.group > 0, "--slurm-group 0: use at least 1");
        let names = |runs: &[&Run]| {
            let each = runs.iter().map(|run| format!("run={}", run.name));
            each.collect::<Vec<_>>().join(",")
        };
        let tasks: Vec<String> = runs.chunks(self.group).map(names).collect();
        ensure!(
            tasks.len() <= MOST,
            "{} tasks: Slurm takes arrays of up to {MOST}; put several runs into each with --slurm-group, or choose runs with --only",
            tasks.len()
        );
        let folder = self.results.join(FOLDER).join(id);
        let text = folder.to_str().filter(|text| {
            text.starts_with('/')
                && !text.contains(|c: char| c.is_whitespace() || "%\\\"'".contains(c))
        });
        ensure!(
            text.is_some(),
            "{}: Slurm cannot be given a folder whose path has spaces, quotes, % or \\ in it",
            shown(&folder)
        );
        Ok(Script { order: self, id: id.into(), folder, tasks })
    }
}

/// Gives Slurm a script; returns the number of its job.
fn submit(file: &Path, text: &str, behind: Option<&str>) -> Result<String> {
    write_whole(file, text)?;
    let mut command = Command::new("sbatch");
    command.arg("--parsable");
    if let Some(job) = behind {
        command.arg(format!("--dependency=afterany:{job}"));
    }
    let output = command
        .arg(file)
        .output()
        .context("sbatch cannot be run; --slurm needs Slurm's commands on this machine")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let job = said.trim().split(';').next().unwrap_or_default();
    if !output.status.success() || job.is_empty() {
        bail!("sbatch refused {}: {}", shown(file), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(job.to_string())
}
