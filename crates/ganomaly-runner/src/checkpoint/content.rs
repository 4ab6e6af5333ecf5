//! The content of a checkpoint, and how it is written and read.
//!
//! The file is safetensors. Its metadata has one entry, `checkpoint`, which is JSON: the checksum,
//! the format's version, what computed the run so far, the run's name and config, a checksum of the
//! data, the numerics' generation, the position, and names. All fractional numbers that a run
//! resumes from are tensors, so that none is ever rounded:
//!
//! | tensor | shape | what |
//! |---|---|---|
//! | `detector/NAME` | | [`ganomaly_model::Detector::training_state`] |
//! | `epoch_start/NAME` | | the same at the epoch's start, with `on_nan = "lower-lr"` |
//! | `losses` | f64 `[L]` | loss sums over the epoch's steps so far; on a GPU their epoch means |
//! | `train_s`, `score_s` | f64 `[1]` | training and scoring time of the epoch so far, in seconds |
//! | `scored/MODE/KIND` | f64 `[1, I]` | the epoch's scores so far, if it is trained |
//! | `epochs/losses`, `epochs/auroc` | f64 `[E, L]`, `[E, J]` | the rows of `epochs.csv` so far |
//! | `epochs/times` | f64 `[E, 3]` | training time, images per second, scoring time |
//! | `epochs/validation_con` | f64 `[E]` | absent if no images are held out |
//! | `scores/MODE/KIND` | f64 `[K, T]` | scores of every epoch, or of the last once it is scored |

use super::sealed;
use crate::machine;
use anyhow::{Context, Result, anyhow, ensure};
use candle_core::{DType, Device, Tensor};
use ganomaly_experiment::config::{RunConfig, ScoringMode};
use ganomaly_experiment::record::machine::Part;
use ganomaly_experiment::record::{Epoch, Lowered, ModeScores};
use ganomaly_model::{NamedTensors, Scores};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

/// Everything that a run resumes from.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// The run's progress and its results so far.
    pub state: RunState,
    /// The detector's training state.
    pub detector: NamedTensors,
    /// The same at the start of the epoch; empty if the config does not need it.
    pub epoch_start: NamedTensors,
}

/// A run's progress and its results so far; everything but its detector.
#[derive(Clone, Debug, Default)]
pub struct RunState {
    /// The current epoch, from 1; one more than the number of epochs when all are done.
    pub epoch: usize,
    /// Steps taken in it. If all are taken, the epoch is trained but not yet scored.
    pub step: usize,
    /// Sums of the losses over these steps; on a GPU their means over the epoch.
    pub losses: Vec<(&'static str, f64)>,
    /// Training time of the epoch so far, in seconds.
    pub train_s: f64,
    /// Once it is trained: the scores so far, in each mode's order, without further ones.
    pub scored: ModeScores,
    /// Scoring time of the epoch so far, in seconds.
    pub score_s: f64,
    /// Every epoch before the current one.
    pub epochs: Vec<Epoch>,
    /// The scores of the last of these epochs.
    pub scores: ModeScores,
    /// The scores of all of them if the config keeps them; otherwise empty.
    pub epoch_scores: Vec<ModeScores>,
    /// Each reduction of the learning rate, with its reason.
    pub lowered: Vec<Lowered>,
    /// What computed it so far.
    pub parts: Vec<Part>,
}

/// What distinguishes a run from every other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its name.
    pub run: String,
    /// Its resolved config as TOML.
    pub config: String,
    /// SHA-256 of its images, labels and split.
    pub data: String,
    /// The generation of the numerics.
    pub numerics: u32,
}

#[derive(Serialize, Deserialize)]
struct Header {
    parts: Vec<Part>,
    #[serde(flatten)]
    identity: Identity,
    epoch: usize,
    step: usize,
    losses: Vec<String>,
    modes: Vec<String>,
    /// The kinds of scores by mode.
    kinds: BTreeMap<String, Vec<String>>,
    /// The kinds of the current epoch's scores so far, by mode.
    #[serde(default)]
    scored: Vec<(String, Vec<String>)>,
    every_epoch: bool,
    lowered: Vec<Lowered>,
}

