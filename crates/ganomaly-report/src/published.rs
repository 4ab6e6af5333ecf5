//! The published numbers shown beside results, each with its reliability.

use crate::text::mean;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

const PUBLISHED: &str = include_str!("../../../experiments/published/auc.toml");

/// Published results of one method.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedColumn {
    /// The method.
    pub method: String,
    /// The source of the numbers.
    pub source: String,
    /// How reliable they are: `verified`, `secondary` or `secondary-weak`, as explained in the
    /// file.
    pub standing: String,
    /// Why it is unknown which metric the numbers are; none if they are AUROCs, as far as is known.
    pub doubt: Option<String>,
    /// Class and value, in [0, 1].
    pub by_class: Vec<(String, f64)>,
}

impl PublishedColumn {
    /// A note for the method's name: its standing, and a doubt about the metric.
    pub fn caution(&self) -> String {
        match self.doubt {
            Some(_) => format!("{}; AUROC or AUPRC?", self.standing),
            None => self.standing.clone(),
        }
    }

    /// The value of a class.
    pub fn of(&self, class: &str) -> Option<f64> {
        self.by_class.iter().find(|(of, _)| of == class).map(|(_, v)| *v)
    }

    /// The average over classes; none if one has no value.
    pub fn average(&self, classes: &[impl AsRef<str>]) -> Option<f64> {
        let all: Option<Vec<f64>> = classes.iter().map(|class| self.of(class.as_ref())).collect();
        all.and_then(|all| mean(&all))
    }

    /// The method with its note, for a heading or a legend.
    pub fn heading(&self) -> String {
        format!("{} ({})", self.method, self.caution())
    }
}

/// The doubts about these columns, each once.
pub fn doubts(columns: &[PublishedColumn]) -> Vec<&str> {
    let mut doubts: Vec<&str> = columns.iter().filter_map(|c| c.doubt.as_deref()).collect();
    doubts.dedup();
    doubts
}

/// Every published column for a data set; empty if nothing was published.
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
        // Every other list of numbers is a method; sorted, so that the order is the same
        // everywhere.
        let methods: BTreeMap<&String, &toml::Value> = table
            .as_table()
            .into_iter()
            .flatten()
            .filter(|(k, v)| *k != "classes" && v.is_array())
            .collect();
        for (method, values) in methods {
            let values = values.as_array().into_iter().flatten().filter_map(|v| v.as_float());
            let measure = table.get("measure").and_then(|m| m.get(method)).and_then(|m| m.as_str());
            let doubt = match measure {
                Some("auroc") => None,
                Some("auroc-or-auprc") => Some(text("doubt")),
                other => bail!("auc.toml: {method} of {dataset}: measure {other:?} is not known"),
            };
            columns.push(PublishedColumn {
                doubt,
                method: method.clone(),
                source: text("source"),
                standing: text("standing"),
                by_class: classes.iter().cloned().zip(values).collect(),
            });
        }
    }
    // The method of this project comes first.
    columns.sort_by_key(|c| c.method != "ganomaly");
    Ok(columns)
}

/// Publications write `car` and `plane` for the data set's `automobile` and `airplane`.
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

    /// The doubt about MNIST's baselines states two averages; check that they match the file.
    #[test]
    fn the_doubtful_rows_have_the_averages_that_are_stated() {
        let columns = published("mnist").unwrap();
        let [doubt] = doubts(&columns)[..] else { panic!("one doubt is expected") };
        let mut stated = Vec::new();
        for column in columns.iter().filter(|c| c.doubt.is_some()) {
            let sum: f64 = column.by_class.iter().map(|(_, v)| v).sum();
            stated.push(format!("{:.3}", sum / column.by_class.len() as f64));
            assert_eq!(
                column.heading(),
                format!("{} (secondary-weak; AUROC or AUPRC?)", column.method)
            );
        }
        assert_eq!(stated, ["0.440", "0.496"]);
        assert!(doubt.contains(&stated.join(" and ")), "{doubt}");
        assert_eq!(doubts(&published("cifar10").unwrap()), [""; 0]);
    }
}
