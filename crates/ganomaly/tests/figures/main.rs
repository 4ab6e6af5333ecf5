//! Numbers in documents match the committed results.
//!
//! `FIGURES` has each sentence with its numbers left out, and where in `results/` they are.
//! `GANOMALY_WRITE_FIGURES=1 cargo test -p ganomaly --test figures` writes them into the
//! documents. A number that looks like an AUROC and is in none of these sentences is also an error.

use regex_lite::Regex;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

mod list;
use list::{FIGURES, NOT_FROM_RESULTS, SCANNED};

/// A sentence of a document, with `{}` for each number, and each number's place: `FILE |
/// COLUMN=VALUE, ... | COLUMN | FORMAT`, with the format `.2`, `.3` or `+.3`.
pub struct Figure {
    /// Path from the repository root.
    pub document: &'static str,
    /// The sentence.
    pub text: &'static str,
    /// The numbers' places.
    pub places: &'static [&'static str],
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A number from a file below `results/`. In CSV exactly one row must match, and the column is
/// given by name. In JSON `LIST: KEY=VALUE, ...` names an element of a list, and the column is a
/// pointer into it.
fn look_up(place: &str) -> String {
    let parts: Vec<&str> = place.split('|').map(str::trim).collect();
    let [file, rows, column, format] = parts[..] else { panic!("{place}: four parts") };
    let path = root().join("results").join(file);
    let number = match file.ends_with(".json") {
        true => in_json(&path, rows, column),
        false => in_csv(&path, rows, column),
    };
    let number = number.unwrap_or_else(|| panic!("{place}: not there, or not one"));
    let text = match format {
        ".2" => format!("{number:.2}"),
        ".3" => format!("{number:.3}"),
        "+.3" => format!("{number:+.3}"),
        other => panic!("{place}: the format {other}"),
    };
    text.replace('-', "−")
}

fn pairs(rows: &str) -> impl Iterator<Item = (&str, &str)> {
    rows.split(", ").filter_map(|pair| pair.split_once('='))
}

fn in_csv(path: &Path, rows: &str, column: &str) -> Option<f64> {
    let mut reader = csv::Reader::from_path(path).ok()?;
    let header = reader.headers().ok()?.clone();
    let at = |name: &str| header.iter().position(|h| h == name);
    let wanted: Option<Vec<_>> = pairs(rows).map(|(k, value)| Some((at(k)?, value))).collect();
    let wanted = wanted?;
    let fits = |row: &csv::StringRecord| wanted.iter().all(|(at, value)| &row[*at] == *value);
    let mut found = reader.records().map(Result::unwrap).filter(fits);
    let number = found.next()?[at(column)?].parse().ok()?;
    found.next().is_none().then_some(number)
}

fn in_json(path: &Path, rows: &str, pointer: &str) -> Option<f64> {
    let all: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let Some((list, rows)) = rows.split_once(':') else { return all.pointer(pointer)?.as_f64() };
    let fits = |element: &&serde_json::Value| {
        pairs(rows.trim()).all(|(key, value)| {
            let there = &element[key];
            there.as_str().map_or_else(|| there.to_string(), String::from) == value
        })
    };
    let mut found = all[list].as_array()?.iter().filter(fits);
    let number = found.next()?.pointer(pointer)?.as_f64();
    found.next().is_none().then_some(number?)
}

/// Any white space between words, and a number in each place.
fn pattern(text: &str) -> Regex {
    let figure = r"([+−-]?\d+\.\d+)";
    let words = text
        .split_whitespace()
        .map(|word| word.split("{}").map(regex_lite::escape).collect::<Vec<_>>().join(figure));
    // A comment's lines begin with a marker.
    Regex::new(&words.collect::<Vec<_>>().join(r"\s+(?:#\s+)?")).unwrap()
}

#[test]
fn figures_in_documents_are_those_of_the_results() {
    let write = std::env::var_os("GANOMALY_WRITE_FIGURES").is_some();
    let mut documents: HashMap<&str, String> = HashMap::new();
    let mut covered: HashMap<&str, Vec<std::ops::Range<usize>>> = HashMap::new();
    let mut wrong = Vec::new();
    for Figure { document, text, places } in FIGURES {
        let read = || fs::read_to_string(root().join(document)).unwrap();
        let contents = documents.entry(document).or_insert_with(read);
        assert_eq!(text.matches("{}").count(), places.len(), "{document}: {text}");
        let found = pattern(text).captures(contents);
        let Some(found) = found else { panic!("{document} has no {text:?}") };
        let mut changes = Vec::new();
        for (place, group) in places.iter().zip(found.iter().skip(1)) {
            let (group, expected) = (group.unwrap(), look_up(place));
            if group.as_str().replace('-', "−") != expected {
                wrong.push(format!("{document}: {}, by {place} {expected}", group.as_str()));
                changes.push((group.range(), expected));
            }
        }
        if write {
            for (range, expected) in changes.into_iter().rev() {
                contents.replace_range(range, &expected);
            }
        }
    }
    if write {
        for (document, contents) in &documents {
            fs::write(root().join(document), contents).unwrap();
        }
    } else {
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
    for Figure { document, text, .. } in FIGURES {
        let found = pattern(text).find(&documents[document]).unwrap();
        covered.entry(document).or_default().push(found.range());
    }
    let auroc = Regex::new(r"\b(?:0\.\d{2,3}|1\.000?)\b").unwrap();
    for document in SCANNED {
        let contents = fs::read_to_string(root().join(document)).unwrap();
        for figure in auroc.find_iter(&contents) {
            let inside = |range: &std::ops::Range<usize>| range.contains(&figure.start());
            let from = contents[..figure.start()].rfind('\n').map_or(0, |at| at + 1);
            let line = contents[from..].lines().next().unwrap();
            let excused =
                NOT_FROM_RESULTS.iter().any(|(of, words)| of == document && line.contains(words));
            assert!(
                covered.get(document).is_some_and(|all| all.iter().any(inside)) || excused,
                "{document}: {} is in no sentence of FIGURES: {line}",
                figure.as_str()
            );
        }
    }
}
