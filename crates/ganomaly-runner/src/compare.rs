//! Two configurations against each other, paired over class and seed.

use crate::config::RunConfig;
use crate::record::{self, Metrics};
use anyhow::{Context, Result, anyhow, bail, ensure};
use ganomaly_metrics::{
    BootstrapOptions, Interval, MeanStd, PairedEffect, Wilcoxon, WilcoxonMethod, mean_std,
    paired_effect, wilcoxon_signed_rank,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Resamples of the interval of a mean difference.
pub const RESAMPLES: usize = 10_000;

/// The runs of one side.
#[derive(Clone, Debug)]
pub struct Side {
    /// What it is called in tables.
    pub label: String,
    runs: BTreeMap<(String, u64), (RunConfig, Metrics)>,
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
    /// What is compared, by class and seed.
    pub pairs: Vec<Pair>,
    /// The first side over all pairs.
    pub mean_a: MeanStd,
    /// The second side over all pairs.
    pub mean_b: MeanStd,
    /// The differences.
    pub effect: PairedEffect,
    /// Whether they lie around zero.
    pub wilcoxon: Wilcoxon,
}

impl Comparison {
    /// Compares at least one pair. The bootstrap is seeded with 0.
    pub fn of(a: &str, b: &str, pairs: Vec<Pair>) -> Result<Self> {
        let (left, right): (Vec<f64>, Vec<f64>) = pairs.iter().map(|p| (p.a, p.b)).unzip();
        let options = BootstrapOptions { resamples: RESAMPLES, ..Default::default() };
        Ok(Self {
            a: a.to_string(),
            b: b.to_string(),
            mean_a: mean_std(&left)?,
            mean_b: mean_std(&right)?,
            effect: paired_effect(&left, &right, options)?,
            wilcoxon: wilcoxon_signed_rank(&left, &right)?,
            pairs,
        })
    }

    /// The table for people.
    pub fn to_markdown(&self) -> String {
        let mut text = format!(
            "| class | seed | {} | {} | difference |\n|---|---:|---:|---:|---:|\n",
            self.a, self.b
        );
        for Pair { class, seed, a, b } in &self.pairs {
            let _ = writeln!(text, "| {class} | {seed} | {a:.3} | {b:.3} | {:+.3} |", a - b);
        }
        let (a, b) = (mean_and_std(&self.mean_a), mean_and_std(&self.mean_b));
        let effect = &self.effect;
        let spread = effect.std.map(|s| format!(" ± {s:.3}")).unwrap_or_default();
        let _ = writeln!(text, "| mean ± std | | {a} | {b} | {:+.3}{spread} |", effect.mean);
        let interval = match effect.interval {
            Some(Interval { low, high }) => format!(
                "[{low:+.3}, {high:+.3}], the 95 % percentile interval of {RESAMPLES} resamples of the pairs"
            ),
            None => "no interval from a single pair".into(),
        };
        let _ = write!(
            text,
            "\nMean difference in AUROC {:+.3} {interval}.\nPseudo-median {:+.3}; matched-pairs rank-biserial correlation {:+.2}.\n\
             Wilcoxon signed-rank test over {} pairs that differ: W = {}, p = {} (two-sided, {}).\n",
            effect.mean,
            effect.pseudo_median,
            effect.rank_biserial,
            self.wilcoxon.count,
            self.wilcoxon.statistic,
            p_value(self.wilcoxon.p),
            match self.wilcoxon.method {
                WilcoxonMethod::Exact => "exact",
                WilcoxonMethod::Normal => "normal approximation",
            }
        );
        let least = 2.0 * 0.5f64.powi(self.pairs.len().min(60) as i32);
        if least > 0.05 {
            let _ = writeln!(
                text,
                "With {} pairs p cannot fall below {}: more classes or seeds are needed to tell.",
                self.pairs.len(),
                p_value(least.min(1.0))
            );
        }
        text
    }
}

/// A mean with its deviation, where there is one.
pub(crate) fn mean_and_std(m: &MeanStd) -> String {
    match m.std {
        Some(std) => format!("{:.3} ± {std:.3}", m.mean),
        None => format!("{:.3}", m.mean),
    }
}

/// A p value for people.
pub(crate) fn p_value(p: f64) -> String {
    if p < 0.001 { format!("{p:.1e}") } else { format!("{p:.3}") }
}

impl Side {
    /// The side under its folder's name, where settings chose it from both folders.
    pub fn labelled(mut self, folder: &Path) -> Self {
        self.label = label(folder, "");
        self
    }

    /// The runs in a results folder that have the given settings, `KEY=VALUE` with commas between them; all where that is empty.
    pub fn read(folder: &Path, selection: &str) -> Result<Self> {
        let settings = parse(selection)?;
        let entries = fs::read_dir(folder)
            .with_context(|| format!("{}: cannot read the results folder", folder.display()))?;
        let mut paths = entries
            .map(|e| Ok(e?.path()))
            .collect::<Result<Vec<_>>>()
            .with_context(|| format!("{}: cannot read", folder.display()))?;
        paths.sort();
        let mut side = Self { label: label(folder, selection), runs: BTreeMap::new() };
        let mut seen = 0;
        for path in paths.iter().filter(|p| is_run(p)) {
            let file = path.join("config.toml");
            let text = fs::read_to_string(&file)
                .with_context(|| format!("{}: cannot read", file.display()))?;
            let config =
                RunConfig::from_toml(&text).with_context(|| format!("{}", file.display()))?;
            seen += 1;
            if !has(&config, &settings)? {
                continue;
            }
            let key = (config.class().to_string(), config.seed());
            if let Some((other, _)) = side.runs.get(&key) {
                bail!(
                    "{}: two runs of class {} and seed {}; they differ in {}. Choose one with KEY=VALUE",
                    side.label,
                    key.0,
                    key.1,
                    differing(&config, other)?.join(", ")
                );
            }
            side.runs.insert(key, (config, record::read_metrics(path)?));
        }
        ensure!(
            !side.runs.is_empty(),
            "{}: none of the {seen} finished runs there has {}",
            folder.display(),
            if selection.is_empty() { "been found" } else { selection }
        );
        Ok(side)
    }
}

/// Finished runs have their names; unfinished ones begin with a dot.
fn is_run(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && path.join("metrics.json").is_file()
}

fn label(folder: &Path, selection: &str) -> String {
    if !selection.is_empty() {
        return selection.to_string();
    }
    folder.file_name().map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into())
}

