//! The part of a sweep that runs on GPUs: runs in groups that train in lockstep, on one or several
//! GPUs.

use super::fastest::fastest;
use super::work::{Options, RunEnd, SweepContext};
use crate::checkpoint::Checkpoints;
use crate::interrupt::Cancel;
use crate::sweep::jobs::Jobs;
use crate::train::{self, Member};
use anyhow::{Result, anyhow};
use ganomaly_experiment::config::{DeviceName, RunConfig};
use ganomaly_experiment::record::{self, Metrics};
use rayon::prelude::*;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// A run that is still missing: its name and config.
pub(crate) type Named<'a> = (String, &'a RunConfig);

/// Runs that train in lockstep.
type Group<'a, 'b> = Vec<&'a Named<'b>>;

/// Does all runs that can be claimed. Returns the largest number of runs at once on one GPU, and
/// what became of each run.
pub(crate) fn run(
    runs: &[&Named<'_>],
    options: &Options,
    work: &SweepContext<'_>,
) -> Result<(usize, Vec<(String, RunEnd)>)> {
    let (mut most, mut ended) = (0, Vec::new());
    for alike in alike(runs) {
        let devices = devices(alike[0].1, &options.devices);
        let at_once = at_once(options.jobs, &alike, &devices, work.cancel)?;
        most = most.max(at_once);
        let groups = Mutex::new(VecDeque::from(groups(alike, at_once)));
        let next = || groups.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let one_gpu = |device| {
            let mut ended = Vec::new();
            while let Some(group) = next() {
                ended.extend(one_group(&group, device, work));
            }
            ended
        };
        let of_gpus: Vec<_> = std::thread::scope(|scope| {
            let started: Vec<_> =
                devices.iter().map(|&device| scope.spawn(move || one_gpu(device))).collect();
            started.into_iter().map(|gpu| gpu.join()).collect()
        });
        for of_gpu in of_gpus {
            ended.extend(of_gpu.map_err(|_| anyhow!("a GPU's thread ended without a word"))?);
        }
    }
    Ok((most, ended))
}

/// The GPUs for runs like this one: those of the sweep, or the one in its config.
fn devices(config: &RunConfig, gpus: &[usize]) -> Vec<DeviceName> {
    match config.device.0 {
        DeviceName::Cuda(_) if !gpus.is_empty() => {
            gpus.iter().map(|&gpu| DeviceName::Cuda(gpu)).collect()
        }
        own => vec![own],
    }
}

/// Groups of runs that may train in lockstep with each other.
fn alike<'a, 'b>(runs: &[&'a Named<'b>]) -> Vec<Group<'a, 'b>> {
    let mut all: Vec<Group<'_, '_>> = Vec::new();
    for &run in runs {
        match all.iter_mut().find(|alike| train::alike(alike[0].1, run.1)) {
            Some(alike) => alike.push(run),
            None => all.push(vec![run]),
        }
    }
    all
}

/// How many of these runs a GPU should train at once.
fn at_once(
    jobs: Jobs,
    runs: &[&Named<'_>],
    devices: &[DeviceName],
    cancel: &Cancel,
) -> Result<usize> {
    let most = runs.len().div_ceil(devices.len());
    match (jobs, devices.first()) {
        (Jobs::Count(n), _) => Ok(n.min(most)),
        // The twin is no faster with many runs, and measuring takes as long as training.
        (Jobs::Auto, None | Some(DeviceName::Twin)) => Ok(most),
        (Jobs::Auto, Some(&device)) => match fastest(runs[0].1, most, device, cancel) {
            // Not even one fits: each run reports that itself, and the other runs of the sweep
            // continue.
            Err(e) if train::is_too_large(&e) => Ok(1),
            measured => measured,
        },
    }
}

/// Groups of at most `at_once` runs, of nearly equal size.
fn groups<'a, 'b>(runs: Group<'a, 'b>, at_once: usize) -> Vec<Group<'a, 'b>> {
    let groups = runs.len().div_ceil(at_once.max(1)).max(1);
    runs.chunks(runs.len().div_ceil(groups).max(1)).map(<[_]>::to_vec).collect()
}

/// Does the runs of a group that can be claimed.
fn one_group(
    group: &[&Named<'_>],
    device: DeviceName,
    work: &SweepContext<'_>,
) -> Vec<(String, RunEnd)> {
    let (mut claimed, mut claims, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    // As on the CPU: a problem with one run is no reason to skip the others.
    let failed = |e: anyhow::Error| RunEnd::Failed(format!("{e:#}"));
    for &run in group {
        match work.claim(&run.0) {
            Ok(Ok(claim)) => {
                let lost = claim.cancel(&Cancel::default());
                claimed.push((run, lost));
                claims.push(claim);
            }
            Ok(Err(why)) => ended.push((run.0.clone(), why)),
            Err(e) => ended.push((run.0.clone(), failed(e))),
        }
    }
    if !claimed.is_empty() {
        let outcomes = in_lockstep(&claimed, device, work);
        for (((run, _), claim), outcome) in claimed.iter().zip(claims).zip(outcomes) {
            let end = work.end(&run.0, claim, outcome).unwrap_or_else(failed);
            ended.push((run.0.clone(), end));
        }
    }
    ended
}

/// A run that this process has claimed, and a flag that is set when the claim is lost.
type Claimed<'a, 'b> = (&'a Named<'b>, Cancel);

/// Takes a group from configs to folders; a group that does not fit on a GPU is halved.
fn in_lockstep(
    group: &[Claimed<'_, '_>],
    device: DeviceName,
    work: &SweepContext<'_>,
) -> Vec<Result<Metrics>> {
    let checkpoints = group.iter().map(|((name, config), _)| work.checkpoints(name, config));
    let checkpoints: Vec<Checkpoints> = match checkpoints.collect::<Result<_>>() {
        Ok(checkpoints) => checkpoints,
        Err(e) => return train::for_each(e, group.len()),
    };
    let members: Vec<Member<'_>> = group
        .iter()
        .zip(&checkpoints)
        .map(|(((name, config), lost), checkpoints)| Member { config, name, checkpoints, lost })
        .collect();
    match train::train_group(&members, device, work.store, work.progress, work.cancel) {
        // Confidence intervals and plots of many runs take longer than an epoch.
        Ok(outcomes) => outcomes
            .into_par_iter()
            .zip(group)
            .map(|(outcome, ((name, config), _))| {
                record::write(&work.folder.join(name), config, &outcome?)
            })
            .collect(),
        Err(e) if group.len() > 1 && train::is_too_large(&e) => {
            let (left, right) = group.split_at(group.len() / 2);
            let half = |group: &[Claimed<'_, '_>]| in_lockstep(group, device, work);
            half(left).into_iter().chain(half(right)).collect()
        }
        Err(e) => train::for_each(e, group.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ganomaly_experiment::config::Experiment;
    use ganomaly_experiment::registry::Registry;

    fn experiment(settings: &[&str]) -> Experiment {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.toml");
        std::fs::write(&path, "dataset = \"synthetic\"\ndevice = \"twin\"\nepochs = 1\n").unwrap();
        let set: Vec<String> = settings.iter().map(ToString::to_string).collect();
        Experiment::read(&path, &set, None, &Registry::builtin()).unwrap()
    }

    #[test]
    fn groups_are_alike_and_all_but_equally_large() {
        let set = ["abnormal_class=[0,1,2,3]", "seed=[0,1]", "w_con=[10,50]", "isize=16"];
        let experiment = experiment(&set);
        let named: Vec<Named<'_>> =
            experiment.runs.iter().map(|c| (c.run_name().unwrap(), c)).collect();
        let all = alike(&named.iter().collect::<Vec<_>>());
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8]);
        for (at_once, sizes) in
            [(8, vec![8]), (100, vec![8]), (5, vec![4, 4]), (3, vec![3, 3, 2]), (1, vec![1; 8])]
        {
            let groups = groups(all[0].clone(), at_once);
            assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
        }
    }

    #[test]
    fn cards_share_runs_evenly() {
        let experiment = experiment(&["abnormal_class=[0,1,2,3,4]", "seed=0", "isize=16"]);
        let named: Vec<Named<'_>> = experiment.runs.iter().map(|c| (String::new(), c)).collect();
        let runs: Vec<&Named<'_>> = named.iter().collect();
        let (two, going) = ([DeviceName::Twin; 2], Cancel::default());
        assert_eq!(at_once(Jobs::Auto, &runs, &two, &going).unwrap(), 3);
        assert_eq!(at_once(Jobs::Count(2), &runs, &two, &going).unwrap(), 2);
        assert_eq!(at_once(Jobs::Count(9), &runs, &two[..1], &going).unwrap(), 5);
        let mut config = experiment.runs[0].clone();
        assert_eq!(devices(&config, &[0, 1]), [DeviceName::Twin]);
        config.device.0 = DeviceName::Cuda(3);
        assert_eq!(devices(&config, &[]), [DeviceName::Cuda(3)]);
        assert_eq!(devices(&config, &[1, 2]), [DeviceName::Cuda(1), DeviceName::Cuda(2)]);
    }
}
