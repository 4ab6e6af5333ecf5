//! An experiment's file: settings, and the runs that its `[sweep]` generates.

use super::design::{Design, MAX_RUNS, WEIGHTS};
use super::file::{PARTS, from_table, from_text};
use super::values::in_words;
use super::{RunConfig, parse_value};
use crate::registry::Registry;
use crate::sha256::sha256;
use anyhow::{Context, Result, anyhow, bail, ensure};
use ganomaly_data::{read_text, shown};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Maximum size of an experiment's file, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Maximum length of an experiment's name, in bytes.
const MAX_NAME: usize = 100;
/// Settings whose value is a list: a list for one of them is its value, not a sweep.
const LISTS: [&str; 2] = ["also_score", "further_scores"];
/// An experiment: a name and its runs, each resolved.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// The file's name without extension; the results' folder.
    pub name: String,
    /// One for each combination of the swept values; the last key's values change fastest.
    pub runs: Vec<RunConfig>,
    /// The swept settings.
    pub swept: Vec<String>,
    /// The design of the weightings, if there is one: its weights are among the swept settings, and
    /// change slowest.
    pub design: Option<Design>,
}

impl Experiment {
    /// Reads an experiment and expands its sweep; `sets` are `key=value` replacements, with values
    /// written as in TOML. A list replaces a setting by a sweep over it. If they change the runs,
    /// the experiment is a different one and gets a different name: the given one, otherwise one
    /// derived from `sets`.
    pub fn read(
        path: &Path,
        sets: &[String],
        name: Option<&str>,
        registry: &Registry,
    ) -> Result<Self> {
        let text = read_text(path, MAX_BYTES).context("cannot read the experiment")?;
        let stem = path.file_stem().and_then(|s| s.to_str());
        let stem = stem.with_context(|| format!("{}: its name is not UTF-8", shown(path)))?;
        let read = || -> Result<Self> {
            if let Some(name) = name {
                check_name(name).context("--name")?;
                return Self::parse(name, &text, sets, registry);
            }
            check_name(stem).context("the file's name, which is the experiment's")?;
            let mut changed = Self::parse(stem, &text, sets, registry)?;
            if !sets.is_empty() {
                let plain = Self::parse(stem, &text, &[], registry);
                let same =
                    |plain: &Self| plain.runs == changed.runs && plain.swept == changed.swept;
                if !plain.as_ref().is_ok_and(same) {
                    changed.name = changed_name(stem, sets);
                }
            }
            Ok(changed)
        };
        read().with_context(|| shown(path))
    }

    /// Like [`Self::read`], from the file's text.
    pub fn parse(name: &str, text: &str, sets: &[String], registry: &Registry) -> Result<Self> {
        // Parsed once as a type, for errors with line and key, and once as a table, to be expanded.
        let mut typed = from_text(text, registry)?;
        let mut base: toml::Table = toml::from_str(text).map_err(|e| anyhow!("{e}"))?;
        base.remove("sweep");
        base.remove("variant");
        let mut sweep: BTreeMap<String, Vec<toml::Value>> = BTreeMap::new();
        for (key, values) in typed.sweep {
            let line = text[..values.span().start.min(text.len())].lines().count().max(1);
            let values = values.into_inner();
            check_swept(&key, &values, &base, registry)
                .with_context(|| format!("line {line}: in [sweep], key {key:?}"))?;
            sweep.insert(key, values);
        }
        for set in sets {
            apply_set(set, &mut base, &mut sweep, registry)
                .with_context(|| format!("--set {set:?}"))?;
            let key = set.split('=').next().unwrap_or_default().trim();
            typed.variant.iter_mut().for_each(|variant| drop(variant.remove(key)));
        }
        let mut swept: Vec<String> = sweep.keys().cloned().collect();
        let design = base.remove("design").map(toml::Value::try_into).transpose();
        let design: Option<Design> =
            design.map_err(|e| anyhow!("[design]: {}", in_words(e.message())))?;
        let mut tables = vary(base, &typed.variant, &mut swept, registry)?;
        if let Some(design) = &design {
            ensure!(typed.variant.is_empty(), "[design]: not together with [[variant]]");
            tables = weigh(&tables[0], design, &swept).context("[design]")?;
            swept.extend(WEIGHTS.map(String::from));
        }
        let each = sweep.values().fold(1usize, |n, values| n.saturating_mul(values.len()));
        let count = each.saturating_mul(tables.len());
        ensure!(
            count <= MAX_RUNS,
            "its sweep makes {count} runs; {MAX_RUNS} at most. Split it into several experiments"
        );
        let of = |table| (0..each).map(move |index| (index, table));
        let runs = tables.iter().flat_map(of);
        let runs = runs
            .map(|(index, table)| resolve(combination(index, table.clone(), &sweep), registry))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { name: name.to_string(), runs, swept, design })
    }
}

/// Checks that a name can be a folder's: visible, and below the results folder.
fn check_name(name: &str) -> Result<()> {
    ensure!(
        !name.is_empty() && name.len() <= MAX_NAME,
        "{name:?}: a name has 1 to {MAX_NAME} bytes"
    );
    ensure!(
        !name.starts_with(['.', '-', ' ']),
        "{name:?}: a name cannot begin with a dot, a hyphen or a space"
    );
    if let Some(c) = name.chars().find(|c| c.is_control() || ['/', '\\'].contains(c)) {
        bail!("{name:?}: a name cannot have {c:?}");
    }
    Ok(())
}

