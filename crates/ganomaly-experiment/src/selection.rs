//! Chooses runs by their settings, `KEY=VALUE,KEY=VALUE`, or by their names, `run=NAME`.

use crate::config::{RunConfig, from_table, parse_value, settings};
use crate::registry::Registry;
use anyhow::{Context, Result, bail, ensure};
use std::str::FromStr;

/// The key that is no setting, but a run's name.
const RUN: &str = "run";

/// Settings that a run must have. A setting that is given twice may have either value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection(Vec<(String, toml::Value)>);

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|e| format!("{e:#}"))
    }
}

impl Selection {
    /// Reads `KEY=VALUE` separated by commas; empty if the text is.
    pub fn parse(text: &str) -> Result<Self> {
        let all = text.split(',').map(str::trim).filter(|s| !s.is_empty());
        let setting = |setting: &str| {
            let (key, value) = setting
                .split_once('=')
                .with_context(|| format!("{setting:?} is not a setting: write KEY=VALUE"))?;
            anyhow::Ok((key.trim().to_string(), parse_value(value.trim())?))
        };
        Ok(Self(all.map(setting).collect::<Result<_>>()?))
    }

    /// Which of the configs have all the settings. For an unknown setting, or a value that no
    /// config has, the error lists the available ones.
    pub fn choose(&self, configs: &[RunConfig], registry: &Registry) -> Result<Vec<bool>> {
        let tables = configs.iter().map(RunConfig::table).collect::<Result<Vec<_>>>()?;
        for (key, _) in self.0.iter().filter(|(key, _)| key != RUN) {
            if let Some(known) = unknown(key, configs, registry)? {
                let there = match varying(&tables) {
                    there if there.is_empty() => format!("the settings are {}", known.join(", ")),
                    there => format!("the runs differ in {there}"),
                };
                bail!("{key:?}: there is no such setting; {there}");
            }
        }
        let mut by_key: Vec<(&String, Vec<bool>)> = Vec::new();
        for (key, value) in &self.0 {
            let mut fits = Vec::new();
            if key == RUN {
                for config in configs {
                    fits.push(value.as_str() == Some(config.run_name()?.as_str()));
                }
            }
            for (config, table) in configs.iter().zip(&tables).filter(|_| key != RUN) {
                let fit = has(config, table, (key, value), registry).with_context(|| {
                    format!("{key} = {value}: not a value of this setting; {}", there(&tables, key))
                });
                fits.push(fit?);
            }
            if !fits.contains(&true) {
                ensure!(key != RUN, "no run is called {value}");
                bail!(
                    "none of the {} runs has {key} = {value}; {}",
                    configs.len(),
                    there(&tables, key)
                );
            }
            match by_key.iter_mut().find(|(there, _)| *there == key) {
                Some((_, either)) => either.iter_mut().zip(fits).for_each(|(e, fits)| *e |= fits),
                None => by_key.push((key, fits)),
            }
        }
        let mut chosen = vec![true; configs.len()];
        for (_, fits) in by_key {
            chosen.iter_mut().zip(fits).for_each(|(chosen, fits)| *chosen &= fits);
        }
        Ok(chosen)
    }
}

/// Whether setting this value would leave the run unchanged.
fn has(
    config: &RunConfig,
    table: &toml::Table,
    (key, value): (&str, &toml::Value),
    registry: &Registry,
) -> Result<bool> {
    let mut table = table.clone();
    table.insert(key.to_string(), value.clone());
    Ok(from_table(table, registry)?.resolved(registry)? == *config)
}

/// The names of all settings, if this is not one of them.
fn unknown(key: &str, configs: &[RunConfig], registry: &Registry) -> Result<Option<Vec<String>>> {
    let mut known: Vec<String> = Vec::new();
    for config in configs {
        let names = settings(registry.find_detector(&config.detector)?);
        known.extend(names.into_iter().filter(|name| !known.contains(name)).collect::<Vec<_>>());
    }
    Ok((!known.iter().any(|name| name == key)).then_some(known))
}

/// The values of a setting, numbers by size.
fn values(tables: &[toml::Table], key: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for table in tables {
        let value = table.get(key).map_or_else(|| "unset".into(), ToString::to_string);
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all.sort_by(|a, b| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(b),
    });
    all
}

fn there(tables: &[toml::Table], key: &str) -> String {
    format!("the runs have {}", values(tables, key).join(", "))
}

/// Every setting in which the runs differ, with its values.
fn varying(tables: &[toml::Table]) -> String {
    let mut keys: Vec<&String> = tables.iter().flat_map(toml::Table::keys).collect();
    keys.sort_unstable();
    keys.dedup();
    let each = keys.into_iter().map(|key| (key, values(tables, key)));
    let each = each.filter(|(_, values)| values.len() > 1);
    each.map(|(key, values)| format!("{key} ({})", values.join(", ")))
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Experiment;

    #[test]
    fn what_cannot_be_chosen_is_named_beside_what_there_is() {
        let text = "dataset = \"synthetic\"\n[sweep]\nabnormal_class = [1, 2]\nseed = [0, 1]\nw_con = [5, 50]\n";
        let registry = Registry::builtin();
        let configs = Experiment::parse("t", text, &[], &registry).unwrap().runs;
        let choose = |text: &str| Selection::parse(text)?.choose(&configs, &registry);
        let count = |text: &str| choose(text).unwrap().iter().filter(|&&c| c).count();
        assert_eq!(
            (count(""), count("w_con=5"), count("w_con=5.0, abnormal_class=bar,seed=1")),
            (8, 4, 1)
        );
        let names = [0, 3].map(|at: usize| format!("run={}", configs[at].run_name().unwrap()));
        assert_eq!((count(&names[0]), count(&names.join(","))), (1, 2));
        for (text, words) in [
            ("run=none", vec!["no run is called \"none\""]),
            ("sed=0", vec!["\"sed\": there is no such setting", "seed (0, 1); w_con (5.0, 50.0)"]),
            ("w_con=abc", vec!["w_con = \"abc\"", "the runs have 5.0, 50.0", "invalid type"]),
            ("w_con=7", vec!["none of the 8 runs has w_con = 7", "the runs have 5.0, 50.0"]),
            ("train_limit=7", vec!["has train_limit = 7; the runs have unset"]),
            (
                "abnormal_class=frog",
                vec!["abnormal_class", "no such class", "the runs have \"bar\", \"cross\""],
            ),
            ("w_con", vec!["\"w_con\" is not a setting: write KEY=VALUE"]),
            ("w_con=5\nx=1", vec!["a value is a single line"]),
        ] {
            let error = format!("{:#}", choose(text).unwrap_err());
            assert!(!error.contains("TOML parse error"), "{error}");
            for word in words {
                assert!(error.contains(word), "{text}: {error:?} should contain {word:?}");
            }
        }
    }
}
