//! `scores.csv`: the scores of each test image after the last epoch.

use super::checksums;
use super::folder::SCORES;
use super::outcome::{ModeScores, Outcome};
use crate::config::{RunConfig, ScoringMode};
use anyhow::{Context, Result, bail, ensure};
use ganomaly_model::Scores;
use std::path::Path;

/// The file's bytes.
pub fn to_csv(config: &RunConfig, outcome: &Outcome) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(header(config))?;
    let images = &outcome.data.images;
    let split = &outcome.data.split;
    for (i, (&image, anomalous)) in split.test.iter().zip(&split.test_is_anomaly).enumerate() {
        let class = images.labels()[image as usize];
        let mut row = vec![
            image.to_string(),
            images.class_names()[usize::from(class)].clone(),
            u8::from(*anomalous).to_string(),
        ];
        for (_, scores) in &outcome.scores {
            row.extend(scores.columns().iter().map(|(_, column)| column[i].to_string()));
        }
        csv.write_record(&row)?;
    }
    Ok(csv.into_inner()?)
}

fn header(config: &RunConfig) -> Vec<String> {
    let mut header = ["picture", "class", "anomalous"].map(String::from).to_vec();
    for mode in config.modes() {
        header.extend(config.kinds(mode).iter().map(|score| format!("{score}_{mode}")));
    }
    header
}

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TestScores {
    /// The images' indices in the data set.
    pub images: Vec<u32>,
    /// Which of them are anomalous.
    pub anomalous: Vec<bool>,
    /// Their scores in each mode, the one that counts first.
    pub scores: ModeScores,
}

impl TestScores {
    /// Reads the file of a finished run.
    pub fn read(folder: &Path, config: &RunConfig) -> Result<Self> {
        let bytes = checksums::read(folder, SCORES)?;
        Self::parse(config, &bytes).with_context(|| format!("{}", folder.join(SCORES).display()))
    }

    /// Reads the file's bytes, as strictly as they are written.
    pub fn parse(config: &RunConfig, bytes: &[u8]) -> Result<Self> {
        let mut reader = csv::Reader::from_reader(bytes);
        let found: Vec<String> = reader.headers()?.iter().map(String::from).collect();
        let expected = header(config);
        ensure!(
            found == expected,
            "header: expected {}, found {}",
            expected.join(","),
            found.join(",")
        );
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>()?;
        let mut anomalous = Vec::new();
        for (row, cells) in rows.iter().enumerate() {
            let class = cells.get(1).unwrap_or_default();
            let is_anomaly = match config.normal_class.as_deref() {
                Some(normal) => class != normal,
                None => class == config.class(),
            };
            let found = cells.get(2).unwrap_or_default();
            let expected = if is_anomaly { "1" } else { "0" };
            if found != expected {
                bail!(
                    "row {}, anomalous: expected {expected} of class {class}, with {:?} as the {}; found {found:?}",
                    row + 1,
                    config.class(),
                    config.class_heading()
                );
            }
            anomalous.push(is_anomaly);
        }
        let mut scores = ModeScores::new();
        let mut at = 3;
        for mode in config.modes() {
            let mut columns = Vec::new();
            for kind in config.kinds(mode) {
                columns.push((kind.to_string(), column(&rows, &expected, at)?));
                at += 1;
            }
            scores.push((mode, Scores::new(columns)));
        }
        for (name, scores) in scores.iter().flat_map(|(mode, scores)| {
            scores.columns().iter().map(move |(kind, scores)| (format!("{kind}_{mode}"), scores))
        }) {
            if let Some(row) = scores.iter().position(|score: &f64| !score.is_finite()) {
                bail!("row {}, {name}: expected a finite score, found {}", row + 1, scores[row]);
            }
        }
        let images: Vec<u32> = column(&rows, &expected, 0)?;
        let mut sorted = images.clone();
        sorted.sort_unstable();
        ensure!(
            sorted.windows(2).all(|w| w[0] != w[1]),
            "picture: expected each once, found one twice"
        );
        Ok(Self { images, anomalous, scores })
    }

    /// The scores of one of [`RunConfig::judged`]; empty if they were not recorded.
    pub fn of(&self, (mode, kind): (ScoringMode, &str)) -> &[f64] {
        judged(&self.scores, (mode, kind))
    }
}

/// The cells of a column as numbers.
fn column<T: std::str::FromStr>(
    rows: &[csv::StringRecord],
    header: &[String],
    at: usize,
) -> Result<Vec<T>> {
    let cell = |(row, cells): (usize, &csv::StringRecord)| {
        let cell = cells.get(at).unwrap_or_default();
        let value = cell.parse().ok();
        value.with_context(|| {
            format!("row {}, {}: expected a number, found {cell:?}", row + 1, header[at])
        })
    };
    rows.iter().enumerate().map(cell).collect()
}

/// The scores of one kind in one mode; empty if they were not recorded.
pub fn judged<'a>(
    scores: &'a [(ScoringMode, Scores)],
    (mode, kind): (ScoringMode, &str),
) -> &'a [f64] {
    let of = scores.iter().find(|(m, _)| *m == mode);
    of.map(|(_, scores)| scores.of(kind)).unwrap_or_default()
}