/// The name of an experiment that `--set` changed: `mnist--epochs=3,seed=0`. Characters unsuitable
/// for a file name are replaced; in that case, or if the name is long, a hash keeps such names
/// distinct.
fn changed_name(stem: &str, sets: &[String]) -> String {
    let mut by_key: BTreeMap<&str, String> = BTreeMap::new();
    for set in sets {
        let (key, value) = set.split_once('=').unwrap_or((set, ""));
        by_key.insert(key.trim(), value.replace([' ', '"', '\''], ""));
    }
    let whole: Vec<String> = by_key.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let whole = whole.join(",");
    let plain = |c: char| if c.is_alphanumeric() || "-_.,=+".contains(c) { c } else { '_' };
    let mut name: String = format!("{stem}--").chars().chain(whole.chars().map(plain)).collect();
    let listed = whole.replace(['[', ']'], "_");
    if name.len() > MAX_NAME || !name.ends_with(&listed) {
        while name.len() > MAX_NAME - 9 {
            name.pop();
        }
        name = format!("{name}-{}", &sha256(whole.as_bytes())[..8]);
    }
    name
}

/// Checks that the setting accepts every value.
fn check_swept(
    key: &str,
    values: &[toml::Value],
    base: &toml::Table,
    registry: &Registry,
) -> Result<()> {
    ensure!(!values.is_empty(), "the list is empty");
    ensure!(
        key != "dataset" || values.len() == 1,
        "an experiment is about one data set; write a file for each"
    );
    ensure!(!PARTS.contains(&key), "{key}: it can be neither swept nor set");
    for value in values {
        let mut table = base.clone();
        table.insert(key.to_string(), value.clone());
        from_table(table, registry).with_context(|| value.to_string())?;
    }
    Ok(())
}

fn apply_set(
    set: &str,
    base: &mut toml::Table,
    sweep: &mut BTreeMap<String, Vec<toml::Value>>,
    registry: &Registry,
) -> Result<()> {
    let (key, value) = set.split_once('=').context("expected key=value")?;
    let (key, value) = (key.trim(), parse_value(value)?);
    sweep.remove(key);
    match value {
        toml::Value::Array(values) if !is_list(key, registry) => {
            check_swept(key, &values, base, registry)?;
            base.remove(key);
            sweep.insert(key.to_string(), values);
        }
        value => {
            check_swept(key, std::slice::from_ref(&value), base, registry)?;
            base.insert(key.to_string(), value);
        }
    }
    Ok(())
}

/// Whether a setting's value is a list, which is then not a sweep.
fn is_list(key: &str, registry: &Registry) -> bool {
    let own = registry.detectors().iter().filter_map(|kind| kind.defaults.get(key));
    LISTS.contains(&key) || own.into_iter().any(toml::Value::is_array)
}

/// The settings combined with each variant, or alone if there is none. The settings that tell
/// variants apart count as swept; not those that follow from them, such as a detector's epochs.
fn vary(
    base: toml::Table,
    variants: &[toml::Table],
    swept: &mut Vec<String>,
    registry: &Registry,
) -> Result<Vec<toml::Table>> {
    let mut tables = Vec::new();
    for (at, variant) in variants.iter().enumerate() {
        let mut table = base.clone();
        for (key, value) in variant {
            let problem = match key.as_str() {
                "dataset" => Some("an experiment is about one data set; write a file for each"),
                key if PARTS.contains(&key) => Some("no setting of a run"),
                key if swept.iter().any(|s| s == key) => Some("it is swept as well"),
                _ => None,
            };
            if let Some(problem) = problem {
                bail!("[[variant]] {}: {key}: {problem}", at + 1);
            }
            table.insert(key.clone(), value.clone());
        }
        from_table(table.clone(), registry).with_context(|| format!("[[variant]] {}", at + 1))?;
        tables.push(table);
    }
    let keys: BTreeSet<&String> = variants.iter().flat_map(toml::Table::keys).collect();
    let mut telling: Vec<&String> = keys.into_iter().collect();
    telling.sort_by_key(|key| *key != "detector");
    let values = |of: &toml::Table, keys: &[&String]| -> Vec<Option<toml::Value>> {
        keys.iter().map(|key| of.get(*key).cloned()).collect()
    };
    // A detector that differs is always named.
    let named =
        |key: &str| key == "detector" && tables.iter().any(|t| t.get(key) != tables[0].get(key));
    for key in telling.clone().into_iter().filter(|key| !named(key)) {
        let others: Vec<&String> = telling.iter().copied().filter(|other| *other != key).collect();
        let alike = |at: usize| {
            (0..at).any(|b| values(&tables[at], &others) == values(&tables[b], &others))
        };
        if !(0..tables.len()).any(alike) {
            telling = others;
        }
    }
    swept.extend(telling.into_iter().cloned());
    Ok(if tables.is_empty() { vec![base] } else { tables })
}

/// The settings combined with each of a design's weightings.
fn weigh(base: &toml::Table, design: &Design, swept: &[String]) -> Result<Vec<toml::Table>> {
    for key in WEIGHTS {
        let twice = base.contains_key(key) || swept.iter().any(|s| s == key);
        ensure!(!twice, "{key} is set elsewhere as well; the design alone may set it");
    }
    let with = |weights: super::design::Weights| {
        let mut table = base.clone();
        for (key, weight) in WEIGHTS.iter().zip(weights) {
            table.insert((*key).to_string(), weight.into());
        }
        table
    };
    Ok(design.weightings()?.into_iter().map(with).collect())
}

/// Combination `index` of the swept values, the last key's changing fastest.
fn combination(
    index: usize,
    mut table: toml::Table,
    sweep: &BTreeMap<String, Vec<toml::Value>>,
) -> toml::Table {
    let mut rest = index;
    for (key, values) in sweep.iter().rev() {
        table.insert(key.clone(), values[rest % values.len()].clone());
        rest /= values.len();
    }
    table
}

fn resolve(table: toml::Table, registry: &Registry) -> Result<RunConfig> {
    from_table(table, registry)?.check(registry)
}
