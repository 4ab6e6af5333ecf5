//! Compares weightings of the three losses: the effect of each of w_adv, w_con and w_enc.

mod files;

pub(crate) use files::files;
pub use files::write;

use crate::compare::Comparison;
use crate::text::distinct;
use anyhow::{Context, Error, Result, ensure};
use ganomaly_experiment::config::design::{Design, DesignKind, Preset, Shown, WEIGHTS, Weights};
use ganomaly_experiment::config::{Experiment, RunConfig};
use ganomaly_experiment::plan::Plan;
use ganomaly_experiment::record::auroc::RunAuroc;
use ganomaly_experiment::record::scores::TestScores;
use ganomaly_experiment::record::{self, auroc};
use ganomaly_experiment::results;
use ganomaly_metrics::{Coefficient, Estimate, RunValue, estimate, linear_regression};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The design name of a plain sweep over weights.
const SWEEP: &str = "sweep";

/// `weightings.json`: all results of a comparison of weightings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weightings {
    /// The experiment's name.
    pub experiment: String,
    /// The data set.
    pub dataset: String,
    /// The protocol in one line.
    pub protocol: String,
    /// What the classes are: `abnormal class` or `normal class`.
    pub class_heading: String,
    /// The classes.
    pub classes: Vec<String>,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// `grid`, `random` or `latin-hypercube`; `sweep` if the weights are from a plain sweep.
    pub design: String,
    /// Training steps per run.
    pub steps: usize,
    /// The weightings, in the order of the design: the paper's first.
    pub settings: Vec<Weighting>,
    /// How AUROC depends on the logarithms of the weights; none if it cannot be estimated, as with
    /// fewer than five weightings above zero.
    pub trend: Option<Trend>,
    /// For a grid: each level of each weight against the average of that weight's levels. Empty
    /// otherwise.
    pub levels: Vec<Level>,
}

/// A weighting's results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weighting {
    /// `paper`, `no-adversarial`, `no-encoder`, `contextual-only`; null for any other.
    pub preset: Option<String>,
    /// w_adv, w_con, w_enc.
    pub weights: Weights,
    /// Whether it is a point of the design itself. The paper's weighting and the presets may be
    /// added to these.
    pub of_design: bool,
    /// AUROC: the mean over seeds, then over classes.
    pub auroc: Estimate,
    /// AUROC of each class over seeds.
    pub by_class: Vec<ClassMean>,
    /// This weighting (first side) against the paper's, paired over class × seed; null for the
    /// paper's own, or if no pair is finished.
    pub against_paper: Option<Comparison>,
}

/// A weighting's AUROC on one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassMean {
    /// The class.
    pub class: String,
    /// The mean over seeds.
    pub auroc: Estimate,
}

/// A linear regression of the weightings' mean AUROC on the decimal logarithms of their weights,
/// all jointly. Weightings with a weight of 0 have no logarithm and are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// For w_adv, w_con, w_enc: the increase in AUROC for ten times the weight, the others fixed,
    /// with its confidence interval by Student's t.
    pub slopes: [Coefficient; 3],
    /// Fraction of the variance between weightings that the trend explains.
    pub r_squared: f64,
    /// Weightings minus four coefficients.
    pub degrees_of_freedom: usize,
    /// Number of weightings.
    pub settings: usize,
}

/// A level of a grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// `w_adv`, `w_con` or `w_enc`.
    pub weight: String,
    /// Its value.
    pub value: f64,
    /// Number of blocks: the other two weights, a class and a seed, with every level of this
    /// weight.
    pub blocks: usize,
    /// AUROC at this level minus the mean over the weight's levels, block by block, and its mean.
    pub effect: Estimate,
}

/// The relevant data of a finished run.
struct Run {
    weights: Weights,
    auroc: RunAuroc,
}

/// Reads the experiment's finished runs in `folder` and compares their weightings.
pub fn weightings(experiment: &Experiment, folder: &Path) -> Result<Weightings> {
    let design = experiment.design.as_ref();
    let points = design.map(Design::points);
    let of_design = |w: Weights| points.as_ref().is_none_or(|points| points.contains(&w));
    compare(experiment, folder, design.map(|d| d.kind.0), &of_design)
}

/// Repeats the comparison from the runs in `folder`, for when only the stored one contains the
/// design.
pub(crate) fn again(
    stored: &Weightings,
    experiment: &Experiment,
    folder: &Path,
) -> Result<Weightings> {
    let kind = (stored.design != SWEEP).then(|| stored.design.parse().map_err(Error::msg));
    let of_design = |w: Weights| stored.settings.iter().any(|s| s.weights == w && s.of_design);
    compare(experiment, folder, kind.transpose()?, &of_design)
}

