//! Compares two configurations, paired over class and seed.

use crate::text::{self, p_value, shown, shown_difference, trainings};
use anyhow::{Context, Result, bail, ensure};
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::plan::{Plan, same_images};
use ganomaly_experiment::record::auroc::RunAuroc;
use ganomaly_experiment::record::{self, Metrics, auroc};
use ganomaly_experiment::registry::Registry;
use ganomaly_experiment::selection::Selection;
use ganomaly_metrics::{
    Estimate, PairedEffect, RunValue, Wilcoxon, WilcoxonMethod, estimate, paired_effect,
    wilcoxon_signed_rank,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What the test and the effect sizes over pairs leave out; shown wherever they are.
pub const NOT_INDEPENDENT: &str = "The pairs of one class are not independent of each other: its runs are tested on the same anomalies and share normal \
     images. A small p says less than it would for as many unrelated pairs.";

/// The runs of one side.
#[derive(Clone, Debug)]
pub struct Side {
    /// Its name in tables.
    pub label: String,
    runs: BTreeMap<(String, u64), SideRun>,
}

/// A finished run of a side.
#[derive(Clone, Debug)]
struct SideRun {
    folder: PathBuf,
    config: RunConfig,
    metrics: Metrics,
}

/// AUROCs of one class and seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The class.
    pub class: String,
    /// The seed.
    pub seed: u64,
    /// AUROC of the first side.
    pub a: f64,
    /// AUROC of the second side.
    pub b: f64,
}

/// A paired comparison: first side minus second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The first side.
    pub a: String,
    /// The second side.
    pub b: String,
    /// The compared values, by class and seed.
    pub pairs: Vec<Pair>,
    /// The first side's AUROC: the mean over seeds, then over classes.
    pub mean_a: Estimate,
    /// The second side's.
    pub mean_b: Estimate,
    /// The difference of each pair, and its mean with its uncertainty over test images and over
    /// trainings.
    pub difference: Estimate,
    /// The size of the differences, each pair counted once.
    pub effect: PairedEffect,
    /// Whether the differences are centred on zero, each pair counted once.
    pub wilcoxon: Wilcoxon,
    /// What the last two leave out.
    pub note: String,
}

impl Comparison {
    /// Compares at least one pair of runs of the same class and seed.
    pub(crate) fn of(a: &str, b: &str, pairs: &[(&RunAuroc, &RunAuroc)]) -> Result<Self> {
        let (left, right): (Vec<f64>, Vec<f64>) =
            pairs.iter().map(|(a, b)| (a.auroc, b.auroc)).unzip();
        let estimate_of = |values: Vec<RunValue<'_>>| estimate(&values, auroc::LEVEL);
        Ok(Self {
            a: a.to_string(),
            b: b.to_string(),
            mean_a: estimate_of(pairs.iter().map(|(a, _)| a.value()).collect())?,
            mean_b: estimate_of(pairs.iter().map(|(_, b)| b.value()).collect())?,
            difference: estimate_of(pairs.iter().map(|(a, b)| a.minus(&[b])).collect())?,
            effect: paired_effect(&left, &right)?,
            wilcoxon: wilcoxon_signed_rank(&left, &right)?,
            note: NOT_INDEPENDENT.to_string(),
            pairs: pairs
                .iter()
                .map(|(a, b)| Pair { class: a.class.clone(), seed: a.seed, a: a.auroc, b: b.auroc })
                .collect(),
        })
    }

    /// The table as Markdown.
    pub fn to_markdown(&self) -> String {
        let mut text = format!(
            "| class | seed | {} | {} | difference |\n|---|---:|---:|---:|---:|\n",
            self.a, self.b
        );
        for Pair { class, seed, a, b } in &self.pairs {
            let _ = writeln!(text, "| {class} | {seed} | {a:.3} | {b:.3} | {:+.3} |", a - b);
        }
        let _ = writeln!(
            text,
            "| mean | | {} | {} | {} |",
            shown(&self.mean_a),
            shown(&self.mean_b),
            shown_difference(&self.difference)
        );
        let _ = write!(
            text,
            "\nMeans are over {} on each side, every class the same weight. {}\n\n\
             Over the pairs: pseudo-median {:+.3}; matched-pairs rank-biserial correlation {:+.2}; Wilcoxon signed-rank test over {} pairs that \
             differ: W = {}, p = {} (two-sided, {}). {}\n",
            trainings(&self.difference),
            text::LEGEND,
            self.effect.pseudo_median,
            self.effect.rank_biserial,
            self.wilcoxon.count,
            self.wilcoxon.statistic,
            p_value(self.wilcoxon.p),
            self.method(),
            self.note
        );
        let least = self.least_p();
        if least > 0.05 {
            let _ = writeln!(
                text,
                "With {} pairs p cannot fall below {}: more classes or seeds are needed to tell.",
                self.pairs.len(),
                p_value(least)
            );
        }
        text
    }

