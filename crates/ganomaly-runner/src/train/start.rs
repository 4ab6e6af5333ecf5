//! Where runs start: at the beginning, or at a checkpoint.

use crate::checkpoint::{Checkpoint, Checkpoints, RunState};
use crate::interrupt::Cancel;
use crate::machine;
use crate::progress::Progress;
use anyhow::{Result, ensure};
use ganomaly_experiment::config::{KeepScores, RunConfig, ScoringMode};
use ganomaly_experiment::record::machine::Part;
use ganomaly_experiment::registry::Registry;
use ganomaly_experiment::run_data::RunData;
use ganomaly_model::ganomaly::{Ganomaly, GanomalyConfig};
use ganomaly_model::{Input, Scores};

/// A run to be trained, alone or in a group.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    /// Its config.
    pub config: &'a RunConfig,
    /// Its name.
    pub name: &'a str,
    /// Its checkpoints.
    pub checkpoints: &'a Checkpoints,
    /// Set when another process has taken the run over: the group continues without it.
    pub lost: &'a Cancel,
}

/// An epoch, and the steps taken in it.
pub(super) type Place = (usize, usize);

/// A fresh network of a run.
pub(crate) fn model(config: &RunConfig, channels: usize, seed: u64) -> Result<Ganomaly> {
    let settings: GanomalyConfig = config.settings.clone().try_into()?;
    let input = Input { channels, side: config.isize };
    Ok(Ganomaly::new(settings.of(input), seed)?)
}

/// Where each run starts. If one of them has made less progress, the others go back to their
/// checkpoint of the same place if they have one, so that all stay together.
pub(super) fn starts(
    members: &[Member<'_>],
    data: &[RunData],
    whole_epochs: bool,
    registry: &Registry,
    progress: &dyn Progress,
) -> Result<Vec<Checkpoint>> {
    let mut all: Vec<Vec<Checkpoint>> = Vec::new();
    for (member, data) in members.iter().zip(data) {
        let Member { config, name, checkpoints, .. } = *member;
        let say = |line: &str| progress.say(&format!("{name}: {line}"));
        let steps = data.split.train.len() / config.batch_size;
        let mut usable = Vec::new();
        for checkpoint in checkpoints.load(data, &say)? {
            let state = &checkpoint.state;
            let whole = || {
                fits(state, config, steps, data)?;
                let between = state.step == 0 || state.step == steps;
                ensure!(between || !whole_epochs, "it is in the middle of an epoch");
                let mut detector = config.new_detector(registry)?;
                Ok(detector.load_training_state(&checkpoint.detector)?)
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
    let newest = |usable: &Vec<Checkpoint>| usable.first().map(progress_of);
    let behind = all.iter().map(newest).min().flatten();
    let has = |usable: &Vec<Checkpoint>, at| usable.iter().any(|c| progress_of(c) == at);
    let shared = behind.filter(|&behind| all.iter().all(|usable| has(usable, behind)));
    let start = |usable: Vec<Checkpoint>| {
        let mut there = usable.into_iter().filter(|c| shared.is_none_or(|s| progress_of(c) == s));
        let beginning = || Checkpoint { state: RunState::new(), ..Checkpoint::default() };
        there.next().unwrap_or_else(beginning)
    };
    Ok(all.into_iter().map(start).collect())
}

/// How far a checkpoint is: runs of one group have different numbers of steps, so only whether any
/// are taken counts for them.
fn progress_of(checkpoint: &Checkpoint) -> (usize, bool) {
    (checkpoint.state.epoch, checkpoint.state.step > 0)
}

/// The same for runs that are grouped by it.
pub(super) fn place(checkpoint: &Checkpoint) -> Place {
    (checkpoint.state.epoch, usize::from(checkpoint.state.step > 0))
}

/// Describes where a run resumes.
pub(super) fn resumed(state: &RunState, config: &RunConfig) -> String {
    if state.epoch > config.epochs {
        return "resumed after the last epoch".into();
    }
    format!("resumed at epoch {}, step {}", state.epoch, state.step)
}

/// Adopts a resumed run, and reports it if something else computed it before.
pub(super) fn moved(state: &mut RunState, config: &RunConfig) -> Option<String> {
    let before = state.enter(config)?;
    let here = Part::on(&machine::here(config), 0, 0);
    let rounding = match before.kernels == here.kernels {
        true => "",
        false => ". These kernels round differently: no single machine gives its bytes again",
    };
    Some(format!("computed by {before} until here, by {here} from here on{rounding}"))
}

/// Rejects a state that no run of this config can be in.
fn fits(state: &RunState, config: &RunConfig, steps: usize, data: &RunData) -> Result<()> {
    let RunState { epoch, step, .. } = *state;
    let (modes, tests) = (config.modes(), data.split.test.len());
    let judged = if tests > 0 { config.judged().len() } else { 0 };
    let kept = state.epoch_scores.iter().chain(Some(&state.scores).filter(|_| epoch > 1));
    let mut whole = kept.map(|scores| {
        let of = scores.iter().map(|(mode, _)| *mode);
        let full = |(mode, s): &(ScoringMode, Scores)| {
            let mut names = s.columns().iter().map(|(name, _)| name.as_str());
            let named =
                if tests == 0 { names.next().is_none() } else { names.eq(config.kinds(*mode)) };
            named && s.columns().iter().all(|(_, c)| c.len() == tests)
        };
        of.eq(modes.iter().copied()) && scores.iter().all(full)
    });
    let scored = state.scored.iter().all(|(mode, scores)| {
        let (names, columns) = (&config.names.scores, scores.columns());
        modes.contains(mode)
            && columns.iter().map(|(name, _)| name.as_str()).eq(names.iter().copied())
            && columns.iter().all(|(_, c)| c.len() == scores.images() && c.len() <= tests)
    });
    let every = if config.keep_scores.0 == KeepScores::EveryEpoch { epoch - 1 } else { 0 };
    ensure!(
        epoch <= config.epochs + 1
            && step <= steps
            && (epoch <= config.epochs || step == 0)
            && (step == 0) == state.losses.is_empty()
            && state.epoch_scores.len() == every
            && state.epochs.iter().all(|e| e.auroc.len() == judged)
            && whole.all(|whole| whole)
            && (state.scored.is_empty() || step == steps && scored),
        "no run of this config is ever at epoch {epoch}, step {step} with such scores"
    );
    Ok(())
}