impl RunState {
    /// The state at the beginning.
    pub fn new() -> Self {
        Self { epoch: 1, ..Self::default() }
    }

    /// Records that this program on this machine computes the run from here on. Returns what did so
    /// before, if that was another program, machine or kind of kernels.
    pub(crate) fn enter(&mut self, config: &RunConfig) -> Option<&Part> {
        let here = Part::on(&machine::here(config), self.epoch, self.step);
        if self.parts.last().is_some_and(|last| last.same_place(&here)) {
            return None;
        }
        self.parts.push(here);
        self.parts.iter().rev().nth(1)
    }

    pub(super) fn position(&self) -> (usize, usize) {
        (self.epoch, self.step)
    }

    /// The name of the checkpoint's file.
    pub(super) fn file_name(&self) -> String {
        format!("epoch{}-step{}.safetensors", self.epoch, self.step)
    }

    /// Ends the epoch: keeps its row and its scores, and begins the next one.
    pub(crate) fn finish_epoch(&mut self, row: Epoch, scores: ModeScores, keep: bool) {
        self.epochs.push(row);
        if keep {
            self.epoch_scores.push(scores.clone());
        }
        self.scores = scores;
        (self.epoch, self.step, self.train_s, self.score_s) = (self.epoch + 1, 0, 0.0, 0.0);
        self.losses.clear();
        self.scored.clear();
    }

    /// The epoch's scores in a mode so far.
    pub(crate) fn scored_in(&self, mode: ScoringMode) -> Scores {
        let own = self.scored.iter().find(|(there, _)| *there == mode);
        own.map(|(_, scores)| scores.clone()).unwrap_or_default()
    }

    /// Adds the scores of further images.
    pub(crate) fn add_scored(&mut self, mode: ScoringMode, more: Scores) {
        match self.scored.iter_mut().find(|(there, _)| *there == mode) {
            Some((_, scores)) => scores.append(more),
            None => self.scored.push((mode, more)),
        }
    }
}

/// The epoch and step in the name of a checkpoint's file.
pub(super) fn position(name: &str) -> Option<(usize, usize)> {
    let inner = name.strip_prefix("epoch")?.strip_suffix(".safetensors")?;
    let (epoch, step) = inner.split_once("-step")?;
    Some((epoch.parse().ok()?, step.parse().ok()?))
}

impl Checkpoint {
    /// Refuses to store weights that are not finite.
    pub(crate) fn check_finite(&self) -> Result<()> {
        match not_finite(&self.detector)? {
            Some(what) => Err(anyhow!(what)),
            None => Ok(()),
        }
    }