fn compare(
    experiment: &Experiment,
    folder: &Path,
    kind: Option<DesignKind>,
    of_design: &dyn Fn(Weights) -> bool,
) -> Result<Weightings> {
    check(experiment)?;
    let config = experiment.runs.first().context("the experiment has no runs")?;
    let plan = Plan::new(experiment)?;
    let done = plan.finished(folder)?;
    let read = |run: &&ganomaly_experiment::plan::Run| {
        let (config, run) = (&run.config, folder.join(&run.name));
        let metrics = record::read_metrics(&run)?;
        let steps = metrics.train_pictures / config.batch_size * config.epochs;
        let weights = weights_of(config).context("a run without loss weights")?;
        // The output must not depend on whether the scores were available.
        let auroc = RunAuroc::of(config, metrics.auroc, TestScores::read(&run, config)?)?;
        Ok((steps, Run { weights, auroc }))
    };
    let read: Vec<(usize, Run)> = done.par_iter().map(read).collect::<Result<_>>()?;
    let steps = read.last().map_or(0, |(steps, _)| *steps);
    let runs: Vec<Run> = read.into_iter().map(|(_, run)| run).collect();
    ensure!(!runs.is_empty(), "{}: none of the experiment's runs is done", folder.display());
    let classes = distinct(runs.iter().map(|r| r.auroc.class.clone()));
    let all = distinct(runs.iter().map(|r| r.weights));
    let setting = |&weights: &Weights| setting(weights, of_design(weights), &runs, &classes);
    let settings = all.iter().map(setting).collect::<Result<Vec<_>>>()?;
    let points: Vec<&Run> = runs.iter().filter(|run| of_design(run.weights)).collect();
    let levels = match kind {
        Some(DesignKind::Random | DesignKind::LatinHypercube) => Vec::new(),
        _ => levels(&points)?,
    };
    Ok(Weightings {
        experiment: experiment.name.clone(),
        dataset: results::dataset(folder, &done)?,
        protocol: config.protocol(),
        class_heading: config.class_heading().to_string(),
        seeds: distinct(runs.iter().map(|r| r.auroc.seed)),
        classes,
        design: kind.map_or(SWEEP.into(), |k| k.to_string()),
        steps,
        trend: trend(&settings),
        settings,
        levels,
    })
}

/// Refuses experiments that vary more than weights, or lack the paper's; before any run begins.
pub fn check(experiment: &Experiment) -> Result<()> {
    let legal = |key: &str| results::WITHIN_A_SETTING.contains(&key) || WEIGHTS.contains(&key);
    if let Some(other) = experiment.swept.iter().find(|key| !legal(key)) {
        anyhow::bail!(
            "{other} is swept: a comparison of weightings takes a [sweep] over classes and seeds alone"
        );
    }
    if let Some(config) = experiment.runs.iter().find(|config| weights_of(config).is_none()) {
        anyhow::bail!(
            "detector = {:?}: it has no {} to compare",
            config.detector,
            WEIGHTS.join(", ")
        );
    }
    let paper = Preset::Paper.weights();
    let there = experiment.runs.iter().any(|config| weights_of(config) == Some(paper));
    ensure!(
        there,
        "the paper's weighting {} is not among the runs; a [design] brings it along",
        Shown(paper)
    );
    Ok(())
}

/// The run's loss weights; none if its detector has no such settings.
fn weights_of(config: &RunConfig) -> Option<Weights> {
    let [adv, con, enc] = WEIGHTS.map(|weight| config.number(weight));
    Some([adv?, con?, enc?])
}

fn mean<'a>(runs: impl Iterator<Item = &'a RunAuroc>) -> Result<Estimate> {
    Ok(estimate(&runs.map(RunAuroc::value).collect::<Vec<_>>(), auroc::LEVEL)?)
}

fn setting(
    weights: Weights,
    of_design: bool,
    runs: &[Run],
    classes: &[String],
) -> Result<Weighting> {
    let of = |weights: Weights| runs.iter().filter(move |r| r.weights == weights).map(|r| &r.auroc);
    let mut by_class = Vec::new();
    for class in classes {
        let own: Vec<&RunAuroc> = of(weights).filter(|r| r.class == *class).collect();
        if !own.is_empty() {
            by_class.push(ClassMean { class: class.clone(), auroc: mean(own.into_iter())? });
        }
    }
    let paper = Preset::Paper.weights();
    let pairs: Vec<(&RunAuroc, &RunAuroc)> = of(weights)
        .filter_map(|own| {
            let same = |r: &&RunAuroc| r.class == own.class && r.seed == own.seed;
            Some((own, of(paper).find(same)?))
        })
        .collect();
    let compared = (weights != paper && !pairs.is_empty())
        .then(|| Comparison::of(&Shown(weights).to_string(), &Shown(paper).to_string(), &pairs));
    Ok(Weighting {
        preset: Preset::of(weights).map(|preset| preset.to_string()),
        weights,
        of_design,
        auroc: mean(of(weights))?,
        by_class,
        against_paper: compared.transpose()?,
    })
}

