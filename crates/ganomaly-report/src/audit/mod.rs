//! The protocol audit: how much of an AUROC comes from the protocol rather than from the weights.
//!
//! Runs that kept every epoch's scores in every mode are evaluated afterwards under every
//! combination of batch-norm statistics and order ([`ScoringMode`]), choice of the epoch
//! ([`EpochRule`]) and score, each compared with the honest default.

mod files;
mod summary;

pub(crate) use files::files;
pub use files::write;

use crate::text::distinct;
use anyhow::{Context, Result, ensure};
use ganomaly_experiment::config::{
    Experiment, KeepScores, Name, RunConfig, ScoringMode, Validation,
};
use ganomaly_experiment::plan::Plan;
use ganomaly_experiment::record::auroc;
pub use ganomaly_experiment::record::protocols::{EpochRule, MODES};
use ganomaly_experiment::record::protocols::{Protocol, RunProtocols, are_recorded, protocols};
use ganomaly_experiment::{record, results};
use ganomaly_metrics::{Estimate, ResampledAurocs, RunValue, estimate};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The fraction of the training images that is held out if a config does not set it.
const VALIDATION: f64 = 0.1;

/// `audit.json`: all results of an audit. Means and gaps are AUROCs in [0, 1] and their differences
/// in [-1, 1].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// The experiment's name.
    pub experiment: String,
    /// The data set.
    pub dataset: String,
    /// `leave-one-class-out`, `official`, `one-class` or `overlapping`.
    pub split: String,
    /// What the classes are: `abnormal class` or `normal class`.
    pub class_heading: String,
    /// Epochs of each run.
    pub epochs: usize,
    /// Images in a scoring batch, for modes with batch statistics.
    pub score_batch_size: usize,
    /// Coverage of the confidence intervals.
    pub level: f64,
    /// Resamples per confidence interval.
    pub resamples: usize,
    /// The runs that are evaluated.
    pub runs: Vec<AuditRun>,
    /// One row per class and protocol, then one per protocol for the average over the classes. The
    /// first row of each class is the honest default (running, last, l2), with a gap of 0.
    pub rows: Vec<AuditRow>,
    /// The effect of the order of the test set alone, per class and then on average.
    pub order: Vec<OrderGap>,
}

/// A run that an audit evaluates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRun {
    /// Its folder's name.
    pub run: String,
    /// Its class.
    pub class: String,
    /// Its seed.
    pub seed: u64,
    /// Normal test images.
    pub test_normal: usize,
    /// Anomalous test images.
    pub test_anomalous: usize,
    /// Mean contextual error of the validation images by epoch; empty if none were held out.
    pub validation_con: Vec<f64>,
}

/// One protocol's result on one class, or on average.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    /// The class; null for the average over classes.
    pub class: Option<String>,
    /// Batch-norm statistics and order: `running`, `batch-shuffled`, `batch-sequential` or
    /// `single`.
    pub scoring: String,
    /// How the epoch was chosen.
    pub epoch: EpochRule,
    /// `l2`, `l1`, `con` or a further score.
    pub score: String,
    /// AUROC: the mean over seeds, then over classes.
    pub auroc: Estimate,
    /// AUROC minus that of the honest default, run by run, and its mean. Test images are resampled
    /// jointly for all runs and both protocols; the chosen epochs stay fixed.
    pub gap: Estimate,
    /// The chosen epoch of each run, from 1, in the order of the runs of that class; empty for the
    /// average.
    pub chosen_epochs: Vec<usize>,
}

/// AUROC in mode `batch-sequential` minus that in mode `batch-shuffled`: the same batch statistics
/// in a different order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderGap {
    /// The class; null for the average over classes.
    pub class: Option<String>,
    /// How the epoch was chosen, separately for each mode.
    pub epoch: EpochRule,
    /// `l2`, `l1` or `con`.
    pub score: String,
    /// The gap, like [`AuditRow::gap`].
    pub gap: Estimate,
}

/// The experiment with the settings that an audit needs. One that keeps every epoch's scores under
/// running statistics is evaluated unchanged, from what it recorded. Any other gets every mode,
/// every epoch's scores and validation images, and its name gets the suffix `-audit`, so that the
/// plain experiment's results stay unchanged.
pub fn prepare(mut experiment: Experiment) -> Result<Experiment> {
    let legal = |key: &&String| results::WITHIN_A_SETTING.contains(&key.as_str());
    if let Some(other) = experiment.swept.iter().find(|key| !legal(key)) {
        anyhow::bail!("{other} is swept: an audit takes a [sweep] over classes and seeds alone");
    }
    if experiment.runs.iter().all(are_recorded) {
        return Ok(experiment);
    }
    for config in &mut experiment.runs {
        config.scoring = Name(ScoringMode::Running);
        if config.modes() != MODES {
            config.also_score = MODES[1..].iter().map(|&mode| Name(mode)).collect();
        }
        config.keep_scores = Name(KeepScores::EveryEpoch);
        if config.validation == Validation::default() {
            config.validation = Validation::Fraction(VALIDATION);
        }
    }
    experiment.name += "-audit";
    Ok(experiment)
}

