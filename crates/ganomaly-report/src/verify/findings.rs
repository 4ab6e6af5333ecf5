//! The findings of a verification, one line each.

use ganomaly_experiment::files::read;
use std::path::{Path, PathBuf};

/// The result of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The folder.
    pub folder: PathBuf,
    /// Number of runs found.
    pub runs: usize,
    /// Number of comparisons made.
    pub checks: usize,
    /// Every mismatch in one line: where, what, expected and found.
    pub wrong: Vec<String>,
    /// What could not be verified, with the reason, and other remarks. Not errors.
    pub notes: Vec<String>,
}

/// Collects the findings.
#[derive(Debug, Default)]
pub(super) struct Findings {
    checks: usize,
    wrong: Vec<String>,
    notes: Vec<String>,
    /// Number of runs of which only the small records are here.
    records: usize,
}

impl Findings {
    /// Counts a comparison, and records `what` if it does not hold.
    pub fn check(&mut self, holds: bool, path: &Path, what: impl FnOnce() -> String) {
        self.checks += 1;
        if !holds {
            self.wrong.push(line(path, &what()));
        }
    }

    /// Counts a comparison that does not hold.
    pub fn wrong(&mut self, path: &Path, what: &str) {
        self.check(false, path, || what.to_string());
    }

    /// Records what cannot be verified.
    pub fn unverifiable(&mut self, path: &Path, what: &str) {
        self.notes.push(line(path, &format!("unverifiable: {what}")));
    }

    /// Records a remark.
    pub fn note(&mut self, path: &Path, what: &str) {
        self.notes.push(line(path, what));
    }

    /// Counts a run without scores and weights; reported once for all such runs.
    pub fn only_records(&mut self) {
        self.records += 1;
    }

    pub fn has_wrong(&self) -> bool {
        !self.wrong.is_empty()
    }

    /// Compares files with their expected contents.
    pub fn same_files(&mut self, folder: &Path, expected: &[(String, Vec<u8>)]) {
        for (name, expected) in expected {
            let path = folder.join(name);
            match read(&path) {
                Ok(found) => {
                    self.check(*expected == found, &path, || first_difference(expected, &found))
                }
                Err(e) => self.wrong(
                    &path,
                    &format!("expected {} bytes, found none: {}", expected.len(), e.problem()),
                ),
            }
        }
    }

    pub fn into_verification(self, folder: &Path, runs: usize) -> Verification {
        let Self { checks, wrong, mut notes, records } = self;
        if records > 0 {
            let what = format!(
                "unverifiable: of {records} of its {runs} runs the scores and weights are not here: \
                 their measures, against these"
            );
            notes.insert(0, line(folder, &what));
        }
        Verification { folder: folder.to_path_buf(), runs, checks, wrong, notes }
    }
}

/// A finding as one line, whatever it contains.
fn line(path: &Path, what: &str) -> String {
    let text = format!("{}: {what}", path.display());
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(escape).collect()
}

/// The first line in which two files differ.
pub(super) fn first_difference(expected: &[u8], found: &[u8]) -> String {
    let (expected, found) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(found));
    let (mut e, mut f) = (expected.lines(), found.lines());
    let mut number = 0;
    loop {
        number += 1;
        match (e.next(), f.next()) {
            (None, None) => return "the ends of lines differ".into(),
            (a, b) if a != b => {
                return format!("line {number}: expected {}, found {}", shown(a, b), shown(b, a));
            }
            _ => {}
        }
    }
}

/// The part of a line from where it begins to differ from another one.
fn shown(line: Option<&str>, other: Option<&str>) -> String {
    const MOST: usize = 60;
    let Some(line) = line else { return "the end".into() };
    let other = other.unwrap_or_default();
    let same = line.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
    // Includes some of the common part, so that the place can be found.
    let from = same.saturating_sub(20);
    let part: String = line.chars().skip(from).take(MOST).collect();
    let before = if from > 0 { "…" } else { "" };
    let after = if line.chars().count() > from + MOST { "…" } else { "" };
    format!("`{before}{part}{after}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_shown_with_its_place() {
        let text = |a: &str, b: &str| first_difference(a.as_bytes(), b.as_bytes());
        assert_eq!(text("a\nb\n", "a\nc\n"), "line 2: expected `b`, found `c`");
        assert_eq!(text("a\nb\n", "a\n"), "line 2: expected `b`, found the end");
        assert_eq!(text("a\n", "a"), "the ends of lines differ");
        let long = "x".repeat(100);
        let found = text(&format!("{long}1{long}"), &format!("{long}2{long}"));
        assert!(found.contains("`…xxxxxxxxxxxxxxxxxxxx1xxx"), "{found}");
        assert_eq!(line(Path::new("a\nb"), "c"), "a\\nb: c");
    }
}