    /// The bytes of a file.
    pub fn to_bytes(&self, identity: &Identity) -> Result<Vec<u8>> {
        let state = &self.state;
        let mut tensors = NamedTensors::new();
        for (prefix, of) in [("detector", &self.detector), ("epoch_start", &self.epoch_start)] {
            tensors.extend(of.iter().map(|(name, t)| (format!("{prefix}/{name}"), t.clone())));
        }
        let mut add = |name: &str, rows: usize, numbers: Vec<f64>| -> Result<()> {
            if !numbers.is_empty() {
                let shape = (rows, numbers.len() / rows.max(1));
                tensors.push((name.into(), Tensor::from_vec(numbers, shape, &Device::Cpu)?));
            }
            Ok(())
        };
        add("losses", 1, state.losses.iter().map(|(_, sum)| *sum).collect())?;
        add("train_s", 1, vec![state.train_s])?;
        add("score_s", 1, vec![state.score_s])?;
        for (mode, scores) in &state.scored {
            for (kind, column) in scores.columns() {
                add(&format!("scored/{mode}/{kind}"), 1, column.clone())?;
            }
        }
        let (epochs, e) = (&state.epochs, state.epochs.len());
        let losses = epochs.iter().flat_map(|e| e.losses.iter().map(|(_, v)| *v));
        add("epochs/losses", e, losses.collect())?;
        add("epochs/auroc", e, epochs.iter().flat_map(|e| e.auroc.clone()).collect())?;
        let times = epochs.iter().flat_map(|e| [e.train_s, e.images_per_s, e.score_s]);
        add("epochs/times", e, times.collect())?;
        let validation: Option<Vec<f64>> = epochs.iter().map(|e| e.validation_con).collect();
        add("epochs/validation_con", e, validation.unwrap_or_default())?;
        let every_epoch = !state.epoch_scores.is_empty();
        let kept = if every_epoch {
            state.epoch_scores.as_slice()
        } else {
            std::slice::from_ref(&state.scores)
        };
        for (at, (mode, _)) in state.scores.iter().enumerate() {
            for (place, (kind, _)) in state.scores[at].1.columns().iter().enumerate() {
                let all = kept.iter().flat_map(|scores| scores[at].1.columns()[place].1.to_vec());
                add(&format!("scores/{mode}/{kind}"), kept.len(), all.collect())?;
            }
        }
        let names = |(mode, scores): &(ScoringMode, Scores)| {
            let names = scores.columns().iter().map(|(name, _)| name.to_string());
            (mode.to_string(), names.collect())
        };
        let of_row = epochs.first().map(|e| &e.losses);
        let losses = of_row.filter(|_| state.losses.is_empty()).unwrap_or(&state.losses);
        let header = Header {
            parts: state.parts.clone(),
            identity: identity.clone(),
            epoch: state.epoch,
            step: state.step,
            losses: losses.iter().map(|(name, _)| name.to_string()).collect(),
            modes: state.scores.iter().map(|(mode, _)| mode.to_string()).collect(),
            kinds: state.scores.iter().map(names).collect(),
            scored: state.scored.iter().map(names).collect(),
            every_epoch,
            lowered: state.lowered.clone(),
        };
        sealed::seal(header, &tensors)
    }

    /// Reads a file back. Fails if any byte differs from what was written, or if the checkpoint is
    /// not of the given run.
    pub fn from_bytes(bytes: &[u8], of: Option<&Identity>) -> Result<Self> {
        let (header, mut tensors) = sealed::open::<Header>(bytes)?;
        if let Some(of) = of {
            let theirs = &header.identity;
            ensure!(theirs.run == of.run, "it is of the run {}", theirs.run);
            ensure!(theirs.config == of.config, "it is of another config");
            ensure!(
                theirs.numerics == of.numerics,
                "it is of generation {} of the numerics, this program of {}",
                theirs.numerics,
                of.numerics
            );
            ensure!(theirs.data == of.data, "it is of other data: images, labels or split differ");
        }
        let mut checkpoint = Self::default();
        let names: Vec<String> = tensors.keys().cloned().collect();
        for name in names {
            for (prefix, to) in [
                ("detector/", &mut checkpoint.detector),
                ("epoch_start/", &mut checkpoint.epoch_start),
            ] {
                if let Some(inner) = name.strip_prefix(prefix) {
                    to.extend(tensors.remove(&name).map(|t| (inner.to_string(), t)));
                }
            }
        }
        checkpoint.detector.sort_by(|a, b| a.0.cmp(&b.0));
        checkpoint.epoch_start.sort_by(|a, b| a.0.cmp(&b.0));
        checkpoint.state = state(&header, &tensors)?;
        Ok(checkpoint)
    }
}