/// Evaluates the experiment's runs in `folder`.
pub fn audit(experiment: &Experiment, folder: &Path) -> Result<Audit> {
    let config = experiment.runs.first().context("the experiment has no runs")?;
    // One seed for all: an image has the same weight in every run that tests on it.
    let options = auroc::resampling(config);
    let plan = Plan::new(experiment)?;
    let done = plan.finished(folder)?;
    let judged: Vec<Judged> = done
        .par_iter()
        .map(|run| judge(&run.config, run.name.clone(), &folder.join(&run.name)))
        .collect::<Result<_>>()?;
    ensure!(!judged.is_empty(), "{}: none of the experiment's runs is done", folder.display());
    let protocols = protocols(config);
    let (mut rows, mut order) = (Vec::new(), Vec::new());
    let classes = distinct(judged.iter().map(|judged| &judged.run.class));
    for class in classes.into_iter().map(Some).chain([None]) {
        let runs = judged.iter().filter(|judged| class.is_none_or(|of| judged.run.class == *of));
        let runs: Vec<&Judged> = runs.collect();
        for (at, protocol) in protocols.iter().enumerate() {
            rows.push(row(class, &runs, (at, *protocol))?);
        }
        order.extend(order_gaps(class, &runs, &protocols, config)?);
    }
    Ok(Audit {
        experiment: experiment.name.clone(),
        dataset: results::dataset(folder, &done)?,
        split: config.split.0.to_string(),
        class_heading: config.class_heading().to_string(),
        epochs: config.epochs,
        score_batch_size: config.score_batch_size,
        level: options.level,
        resamples: options.resamples,
        runs: judged.into_iter().map(|j| j.run).collect(),
        rows,
        order,
    })
}

/// A run under each of its [`protocols`].
struct Judged {
    run: AuditRun,
    chosen: Vec<usize>,
    aurocs: ResampledAurocs,
}

fn judge(config: &RunConfig, name: String, folder: &Path) -> Result<Judged> {
    let RunProtocols { epochs, aurocs, validation_con } = RunProtocols::in_folder(folder, config)?;
    let metrics = record::read_metrics(folder)?;
    Ok(Judged {
        run: AuditRun {
            run: name,
            class: config.class().to_string(),
            seed: config.seed(),
            test_normal: metrics.test_normal,
            test_anomalous: metrics.test_anomalous,
            validation_con,
        },
        chosen: epochs,
        aurocs,
    })
}

impl Judged {
    fn auroc(&self, of: usize) -> RunValue<'_> {
        RunValue {
            class: &self.run.class,
            seed: self.run.seed,
            value: self.aurocs.aurocs[of],
            resampled: self.aurocs.resampled[of].clone(),
        }
    }

    /// One protocol minus another.
    fn gap(&self, of: usize, against: usize) -> RunValue<'_> {
        let (mut value, other) = (self.auroc(of), self.auroc(against));
        value.value -= other.value;
        value.resampled.iter_mut().zip(other.resampled).for_each(|(v, other)| *v -= other);
        value
    }
}

fn mean_gap(runs: &[&Judged], of: usize, against: usize) -> Result<Estimate> {
    let gaps: Vec<RunValue<'_>> = runs.iter().map(|run| run.gap(of, against)).collect();
    Ok(estimate(&gaps, auroc::LEVEL)?)
}

/// The row of a protocol for a class, or for the average over classes.
fn row(
    class: Option<&String>,
    runs: &[&Judged],
    (at, (mode, rule, kind)): (usize, Protocol),
) -> Result<AuditRow> {
    let aurocs: Vec<RunValue<'_>> = runs.iter().map(|run| run.auroc(at)).collect();
    let chosen = || runs.iter().map(|run| run.chosen[at]).collect();
    Ok(AuditRow {
        class: class.cloned(),
        scoring: mode.to_string(),
        epoch: rule,
        score: kind.to_string(),
        auroc: estimate(&aurocs, auroc::LEVEL)?,
        gap: mean_gap(runs, at, 0)?,
        chosen_epochs: class.map(|_| chosen()).unwrap_or_default(),
    })
}

fn order_gaps(
    class: Option<&String>,
    runs: &[&Judged],
    protocols: &[Protocol],
    config: &RunConfig,
) -> Result<Vec<OrderGap>> {
    let at = |mode, rule, kind| protocols.iter().position(|p| *p == (mode, rule, kind));
    let mut gaps = Vec::new();
    for &kind in config.names.scores {
        for rule in EpochRule::ALL {
            let sequential = at(ScoringMode::BatchSequential, rule, kind);
            let shuffled = at(ScoringMode::BatchShuffled, rule, kind);
            let Some((of, against)) = sequential.zip(shuffled) else { continue };
            gaps.push(OrderGap {
                class: class.cloned(),
                epoch: rule,
                score: kind.to_string(),
                gap: mean_gap(runs, of, against)?,
            });
        }
    }
    Ok(gaps)
}
