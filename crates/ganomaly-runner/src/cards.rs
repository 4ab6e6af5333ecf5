//! The part of a sweep that runs on cards: groups of runs, and groups on cards.

use crate::config::RunConfig;
use crate::data::DataStore;
use crate::jobs::Jobs;
use crate::progress::{Cancel, Progress};
use crate::{lockstep, record};
use anyhow::Result;
use std::path::Path;

/// A run that is not there yet: its name and config.
pub(crate) type Named<'a> = (String, &'a RunConfig);

/// Does all runs, each into its folder in `folder`. Returns the most that went on at once, and what became of each.
pub(crate) fn run(
    runs: &[&Named<'_>],
    jobs: Jobs,
    folder: &Path,
    store: &DataStore,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> (usize, Vec<(String, Result<()>)>) {
    let (mut most, mut outcomes) = (0, Vec::new());
    for group in alike(runs, jobs) {
        most = most.max(group.len());
        let names = group.iter().map(|(name, _)| name.clone());
        outcomes.extend(names.zip(in_lockstep(&group, folder, store, progress, cancel)));
    }
    (most, outcomes)
}

/// Runs for cards in groups that train in lockstep, each no larger than the number of jobs.
fn alike<'a, 'b>(runs: &[&'a Named<'b>], jobs: Jobs) -> Vec<Vec<&'a Named<'b>>> {
    let most = match jobs {
        Jobs::Auto => usize::MAX,
        Jobs::Count(n) => n,
    };
    let mut groups: Vec<Vec<&Named<'_>>> = Vec::new();
    for &run in runs {
        let fits = |g: &&mut Vec<&Named<'_>>| g.len() < most && lockstep::alike(g[0].1, run.1);
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    groups
}

/// A group from configs to folders; one that does not fit a card is halved.
fn in_lockstep(
    group: &[&Named<'_>],
    folder: &Path,
    store: &DataStore,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Vec<Result<()>> {
    let configs: Vec<&RunConfig> = group.iter().map(|(_, config)| *config).collect();
    let run_names: Vec<&str> = group.iter().map(|(name, _)| name.as_str()).collect();
    match lockstep::train(&configs, &run_names, store, progress, cancel) {
        Ok(outcomes) => outcomes
            .into_iter()
            .zip(group)
            .map(|(outcome, (name, config))| {
                record::write(&folder.join(name), name, config, &outcome?).map(drop)
            })
            .collect(),
        Err(e) if group.len() > 1 && lockstep::is_out_of_memory(&e) => {
            let (left, right) = group.split_at(group.len() / 2);
            let half = |group| in_lockstep(group, folder, store, progress, cancel);
            half(left).into_iter().chain(half(right)).collect()
        }
        Err(e) => lockstep::for_each(e, group.len()),
    }
}
