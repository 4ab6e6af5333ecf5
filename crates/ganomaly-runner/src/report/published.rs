//! The published numbers that results are shown beside, each with how far it can be trusted.

use anyhow::{Context, Result};
use std::collections::BTreeMap;

const PUBLISHED: &str = include_str!("../../../../experiments/published/auc.toml");

/// Published AUROCs of one method.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedColumn {
    /// The method.
    pub method: String,
    /// Where the numbers were read.
    pub source: String,
    /// How far they can be trusted: `verified`, `secondary` or `secondary-weak`, as explained in the file.
    pub standing: String,
    /// Class and AUROC.
    pub by_class: Vec<(String, f64)>,
}

/// Every published column for a data set; none where nothing was published.
pub fn published(dataset: &str) -> Result<Vec<PublishedColumn>> {
    let file: toml::Table = toml::from_str(PUBLISHED).context("experiments/published/auc.toml")?;
    let tables = file.get("table").and_then(|t| t.as_array()).context("auc.toml has no tables")?;
    let mut columns = Vec::new();
    for table in tables {
        let text =
            |key: &str| table.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_string();
        if text("dataset") != dataset {
            continue;
        }
        let list =
            |key: &str| table.get(key).and_then(|v| v.as_array()).cloned().unwrap_or_default();
        let classes: Vec<String> = list("classes").iter().map(class_name).collect();
        // Every other list of numbers is a method; sorted, so that the order is the same everywhere.
        let methods: BTreeMap<&String, &toml::Value> = table
            .as_table()
            .into_iter()
            .flatten()
            .filter(|(k, v)| *k != "classes" && v.is_array())
            .collect();
        for (method, values) in methods {
            let values = values.as_array().into_iter().flatten().filter_map(|v| v.as_float());
            columns.push(PublishedColumn {
                method: method.clone(),
                source: text("source"),
                standing: text("standing"),
                by_class: classes.iter().cloned().zip(values).collect(),
            });
        }
    }
    // The method that this project is about comes first.
    columns.sort_by_key(|c| c.method != "ganomaly");
    Ok(columns)
}

/// Publications write `car` and `plane` where the data set says `automobile` and `airplane`.
fn class_name(value: &toml::Value) -> String {
    match value.as_str().unwrap_or_default() {
        "car" => "automobile".into(),
        "plane" => "airplane".into(),
        name => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_ten_classes_and_ganomaly_first() {
        for (dataset, class, value) in [("mnist", "2", 0.951), ("cifar10", "automobile", 0.631)] {
            let columns = published(dataset).unwrap();
            assert_eq!(columns[0].method, "ganomaly");
            assert!(columns.iter().all(|c| c.by_class.len() == 10 && !c.standing.is_empty()));
            assert!(columns[0].by_class.contains(&(class.to_string(), value)));
        }
        assert_eq!(published("synthetic").unwrap(), []);
    }
}
