//! Reads a config: the settings that every run has, and those of its detector, in one flat file.

use super::RunConfig;
use super::values::in_words;
use crate::registry::{DetectorKind, Registry};
use anyhow::{Result, anyhow, bail};
use serde::Deserialize;
use std::sync::LazyLock;
use toml::Table;
use toml::de::DeTable;

/// The names of the settings that every run has, as its type knows them.
static COMMON: LazyLock<Vec<String>> = LazyLock::new(|| {
    let none = Table::from_iter([(String::from("?"), toml::Value::Boolean(true))]);
    let error = RunConfig::deserialize(none).err();
    // The error reads: unknown field `?`, expected one of `a`, `b`, …
    let text = error.map(|e| e.message().to_string()).unwrap_or_default();
    text.split('`').skip(3).step_by(2).map(String::from).collect()
});

/// The parts of an experiment's file that are no settings of a run.
pub const PARTS: [&str; 3] = ["sweep", "variant", "design"];

/// The names of all settings of runs with this detector.
pub fn settings(kind: &DetectorKind) -> Vec<String> {
    let common = COMMON.iter().filter(|name| !PARTS.contains(&name.as_str()));
    common.chain(kind.defaults.keys()).cloned().collect()
}

/// Reads an experiment's text; errors name the line.
pub fn from_text(text: &str, registry: &Registry) -> Result<RunConfig> {
    let document = DeTable::parse(text).map_err(|e| anyhow!("{}", in_words(e)))?;
    let document = document.get_ref();
    let named = document.iter().find(|(key, _)| key.get_ref() == "detector");
    let named = named.and_then(|(_, value)| value.get_ref().as_str().map(String::from));
    let name = named.unwrap_or_else(|| RunConfig::default().detector);
    let kind = registry.find_detector(&name)?;
    // Each part is read from a text in which the other is blank, so that errors have their lines.
    let mut common = text.as_bytes().to_vec();
    let mut own = common.clone();
    blank(&mut own);
    for (key, value) in document {
        let (start, end) = (key.span().start, value.span().end.max(key.span().end));
        if kind.defaults.contains_key(key.get_ref().as_ref()) {
            own[start..end].copy_from_slice(&text.as_bytes()[start..end]);
            blank(&mut common[start..end]);
        } else if !COMMON.iter().any(|name| name == key.get_ref()) {
            let line = 1 + text[..start].matches('\n').count();
            bail!("line {line}: {}", unknown(key.get_ref(), kind, registry));
        }
    }
    let (common, own) = (String::from_utf8(common)?, String::from_utf8(own)?);
    let config: RunConfig = toml::from_str(&common).map_err(|e| anyhow!("{}", in_words(e)))?;
    let settings = (kind.parse)(&own).map_err(|e| anyhow!("{}", in_words(e)))?;
    Ok(RunConfig { settings, ..config })
}

/// Reads a table of settings.
pub fn from_table(table: Table, registry: &Registry) -> Result<RunConfig> {
    let name = table.get("detector").and_then(toml::Value::as_str).map(String::from);
    let kind = registry.find_detector(&name.unwrap_or_else(|| RunConfig::default().detector))?;
    let (mut common, mut own) = (Table::new(), Table::new());
    for (key, value) in table {
        if kind.defaults.contains_key(&key) {
            own.insert(key, value);
        } else if COMMON.contains(&key) {
            common.insert(key, value);
        } else {
            bail!(unknown(&key, kind, registry));
        }
    }
    let plain = |e: toml::de::Error| anyhow!("{}", in_words(e.message()));
    let config: RunConfig = common.try_into().map_err(plain)?;
    Ok(RunConfig { settings: (kind.complete)(own).map_err(plain)?, ..config })
}

fn blank(text: &mut [u8]) {
    text.iter_mut().filter(|byte| !b"\r\n".contains(byte)).for_each(|byte| *byte = b' ');
}

fn unknown(key: &str, kind: &DetectorKind, registry: &Registry) -> String {
    let other = registry.detectors().iter().find(|other| other.defaults.contains_key(key));
    match other {
        Some(other) => format!(
            "{key}: a setting of the detector {:?}, and this one is {:?}",
            other.name, kind.name
        ),
        None => format!("unknown setting {key:?}; the settings are {}", settings(kind).join(", ")),
    }
}
