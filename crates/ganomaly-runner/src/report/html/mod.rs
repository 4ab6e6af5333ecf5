//! A report: one page that holds all that an experiment came to, and asks for nothing outside itself.
//!
//! It is made from the experiment's folder alone, so that it can be made again anywhere. The markup is maud's: its templates are
//! Rust, checked by the compiler, and escape every value unless told otherwise, so that no name in a config becomes markup.

mod compare;
mod curves;
mod data;
mod examples;
mod figures;
mod page;
mod provenance;
mod summary;

pub use compare::{Choice, write_comparison};

use crate::data::DataStore;
use anyhow::{Context, Result};
use data::{Group, Results};
use maud::{Markup, html};
use page::{Page, slug};
use std::fs;
use std::path::{Path, PathBuf};

/// The file's name in an experiment's folder.
pub const FILE: &str = "report.html";
/// No page is larger than twice this: details are left out beyond it, and said to be.
const DETAILS: usize = 5_000_000;
/// Bytes that example pictures may take in all.
const PICTURES: usize = 2_500_000;

/// Writes `report.html` into an experiment's folder and returns its path. Pictures are drawn where weights and data set are there.
pub fn write(folder: &Path, store: &DataStore) -> Result<PathBuf> {
    let results = Results::read(folder)?;
    let page = build(&results, store)?;
    let path = folder.join(FILE);
    save(&path, &page)?;
    Ok(path)
}

/// Whether a folder has a finished run in it.
pub fn has_runs(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| data::is_run(&path))
}

fn save(path: &Path, page: &str) -> Result<()> {
    let temporary = path.with_added_extension("tmp");
    fs::write(&temporary, page)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("{}: cannot write the report", path.display()))
}

fn build(results: &Results, store: &DataStore) -> Result<String> {
    let mut page = Page::new(&results.name, summary::lead(results));
    let mut budget = PICTURES;
    if let [group] = results.groups.as_slice() {
        page.section("auroc", "AUROC by class", summary::by_class(group)?);
        page.section("seeds", "Class by seed", summary::class_by_seed(group));
        for part in PARTS {
            page.section(part.id, part.title, part.make(group, store, &mut budget)?);
        }
    } else {
        page.section("settings", "Settings", summary::settings(results));
        for (at, group) in results.groups.iter().enumerate() {
            let body = if page.bytes() < DETAILS {
                one_of_many(group, at, store, &mut budget)?
            } else {
                html! { p { "The curves of this setting are left out, to keep the page small." } }
            };
            page.section(&format!("setting-{}", at + 1), &group.name(), body);
        }
    }
    page.section("runs", "Runs", provenance::runs(results));
    page.section("provenance", "Config, machine, times", provenance::provenance(results)?);
    Ok(page.finish())
}

/// A part of what is shown of each setting.
struct Part {
    id: &'static str,
    title: &'static str,
    draw: Draw,
}

enum Draw {
    Curves(fn(&Group) -> Result<Markup>),
    Examples,
}

const PARTS: [Part; 5] = [
    Part { id: "roc", title: "ROC curves", draw: Draw::Curves(curves::roc) },
    Part {
        id: "precision-recall",
        title: "Precision and recall",
        draw: Draw::Curves(curves::precision_recall),
    },
    Part { id: "scores", title: "Scores", draw: Draw::Curves(curves::histograms) },
    Part { id: "training", title: "Training", draw: Draw::Curves(curves::training) },
    Part { id: "pictures", title: "Pictures", draw: Draw::Examples },
];

impl Part {
    fn make(&self, group: &Group, store: &DataStore, budget: &mut usize) -> Result<Markup> {
        match self.draw {
            Draw::Curves(draw) => draw(group),
            Draw::Examples => Ok(examples::examples(group, store, budget)),
        }
    }
}

/// A setting among several: its numbers, and its figures folded away.
fn one_of_many(group: &Group, at: usize, store: &DataStore, budget: &mut usize) -> Result<Markup> {
    let mut parts = Vec::new();
    for part in PARTS {
        parts.push((part.title, part.id, part.make(group, store, budget)?));
    }
    Ok(html! {
        p { (summary::headline(group)) "." }
        h3 { "AUROC by class" }
        (summary::by_class(group)?)
        @if group.seeds.len() > 1 {
            h3 { "Class by seed" }
            (summary::class_by_seed(group))
        }
        @for (title, id, body) in &parts {
            details.part id={ "setting-" (at + 1) "-" (slug(id)) } {
                summary { h3 { (title) } }
                (body)
            }
        }
    })
}
