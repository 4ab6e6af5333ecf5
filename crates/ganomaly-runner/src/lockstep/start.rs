//! Where the runs of a group start.

use super::{Member, Start};
use crate::checkpoint::{Checkpoint, RunState};
use crate::data::RunData;
use crate::progress::Progress;
use crate::train::fits;
use anyhow::{Result, ensure};
use ganomaly_model::ganomaly::Ganomaly;
use ganomaly_model::{Detector, NamedTensors};

/// Where each run starts. If one of them is behind, the others go back to their checkpoint of the
/// same place if they have one, so that all stay together.
pub(super) fn starts(
    members: &[Member<'_>],
    data: &[RunData],
    progress: &dyn Progress,
) -> Result<Vec<Start>> {
    let mut all: Vec<Vec<Checkpoint>> = Vec::new();
    for (member, data) in members.iter().zip(data) {
        let Member { config, name, checkpoints, .. } = *member;
        let say = |line: &str| progress.say(&format!("{name}: {line}"));
        let channels = data.images.shape()[0];
        let steps = data.split.train.len() / config.batch_size;
        let mut usable = Vec::new();
        for checkpoint in checkpoints.load(data, &say)? {
            let state = &checkpoint.state;
            let whole = || {
                fits(state, config, steps, data)?;
                ensure!(state.step == 0 || state.step == steps, "it is amid an epoch");
                let mut model = Ganomaly::new(config.model(channels), config.seed())?;
                Ok(model.load_training_state(&checkpoint.detector)?)
            };
            match whole() {
                Ok(()) => usable.push(checkpoint),
                Err(e) => {
                    checkpoints.refuse(&checkpoints.path_of(state), &format!("{e:#}"), &say)?;
                }
            }
        }
        if usable.is_empty() && checkpoints.are_refused() {
            say("no checkpoint can be used: it starts again from the beginning");
        }
        all.push(usable);
    }
    let place = |c: &Checkpoint| (c.state.epoch, c.state.step > 0);
    let newest = |usable: &Vec<Checkpoint>| usable.first().map(place);
    let behind = all.iter().map(newest).min().flatten();
    let shared = behind.filter(|b| all.iter().all(|usable| usable.iter().any(|c| place(c) == *b)));
    let start = |usable: Vec<Checkpoint>| {
        let mut of_place = usable.into_iter().filter(|c| shared.is_none_or(|s| place(c) == s));
        match of_place.next() {
            Some(Checkpoint { state, detector, .. }) => (state, detector),
            None => (RunState::new(), NamedTensors::new()),
        }
    };
    Ok(all.into_iter().map(start).collect())
}