fn parse(selection: &str) -> Result<Vec<(String, toml::Value)>> {
    let all = selection.split(',').map(str::trim).filter(|s| !s.is_empty());
    all.map(|setting| {
        let (key, value) =
            setting.split_once('=').with_context(|| format!("{setting:?}: expected KEY=VALUE"))?;
        let (key, value) = (key.trim(), value.trim());
        // A word that is not a TOML value is taken as a string, as with --set.
        let parsed = toml::from_str::<toml::Table>(&format!("v = {value}"));
        let parsed = parsed.ok().and_then(|mut table| table.remove("v"));
        Ok((key.to_string(), parsed.unwrap_or_else(|| toml::Value::String(value.to_string()))))
    })
    .collect()
}

/// Whether setting these values would leave the run as it is.
fn has(config: &RunConfig, settings: &[(String, toml::Value)]) -> Result<bool> {
    let mut table: toml::Table = toml::from_str(&config.to_toml()?).map_err(|e| anyhow!("{e}"))?;
    for (key, value) in settings {
        table.insert(key.clone(), value.clone());
    }
    let changed = toml::to_string(&table).context("the settings cannot be written as TOML")?;
    Ok(RunConfig::from_toml(&changed)? == *config)
}

/// The settings in which two configs differ.
fn differing(a: &RunConfig, b: &RunConfig) -> Result<Vec<String>> {
    let table = |c| toml::Table::try_from(c).context("the config cannot be written as TOML");
    let (a, b) = (table(a)?, table(b)?);
    let mut keys: Vec<String> = a.keys().chain(b.keys()).cloned().collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| a.get(key) != b.get(key));
    Ok(keys)
}

/// Compares two sides. Each class and seed must be there on both, and tested on the same pictures.
pub fn compare(a: &Side, b: &Side) -> Result<Comparison> {
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
    let mut pairs = Vec::new();
    for (key, (config, metrics)) in &a.runs {
        let Some((other, others)) = b.runs.get(key) else { continue };
        if let Some(what) = other_pictures(config, other) {
            bail!(
                "class {} seed {}: {} and {} differ in {what}, so that they were not tested on the same pictures",
                key.0,
                key.1,
                a.label,
                b.label
            );
        }
        pairs.push(Pair { class: key.0.clone(), seed: key.1, a: metrics.auroc, b: others.auroc });
    }
    Comparison::of(&a.label, &b.label, pairs)
}

/// The setting that gives two runs of one class and seed other test pictures.
fn other_pictures(a: &RunConfig, b: &RunConfig) -> Option<&'static str> {
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
