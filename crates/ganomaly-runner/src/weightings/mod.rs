//! Weightings of the three losses compared: what each of w_adv, w_con and w_enc is worth.

mod tables;

pub(crate) use tables::files;
pub use tables::write;

use crate::compare::{Comparison, Pair};
use crate::config::design::{DesignKind, Preset, Shown, WEIGHTS, Weights};
use crate::config::{Experiment, RunConfig};
use crate::plan::Plan;
use crate::record;
use anyhow::{Context, Result, ensure};
use ganomaly_metrics::{
    BootstrapOptions, Coefficient, MeanStd, PairedEffect, linear_regression, mean_std,
    paired_effect,
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Share of resamples, or of Student's distribution, that an interval holds.
const LEVEL: f64 = 0.95;

/// `weightings.json`: everything that a comparison of weightings came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weightings {
    /// The experiment's name.
    pub experiment: String,
    /// The data set.
    pub dataset: String,
    /// The protocol in a line.
    pub protocol: String,
    /// What the classes are: `abnormal class` or `normal class`.
    pub class_heading: String,
    /// The classes.
    pub classes: Vec<String>,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// `grid`, `random` or `latin-hypercube`; `sweep` where a plain sweep gave the weights.
    pub design: String,
    /// Training steps of a run.
    pub steps: usize,
    /// The weightings, in the order of the design: the paper's first.
    pub settings: Vec<Setting>,
    /// How AUROC goes with the logarithms of the weights; none where that cannot be told, as with fewer than five weightings above zero.
    pub trend: Option<Trend>,
    /// Of a grid: each level of each weight against the average of that weight's levels. Empty otherwise.
    pub levels: Vec<Level>,
}

/// A weighting's results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// `paper`, `no-adversarial`, `no-encoder`, `contextual-only`; null for any other.
    pub preset: Option<String>,
    /// w_adv, w_con, w_enc.
    pub weights: Weights,
    /// AUROC over class × seed.
    pub auroc: MeanStd,
    /// AUROC of each class over seeds.
    pub by_class: Vec<ClassMean>,
    /// This weighting (first side) against the paper's, paired over class × seed; null for the paper's own, or where no pair is finished.
    pub against_paper: Option<Comparison>,
}

/// A weighting's AUROC on one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassMean {
    /// The class.
    pub class: String,
    /// Over seeds.
    pub auroc: MeanStd,
}

/// A linear regression of the weightings' mean AUROC on the decimal logarithms of their weights, all together. Weightings with a weight of 0 have
/// no logarithm and are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// For w_adv, w_con, w_enc: by how much AUROC rises with ten times the weight, the others held, with its interval by Student's t.
    pub slopes: [Coefficient; 3],
    /// Share of the variance between weightings that the trend explains.
    pub r_squared: f64,
    /// Weightings minus four coefficients.
    pub degrees_of_freedom: usize,
    /// How many weightings.
    pub settings: usize,
}

/// A level of a grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// `w_adv`, `w_con` or `w_enc`.
    pub weight: String,
    /// Its value.
    pub value: f64,
    /// AUROC at this level minus the mean over the weight's levels, paired over the other two weights, class and seed.
    pub effect: PairedEffect,
}

/// A finished run, as far as it matters here.
struct Run {
    weights: Weights,
    class: String,
    seed: u64,
    auroc: f64,
}

/// Reads the experiment's finished runs in `folder` and compares their weightings.
pub fn weightings(experiment: &Experiment, folder: &Path) -> Result<Weightings> {
    check(experiment)?;
    let config = experiment.runs.first().context("the experiment has no runs")?;
    let weights_of = |c: &RunConfig| [c.w_adv, c.w_con, c.w_enc];
    let (mut runs, mut steps) = (Vec::new(), 0);
    for run in Plan::new(experiment)?.finished(folder)? {
        let (config, metrics) = (&run.config, record::read_metrics(&folder.join(&run.name))?);
        steps = metrics.train_pictures / config.batch_size * config.epochs;
        runs.push(Run {
            weights: weights_of(config),
            class: config.class().to_string(),
            seed: config.seed(),
            auroc: metrics.auroc,
        });
    }
    ensure!(!runs.is_empty(), "{}: none of the experiment's runs is there", folder.display());
    let classes = distinct(runs.iter().map(|r| r.class.clone()));
    let all = distinct(runs.iter().map(|r| r.weights));
    let settings = all.iter().map(|&w| setting(w, &runs, &classes)).collect::<Result<Vec<_>>>()?;
    let kind = experiment.design.as_ref().map(|d| d.kind.0);
    let levels = match kind {
        Some(DesignKind::Random | DesignKind::LatinHypercube) => Vec::new(),
        _ => levels(&runs)?,
    };
    Ok(Weightings {
        experiment: experiment.name.clone(),
        dataset: config.dataset.clone(),
        protocol: config.protocol(),
        class_heading: config.class_heading().to_string(),
        seeds: distinct(runs.iter().map(|r| r.seed)),
        classes,
        design: kind.map_or("sweep".into(), |k| k.to_string()),
        steps,
        trend: trend(&settings),
        settings,
        levels,
    })
}