/// The trend over the weightings above zero, if they vary enough.
fn trend(settings: &[Weighting]) -> Option<Trend> {
    let positive: Vec<&Weighting> =
        settings.iter().filter(|s| s.weights.iter().all(|&w| w > 0.0)).collect();
    let rows: Vec<Vec<f64>> =
        positive.iter().map(|s| s.weights.iter().map(|w| w.log10()).collect()).collect();
    let means: Vec<f64> = positive.iter().map(|s| s.auroc.value).collect();
    // Too few weightings, or a weight that does not vary independently: no trend.
    let fit = linear_regression(&rows, &means, auroc::LEVEL).ok()?;
    let [_, adv, con, enc] = fit.coefficients.try_into().ok()?;
    Some(Trend {
        slopes: [adv, con, enc],
        r_squared: fit.r_squared,
        degrees_of_freedom: fit.degrees_of_freedom,
        settings: positive.len(),
    })
}

/// Each level of each weight against the mean of the levels, over all blocks (the other weights,
/// class, seed) in which every level was run. `points` are the design's own: a level outside the
/// grid would leave no block complete.
fn levels(points: &[&Run]) -> Result<Vec<Level>> {
    let mut all = Vec::new();
    for (which, weight) in WEIGHTS.iter().enumerate() {
        let mut values = distinct(points.iter().map(|r| r.weights[which]));
        values.sort_by(f64::total_cmp);
        let block = |r: &Run| {
            let mut others = r.weights;
            others[which] = 0.0;
            (others, r.auroc.class.clone(), r.auroc.seed)
        };
        let find = |key: &(Weights, String, u64), value: f64| {
            let same = |r: &&&Run| r.weights[which] == value && block(r) == *key;
            points.iter().find(same).map(|r| &r.auroc)
        };
        let whole: Vec<Vec<&RunAuroc>> = distinct(points.iter().map(|r| block(r)))
            .iter()
            .filter_map(|key| values.iter().map(|&value| find(key, value)).collect())
            .collect();
        if values.len() < 2 || whole.is_empty() {
            continue;
        }
        for (at, &value) in values.iter().enumerate() {
            let effects: Vec<RunValue<'_>> = whole.iter().map(|b| b[at].minus(b)).collect();
            all.push(Level {
                weight: (*weight).to_string(),
                value,
                blocks: whole.len(),
                effect: estimate(&effects, auroc::LEVEL)?,
            });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The presets add a level 0 that occurs in only one setting; it is not a level of the grid.
    #[test]
    fn main_effects_use_every_block_of_the_grid() {
        let text =
            "kind = \"grid\"\nw_adv = [0.5, 1, 2]\nw_con = [10, 50, 250]\nw_enc = [0.5, 1, 2]\n";
        let design: Design = toml::from_str(text).unwrap();
        let all = design.weightings().unwrap();
        assert_eq!(all.len(), 27 + 3, "the paper's weighting is a point of the grid");
        let run = |&weights: &Weights| {
            let auroc = 0.5 + 0.01 * weights[0] + 0.02 * weights[2];
            Run {
                weights,
                auroc: RunAuroc {
                    class: "0".into(),
                    seed: 0,
                    auroc,
                    tested_on: Default::default(),
                    resampled: vec![auroc; 2],
                },
            }
        };
        let runs: Vec<Run> = all.iter().map(run).collect();
        let points = design.points();
        let own: Vec<&Run> = runs.iter().filter(|run| points.contains(&run.weights)).collect();
        let found = levels(&own).unwrap();
        assert_eq!(found.len(), 9);
        for level in &found {
            assert_eq!(level.blocks, 9, "{level:?}");
            let expected = match level.weight.as_str() {
                "w_adv" => 0.01 * (level.value - 3.5 / 3.0),
                "w_enc" => 0.02 * (level.value - 3.5 / 3.0),
                _ => 0.0,
            };
            assert!((level.effect.value - expected).abs() < 1e-12, "{level:?}");
        }
        // With the presets among the points, only one block has every level of w_adv.
        let with_presets = levels(&runs.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(with_presets[0].blocks, 1);
    }
}