    /// How the p value was computed.
    pub(crate) fn method(&self) -> &'static str {
        match self.wilcoxon.method {
            WilcoxonMethod::Exact => "exact",
            WilcoxonMethod::Normal => "normal approximation",
        }
    }

    /// The smallest p value possible with this number of pairs.
    pub(crate) fn least_p(&self) -> f64 {
        (2.0 * 0.5f64.powi(self.pairs.len().min(60) as i32)).min(1.0)
    }
}

impl Side {
    /// Labels the side with its folder's name, if settings chose it from both folders.
    pub fn labelled(mut self, folder: &Path) -> Self {
        self.label = label(folder, "");
        self
    }

    /// Reads the runs in a results folder that have the given settings, `KEY=VALUE` separated by
    /// commas; all runs if that is empty.
    pub fn read(folder: &Path, selection: &str, registry: &Registry) -> Result<Self> {
        let chosen = Selection::parse(selection)?;
        // Every run of this generation, whatever its plan; those of one folder used the same
        // images.
        let all = Plan::of_runs(folder, registry)?;
        let done = all.finished(folder)?;
        let configs: Vec<RunConfig> = done.iter().map(|run| run.config.clone()).collect();
        let fits =
            chosen.choose(&configs, registry).with_context(|| format!("{}", folder.display()))?;
        let chosen = done.into_iter().zip(fits).filter(|(_, fits)| *fits);
        let mut side = Self { label: label(folder, selection), runs: BTreeMap::new() };
        for (run, _) in chosen {
            let (path, config) = (folder.join(&run.name), run.config.clone());
            let key = (config.class().to_string(), config.seed());
            if let Some(other) = side.runs.get(&key) {
                bail!(
                    "{}: two runs of class {} and seed {}; they differ in {}. Choose one with KEY=VALUE",
                    side.label,
                    key.0,
                    key.1,
                    differing(&config, &other.config)?.join(", ")
                );
            }
            let metrics = record::read_metrics(&path)?;
            side.runs.insert(key, SideRun { folder: path, config, metrics });
        }
        ensure!(
            !side.runs.is_empty(),
            "{}: none of the finished runs there has all of {selection}",
            folder.display()
        );
        Ok(side)
    }

    /// The config of one of its runs.
    pub(crate) fn config(&self) -> Result<&RunConfig> {
        self.runs.values().next().map(|run| &run.config).context("one side has no runs")
    }
}

fn label(folder: &Path, selection: &str) -> String {
    if !selection.is_empty() {
        return selection.to_string();
    }
    folder.file_name().map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into())
}

/// The settings in which two configs differ.
pub(crate) fn differing(a: &RunConfig, b: &RunConfig) -> Result<Vec<String>> {
    let (a, b) = (RunConfig::table(a)?, RunConfig::table(b)?);
    let mut keys: Vec<String> = a.keys().chain(b.keys()).cloned().collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| a.get(key) != b.get(key));
    Ok(keys)
}

/// Compares two sides. Each class and seed must be present on both, and tested on the same images.
pub fn compare(a: &Side, b: &Side) -> Result<Comparison> {
    same_images(
        [a, b].into_iter().flat_map(|side| side.runs.values().map(|run| run.folder.clone())),
    )?;
    let only = |this: &Side, other: &Side| -> Vec<String> {
        let missing = this.runs.keys().filter(|key| !other.runs.contains_key(key));
        missing.map(|(class, seed)| format!("class {class} seed {seed}")).collect()
    };
    for (this, other) in [(a, b), (b, a)] {
        let missing = only(this, other);
        ensure!(
            missing.is_empty(),
            "unpaired: {} has {}, {} has not. Finish its runs, or narrow both sides down with KEY=VALUE",
            this.label,
            missing.join("; "),
            other.label
        );
    }
    let mut paired = Vec::new();
    for (key, run) in &a.runs {
        let Some(other) = b.runs.get(key) else { continue };
        if let Some(what) = other_images(&run.config, &other.config) {
            bail!(
                "class {} seed {}: {} and {} differ in {what}, so that they were not tested on the same images",
                key.0,
                key.1,
                a.label,
                b.label
            );
        }
        paired.push((run, other));
    }
    let read = |run: &SideRun| RunAuroc::read(&run.folder, &run.config, run.metrics.auroc);
    let read: Vec<(RunAuroc, RunAuroc)> =
        paired.into_par_iter().map(|(a, b)| Ok((read(a)?, read(b)?))).collect::<Result<_>>()?;
    for (one, other) in &read {
        let known = !one.resampled.is_empty() && !other.resampled.is_empty();
        ensure!(
            !known || one.tested_on == other.tested_on,
            "class {} seed {}: the scores of {} and {} are not of the same images",
            one.class,
            one.seed,
            a.label,
            b.label
        );
    }
    let pairs: Vec<(&RunAuroc, &RunAuroc)> = read.iter().map(|(a, b)| (a, b)).collect();
    Comparison::of(&a.label, &b.label, &pairs)
}

/// The setting that gives two runs of one class and seed different test images.
fn other_images(a: &RunConfig, b: &RunConfig) -> Option<&'static str> {
    if a.dataset != b.dataset {
        Some("dataset")
    } else if a.split != b.split {
        Some("split")
    } else if a.test_limit != b.test_limit {
        Some("test_limit")
    } else {
        None
    }
}