/// The run's state from its header and its tensors.
fn state(header: &Header, tensors: &HashMap<String, Tensor>) -> Result<RunState> {
    let rows = |name: &str| -> Result<Vec<Vec<f64>>> {
        match tensors.get(name) {
            None => Ok(Vec::new()),
            Some(tensor) => tensor.to_vec2().with_context(|| format!("tensor {name:?}")),
        }
    };
    let epoch = header.epoch;
    ensure!(epoch > 0, "epoch 0");
    let names = header.losses.iter().map(|name| known(name)).collect::<Result<Vec<_>>>()?;
    let named = |sums: &[f64]| names.iter().copied().zip(sums.iter().copied()).collect();
    let sums = rows("losses")?.pop().unwrap_or_default();
    ensure!(sums.is_empty() || sums.len() == names.len(), "{} sums of losses", sums.len());
    let seconds = |name: &str| -> Result<Option<f64>> {
        Ok(rows(name)?.first().and_then(|row| row.first().copied()))
    };

    let (losses, auroc) = (rows("epochs/losses")?, rows("epochs/auroc")?);
    let (times, validation) = (rows("epochs/times")?, rows("epochs/validation_con")?);
    let fits = |rows: &[Vec<f64>], width: usize| {
        rows.len() == epoch - 1 && rows.iter().all(|row| row.len() == width)
    };
    ensure!(
        fits(&losses, names.len())
            // None where nothing is tested.
            && (auroc.is_empty() || fits(&auroc, auroc[0].len()))
            && fits(&times, 3)
            && (validation.is_empty() || fits(&validation, 1)),
        "the rows of its epochs do not fit epoch {epoch}"
    );
    let mut epochs = Vec::new();
    for (at, times) in times.iter().enumerate() {
        epochs.push(Epoch {
            epoch: at + 1,
            losses: named(&losses[at]),
            train_s: times[0],
            images_per_s: times[1],
            score_s: times[2],
            auroc: auroc.get(at).cloned().unwrap_or_default(),
            validation_con: validation.get(at).map(|row| row[0]),
        });
    }

    let mut kept: Vec<ModeScores> = Vec::new();
    for name in &header.modes {
        let mode: ScoringMode = name.parse().map_err(|e: String| anyhow!(e))?;
        let prefix = format!("scores/{mode}/");
        let mut columns = Vec::new();
        for kind in header.kinds.get(name).cloned().unwrap_or_default() {
            let rows = rows(&format!("{prefix}{kind}"))?;
            columns.push((kind, rows));
        }
        let count = if header.every_epoch { epoch - 1 } else { 1 };
        ensure!(columns.iter().all(|(_, c)| c.len() == count), "scores of {mode} are missing");
        kept.resize(count, ModeScores::new());
        for (at, kept) in kept.iter_mut().enumerate() {
            let columns = columns.iter().map(|(kind, rows)| (kind.to_string(), rows[at].clone()));
            kept.push((mode, Scores::new(columns)));
        }
    }
    let scores = kept.last().cloned().unwrap_or_default();
    let mut scored = ModeScores::new();
    for (name, kinds) in &header.scored {
        let column = |kind: &String| -> Result<(String, Vec<f64>)> {
            Ok((kind.clone(), rows(&format!("scored/{name}/{kind}"))?.pop().unwrap_or_default()))
        };
        let columns: Vec<_> = kinds.iter().map(column).collect::<Result<_>>()?;
        scored.push((name.parse().map_err(|e: String| anyhow!(e))?, Scores::new(columns)));
    }
    Ok(RunState {
        epoch,
        step: header.step,
        losses: if sums.is_empty() { Vec::new() } else { named(&sums) },
        train_s: seconds("train_s")?.context("no train_s")?,
        scored,
        // Not in a checkpoint of before there was one.
        score_s: seconds("score_s")?.unwrap_or_default(),
        epochs,
        scores,
        epoch_scores: if header.every_epoch { kept } else { Vec::new() },
        lowered: header.lowered.clone(),
        parts: header.parts.clone(),
    })
}

/// A name with static lifetime. Detectors name their losses in their code; a name read from a file
/// is leaked once.
fn known(name: &str) -> Result<&'static str> {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    const MOST: usize = 64;
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(there) = names.get(name) {
        return Ok(there);
    }
    ensure!(names.len() < MOST && name.len() <= MOST, "{name:?} is not a loss");
    let kept: &'static str = Box::leak(name.to_string().into_boxed_str());
    names.insert(kept);
    Ok(kept)
}

/// Names a tensor that contains something that is not a number.
pub(crate) fn not_finite(tensors: &NamedTensors) -> Result<Option<String>> {
    for (name, tensor) in tensors {
        let finite = match tensor.dtype() {
            DType::F32 => tensor.flatten_all()?.to_vec1::<f32>()?.iter().all(|v| v.is_finite()),
            DType::F64 => tensor.flatten_all()?.to_vec1::<f64>()?.iter().all(|v| v.is_finite()),
            _ => true,
        };
        if !finite {
            return Ok(Some(format!("the tensor {name} is not finite any more")));
        }
    }
    Ok(None)
}
