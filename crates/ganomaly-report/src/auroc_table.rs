//! The table of an experiment: classes as rows, seeds and published numbers as columns.

use super::published::{PublishedColumn, doubts};
use crate::text::{distinct, mean, plain, table};
use anyhow::Result;
use ganomaly_experiment::record::auroc::LEVEL;
use ganomaly_metrics::{Estimate, RunValue, estimate};
use std::fmt::Write;

/// AUROC by class and seed.
#[derive(Clone, Debug)]
pub struct AurocTable {
    /// Heading.
    pub title: String,
    /// How the numbers were obtained.
    pub protocol: String,
    /// The first column's heading: "abnormal class" or "normal class".
    pub class_heading: String,
    /// One row per class.
    pub rows: Vec<ClassRow>,
    /// The seeds, in the order of each row's values.
    pub seeds: Vec<u64>,
    /// Published numbers.
    pub published: Vec<PublishedColumn>,
}

/// One class's values.
#[derive(Clone, Debug)]
pub struct ClassRow {
    /// The class.
    pub class: String,
    /// AUROC by seed; none if the run is missing.
    pub auroc: Vec<Option<f64>>,
}

/// Placeholder for a missing value.
const MISSING: &str = "–";

impl AurocTable {
    /// The table as Markdown.
    pub fn to_markdown(&self) -> String {
        let (mut header, mut rows) = self.cells();
        // Empty columns are left out for people; programs need the same columns everywhere.
        for at in (1..header.len()).rev() {
            if rows.iter().all(|row| row[at] == MISSING) {
                header.remove(at);
                rows.iter_mut().for_each(|row| drop(row.remove(at)));
            }
        }
        let mut text = format!("## {}\n\nAUROC; {}.\n\n", self.title, self.protocol);
        text += &table(1, &header, &rows);
        let _ = writeln!(text, "\n{}", self.uncertainty());
        let sources = distinct(self.published.iter().map(|c| (&c.source, &c.standing)));
        if !sources.is_empty() {
            text += "\nPublished numbers and their standing:\n";
        }
        for (source, standing) in sources {
            let _ = writeln!(text, "- {source}: {standing}");
        }
        for doubt in doubts(&self.published) {
            let _ = writeln!(text, "\nAUROC or AUPRC? {doubt}");
        }
        text
    }

    /// The table as CSV; the protocol is in a column.
    pub fn to_csv(&self) -> Result<String> {
        let (mut header, rows) = self.cells();
        header.insert(0, "experiment".into());
        header.push("protocol".into());
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(&header)?;
        for row in rows {
            let cells = row.iter().map(|c| if c == MISSING { "" } else { c });
            csv.write_record(
                std::iter::once(self.title.as_str()).chain(cells).chain([self.protocol.as_str()]),
            )?;
        }
        Ok(String::from_utf8(csv.into_inner()?)?)
    }

