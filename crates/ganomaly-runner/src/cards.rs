//! The part of a sweep that runs on cards: groups of runs, and groups on cards.

use crate::config::RunConfig;
use crate::jobs::Jobs;
use crate::sweep::{Ended, Work};
use crate::{lockstep, record};
use anyhow::Result;

/// A run that is not there yet: its name and config.
pub(crate) type Named<'a> = (String, &'a RunConfig);

/// Does all runs that can be claimed. Returns the most that went on at once, and what became of each.
pub(crate) fn run(
    runs: &[&Named<'_>],
    jobs: Jobs,
    work: &Work<'_>,
) -> Result<(usize, Vec<(String, Ended)>)> {
    let (mut most, mut ended) = (0, Vec::new());
    for group in alike(runs, jobs) {
        let (mut claimed, mut claims) = (Vec::new(), Vec::new());
        for run in group {
            match work.claim(&run.0)? {
                Ok(claim) => {
                    claimed.push(run);
                    claims.push(claim);
                }
                Err(why) => ended.push((run.0.clone(), why)),
            }
        }
        if claimed.is_empty() {
            continue;
        }
        most = most.max(claimed.len());
        let outcomes = in_lockstep(&claimed, work);
        for ((run, claim), outcome) in claimed.iter().zip(claims).zip(outcomes) {
            ended.push((run.0.clone(), work.end(&run.0, claim, outcome)?));
        }
    }
    Ok((most, ended))
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
fn in_lockstep(group: &[&Named<'_>], work: &Work<'_>) -> Vec<Result<()>> {
    let configs: Vec<&RunConfig> = group.iter().map(|(_, config)| *config).collect();
    let run_names: Vec<&str> = group.iter().map(|(name, _)| name.as_str()).collect();
    match lockstep::train(&configs, &run_names, work.store, work.progress, work.cancel) {
        Ok(outcomes) => outcomes
            .into_iter()
            .zip(group)
            .map(|(outcome, (name, config))| {
                record::write(&work.folder.join(name), name, config, &outcome?).map(drop)
            })
            .collect(),
        Err(e) if group.len() > 1 && lockstep::is_out_of_memory(&e) => {
            let (left, right) = group.split_at(group.len() / 2);
            let half = |group| in_lockstep(group, work);
            half(left).into_iter().chain(half(right)).collect()
        }
        Err(e) => lockstep::for_each(e, group.len()),
    }
}
