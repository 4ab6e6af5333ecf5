//! What Slurm says of the runs that were submitted.

use super::script::{FOLDER, NAME, TASKS};
use anyhow::{Context, Result, ensure};
use ganomaly_data::shown;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The runs of an experiment that Slurm has, each with what it says of it. Jobs are known by the
/// names that their submissions gave them: Slurm may use a number again.
#[derive(Clone, Debug, Default)]
pub struct Queue(BTreeMap<String, String>);

impl Queue {
    /// Asks Slurm, if anything of the experiment was ever submitted.
    pub fn look(experiment: &Path) -> Result<Self> {
        let submissions = submissions(experiment)?;
        if submissions.is_empty() {
            return Ok(Self::default());
        }
        let output = Command::new("squeue")
            .args(["--noheader", "--array", "--format=%j|%K|%i|%T|%r"])
            .output()
            .context("squeue cannot be run")?;
        ensure!(
            output.status.success(),
            "squeue failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(Self::read(&submissions, &String::from_utf8_lossy(&output.stdout)))
    }

    fn read(submissions: &BTreeMap<String, Vec<String>>, said: &str) -> Self {
        let mut all = BTreeMap::new();
        for line in said.lines() {
            let mut parts = line.splitn(5, '|').map(str::trim);
            let mut part = || parts.next().unwrap_or_default();
            let (name, index, job, state, why) = (part(), part(), part(), part(), part());
            let tasks = name.strip_prefix(NAME).and_then(|id| submissions.get(id));
            let Some(task) = tasks.zip(index.parse().ok()).and_then(|(t, i): (_, usize)| t.get(i))
            else {
                continue;
            };
            // What is ending will not do its run.
            if state == "COMPLETING" {
                continue;
            }
            let why = if matches!(why, "" | "None") { String::new() } else { format!(" ({why})") };
            let text = format!("Slurm job {job}: {}{why}", state.to_lowercase());
            for run in task.split(',').filter_map(|run| run.strip_prefix("run=")) {
                all.insert(run.to_string(), text.clone());
            }
        }
        Self(all)
    }

    /// What Slurm says of a run; none if it does not have it.
    pub fn of(&self, run: &str) -> Option<&str> {
        self.0.get(run).map(String::as_str)
    }
}

/// The tasks of each submission by its id.
fn submissions(experiment: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let folder = experiment.join(FOLDER);
    if !folder.is_dir() {
        return Ok(BTreeMap::new());
    }
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(&folder).with_context(|| shown(&folder))? {
        let path = entry.with_context(|| shown(&folder))?.path();
        // Another process may be about to submit it.
        let Ok(tasks) = fs::read_to_string(path.join(TASKS)) else { continue };
        let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        all.insert(id, tasks.lines().map(String::from).collect());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_jobs_count_and_by_their_names() {
        let tasks = vec!["run=a".to_string(), "run=b,run=c".into(), "run=d".into()];
        let submissions = BTreeMap::from([("1f".to_string(), tasks)]);
        let said = "ganomaly-1f|0|7_0|RUNNING|None\nganomaly-1f|1|7_1|PENDING|Resources\n\
                    ganomaly-1f|2|7_2|COMPLETING|None\nganomaly-1f|9|7_9|PENDING|x\n\
                    ganomaly-2f|2|8_2|PENDING|x\nother|2|9|RUNNING|None\nganomaly-1f-tables|N/A|9|PENDING|x\n";
        let queue = Queue::read(&submissions, said);
        assert_eq!(queue.of("a"), Some("Slurm job 7_0: running"));
        assert_eq!(queue.of("b"), Some("Slurm job 7_1: pending (Resources)"));
        assert_eq!(queue.of("c"), queue.of("b"));
        assert_eq!(queue.of("d"), None);
    }
}