/// The same comparison made again from the runs in `folder`, where the design is known by name alone.
pub(crate) fn again(
    stored: &Weightings,
    experiment: &Experiment,
    folder: &Path,
) -> Result<Weightings> {
    let mut all = weightings(experiment, folder)?;
    all.design.clone_from(&stored.design);
    if [DesignKind::Random, DesignKind::LatinHypercube].map(|d| d.to_string()).contains(&all.design)
    {
        all.levels.clear();
    }
    Ok(all)
}

/// Refuses experiments that are about more than weights, or lack the paper's; before any run begins.
pub fn check(experiment: &Experiment) -> Result<()> {
    let legal = ["abnormal_class", "normal_class", "seed"];
    let other = experiment
        .swept
        .iter()
        .find(|key| !legal.contains(&key.as_str()) && !WEIGHTS.contains(&key.as_str()));
    if let Some(other) = other {
        anyhow::bail!(
            "{other} is swept: a comparison of weightings takes a [sweep] over classes and seeds alone"
        );
    }
    let paper = Preset::Paper.weights();
    let there = experiment.runs.iter().any(|c| [c.w_adv, c.w_con, c.w_enc] == paper);
    ensure!(
        there,
        "the paper's weighting {} is not among the runs; a [design] brings it along",
        Shown(paper)
    );
    Ok(())
}

fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

fn setting(weights: Weights, runs: &[Run], classes: &[String]) -> Result<Setting> {
    let own: Vec<&Run> = runs.iter().filter(|r| r.weights == weights).collect();
    let aurocs: Vec<f64> = own.iter().map(|r| r.auroc).collect();
    let mut by_class = Vec::new();
    for class in classes {
        let of: Vec<f64> = own.iter().filter(|r| r.class == *class).map(|r| r.auroc).collect();
        if !of.is_empty() {
            by_class.push(ClassMean { class: class.clone(), auroc: mean_std(&of)? });
        }
    }
    let paper = Preset::Paper.weights();
    let against = |own: &Run| {
        let same = |r: &&Run| r.weights == paper && r.class == own.class && r.seed == own.seed;
        let other = runs.iter().find(same)?;
        Some(Pair { class: own.class.clone(), seed: own.seed, a: own.auroc, b: other.auroc })
    };
    let pairs: Vec<Pair> = own.iter().filter_map(|r| against(r)).collect();
    let compared = (weights != paper && !pairs.is_empty())
        .then(|| Comparison::of(&Shown(weights).to_string(), &Shown(paper).to_string(), pairs));
    Ok(Setting {
        preset: Preset::of(weights).map(|preset| preset.to_string()),
        weights,
        auroc: mean_std(&aurocs)?,
        by_class,
        against_paper: compared.transpose()?,
    })
}

/// The trend over the weightings above zero, where they vary enough to tell.
fn trend(settings: &[Setting]) -> Option<Trend> {
    let positive: Vec<&Setting> =
        settings.iter().filter(|s| s.weights.iter().all(|&w| w > 0.0)).collect();
    let rows: Vec<Vec<f64>> =
        positive.iter().map(|s| s.weights.iter().map(|w| w.log10()).collect()).collect();
    let aurocs: Vec<f64> = positive.iter().map(|s| s.auroc.mean).collect();
    // Too few weightings, or a weight that does not vary by itself: no trend.
    let fit = linear_regression(&rows, &aurocs, LEVEL).ok()?;
    let [_, adv, con, enc] = fit.coefficients.try_into().ok()?;
    Some(Trend {
        slopes: [adv, con, enc],
        r_squared: fit.r_squared,
        degrees_of_freedom: fit.degrees_of_freedom,
        settings: positive.len(),
    })
}

/// Each level of each weight against the mean of the levels, over all blocks (the other weights, class, seed) in which every level was run.
fn levels(runs: &[Run]) -> Result<Vec<Level>> {
    let mut all = Vec::new();
    for (which, weight) in WEIGHTS.iter().enumerate() {
        let mut values = distinct(runs.iter().map(|r| r.weights[which]));
        values.sort_by(f64::total_cmp);
        let block = |r: &Run| {
            let mut others = r.weights;
            others[which] = 0.0;
            (others, r.class.clone(), r.seed)
        };
        let find = |key: &(Weights, String, u64), value: f64| {
            let same = |r: &&Run| r.weights[which] == value && block(r) == *key;
            runs.iter().find(same).map(|r| r.auroc)
        };
        let blocks = distinct(runs.iter().map(block));
        let whole: Vec<Vec<f64>> = blocks
            .iter()
            .filter_map(|key| values.iter().map(|&value| find(key, value)).collect())
            .collect();
        if values.len() < 2 || whole.is_empty() {
            continue;
        }
        let means: Vec<f64> =
            whole.iter().map(|b| b.iter().sum::<f64>() / b.len() as f64).collect();
        for (at, &value) in values.iter().enumerate() {
            let own: Vec<f64> = whole.iter().map(|b| b[at]).collect();
            let options = BootstrapOptions {
                resamples: crate::compare::RESAMPLES,
                level: LEVEL,
                ..Default::default()
            };
            let effect = paired_effect(&own, &means, options)?;
            all.push(Level { weight: (*weight).to_string(), value, effect });
        }
    }
    Ok(all)
}
