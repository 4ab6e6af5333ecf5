//! The progress of every experiment in a results folder.

use super::status::Status;
use anyhow::Result;
use ganomaly_experiment::config::Experiment;
use ganomaly_experiment::files::names_in;
use ganomaly_experiment::numerics::OtherGeneration;
use ganomaly_experiment::plan::Plan;
use ganomaly_experiment::registry::Registry;
use std::path::Path;

/// Every experiment in `results` that has a plan, runs or claims. Without a plan of its own, an
/// experiment gets that of its file in `experiments`, else one made from the runs that are there.
/// Each comes with notes for the reader.
pub fn all(
    results: &Path,
    experiments: &Path,
    registry: &Registry,
) -> Result<Vec<(Status, Vec<String>)>> {
    let mut all = Vec::new();
    for name in names_in(results)? {
        let folder = results.join(&name);
        if name.starts_with('.') || !folder.is_dir() {
            continue;
        }
        let file = experiments.join(format!("{name}.toml"));
        let written = if file.is_file() { Some(of_file(&file, registry)) } else { None };
        let mut notes = Vec::new();
        let read = match Plan::read(&folder, registry) {
            Err(e) if e.is::<OtherGeneration>() => {
                let plan = Plan { name, swept: Vec::new(), runs: Vec::new() };
                all.push((Status::read(plan, &folder)?, vec![format!("{:#}", e.root_cause())]));
                continue;
            }
            read => read?,
        };
        let plan = match (read, written) {
            (Some(plan), Some(Ok(now))) => {
                let new = now.runs.iter().filter(|n| plan.runs.iter().all(|r| r.name != n.name));
                let new = new.count();
                if new > 0 {
                    notes.push(format!(
                        "this is the plan of the last sweep; {} as it stands makes {new} runs that are not in it",
                        file.display()
                    ));
                }
                plan
            }
            (Some(plan), _) => plan,
            (None, Some(Ok(now))) => now,
            (None, written) => {
                if let Some(Err(e)) = written {
                    notes.push(format!("{e:#}"));
                }
                match Plan::of_runs(&folder, registry) {
                    Ok(plan) => {
                        notes.push("there is no plan; these are the runs that are there".into());
                        plan
                    }
                    Err(e) if e.is::<OtherGeneration>() => {
                        notes.push(format!("{e:#}"));
                        Plan { name, swept: Vec::new(), runs: Vec::new() }
                    }
                    // Only tables, or nothing from a sweep.
                    Err(_) => continue,
                }
            }
        };
        all.push((Status::read(plan, &folder)?, notes));
    }
    Ok(all)
}

/// The plan of an experiment's file.
fn of_file(file: &Path, registry: &Registry) -> Result<Plan> {
    Plan::new(&Experiment::read(file, &[], None, registry)?)
}