    fn cells(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let mut header = vec![self.class_heading.clone()];
        header.extend(self.seeds.iter().map(|s| format!("seed {s}")));
        header.extend(["mean", "std", "low", "high"].map(String::from));
        header.extend(self.published.iter().map(PublishedColumn::heading));
        let mut rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                let published = self.published.iter().map(|column| column.of(&row.class));
                self.line(row.class.clone(), &row.auroc, &[row], published)
            })
            .collect();
        if self.rows.len() > 1 {
            rows.push(self.average());
        }
        (header, rows)
    }

    /// The average over classes: of each seed if no class is missing, and of each publication over
    /// the same classes.
    fn average(&self) -> Vec<String> {
        let by_seed: Vec<Option<f64>> = (0..self.seeds.len())
            .map(|s| {
                let values: Option<Vec<f64>> = self.rows.iter().map(|r| r.auroc[s]).collect();
                values.and_then(|v| mean(&v))
            })
            .collect();
        let classes: Vec<&str> = self.rows.iter().map(|row| row.class.as_str()).collect();
        let published = self.published.iter().map(|column| column.average(&classes));
        let rows: Vec<&ClassRow> = self.rows.iter().collect();
        self.line("average".into(), &by_seed, &rows, published)
    }

    /// The rows' mean and its variation over trainings; none without a value.
    fn estimate(&self, rows: &[&ClassRow]) -> Option<Estimate> {
        let values = rows.iter().flat_map(|row| {
            let by_seed = self.seeds.iter().zip(&row.auroc);
            by_seed.filter_map(|(&seed, value)| {
                let (class, resampled) = (row.class.as_str(), Vec::new());
                Some(RunValue { class, seed, value: (*value)?, resampled })
            })
        });
        estimate(&values.collect::<Vec<_>>(), LEVEL).ok()
    }

    fn line(
        &self,
        name: String,
        by_seed: &[Option<f64>],
        rows: &[&ClassRow],
        published: impl Iterator<Item = Option<f64>>,
    ) -> Vec<String> {
        let number = |v: Option<f64>| v.map_or(MISSING.to_string(), plain);
        let found = self.estimate(rows);
        let over = found.map(|e| e.over_trainings);
        let interval = over.and_then(|over| over.interval);
        let mut cells = vec![name];
        cells.extend(by_seed.iter().map(|&v| number(v)));
        cells.push(number(found.map(|e| e.value)));
        cells.push(number(over.and_then(|over| over.std)));
        cells.extend([number(interval.map(|i| i.low)), number(interval.map(|i| i.high))]);
        cells.extend(published.map(number));
        cells
    }

    /// Explains std, low and high.
    fn uncertainty(&self) -> String {
        let rows: Vec<&ClassRow> = self.rows.iter().collect();
        let (runs, seeds) = self
            .estimate(&rows)
            .map_or((0, 0), |e| (e.over_trainings.runs, e.over_trainings.seeds));
        let trainings = match self.seeds.len() {
            1 => {
                "One seed: how much these numbers vary from one training to the next is not known."
                    .into()
            }
            _ => format!(
                "std, low and high: over trainings ({runs} runs; {seeds} of the seeds have every class). std is over seeds: of the class's AUROC, \
                 and in the average of each seed's mean over classes. low and high: the 95 % t interval of the mean over seeds, from three seeds on."
            ),
        };
        format!(
            "{trainings} How a run's AUROC would move with other test images is another question: `auroc_low` and `auroc_high` in `runs.csv`."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> AurocTable {
        let row = |class: &str, auroc: [Option<f64>; 3]| ClassRow {
            class: class.into(),
            auroc: auroc.to_vec(),
        };
        AurocTable {
            title: "mnist".into(),
            protocol: "running".into(),
            class_heading: "abnormal class".into(),
            rows: vec![
                row("0", [Some(0.5), Some(0.7), Some(0.9)]),
                row("1", [Some(0.6), None, Some(0.6)]),
            ],
            seeds: vec![0, 1, 2],
            published: vec![PublishedColumn {
                method: "m".into(),
                source: "s".into(),
                standing: "verified".into(),
                doubt: Some("Nobody knows.".into()),
                by_class: vec![("0".into(), 0.9)],
            }],
        }
    }

    #[test]
    fn markdown_shows_means_gaps_and_standing() {
        let text = table().to_markdown();
        for line in [
            "| abnormal class | seed 0 | seed 1 | seed 2 | mean | std | low | high | m (verified; AUROC or AUPRC?) |",
            "| 0 | 0.500 | 0.700 | 0.900 | 0.700 | 0.200 | 0.203 | 1.000 | 0.900 |",
            "| 1 | 0.600 | – | 0.600 | 0.600 | 0.000 | – | – | – |",
            "| average | 0.550 | – | 0.750 | 0.650 | 0.141 | – | – | – |",
            "AUROC or AUPRC? Nobody knows.",
            "- s: verified",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn csv_has_the_same_cells() {
        let text = table().to_csv().unwrap();
        assert!(text.contains("mnist,1,0.600,,0.600,0.600,0.000,,,,running\n"), "{text}");
    }
}
