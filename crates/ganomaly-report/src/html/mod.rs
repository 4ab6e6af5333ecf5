//! A report: one page with all results of an experiment, which loads nothing from outside.
//!
//! It is made only from the experiment's folder, so that it can be made again anywhere. The markup
//! is maud's: its templates are Rust, checked by the compiler, and escape every value unless told
//! otherwise, so that no name in a config becomes markup.

mod audit;
mod compare;
mod curves;
mod examples;
mod page;
mod provenance;
mod summary;
mod weightings;

pub use compare::write_comparison;

use anyhow::{Result, bail};
use ganomaly_experiment::files::write_whole;
use ganomaly_experiment::record;
use ganomaly_experiment::results::{Group, Results};
use ganomaly_experiment::run_data::DataStore;
use maud::{Markup, html};
use page::Page;
use std::fs;
use std::path::{Path, PathBuf};

/// The file's name in an experiment's folder.
pub const FILE: &str = "report.html";
/// Maximum size of a page, in bytes.
const LARGEST: usize = 10_000_000;

/// Maximum size of parts of a page, in bytes; the page reports what is left out.
#[derive(Clone, Copy)]
struct Limits {
    /// The settings one by one.
    settings: usize,
    /// Example images.
    pictures: usize,
}

/// Tried in turn, until the page is small enough.
const LIMITS: [Limits; 3] = [
    Limits { settings: 5_000_000, pictures: 2_500_000 },
    Limits { settings: 2_000_000, pictures: 500_000 },
    Limits { settings: 0, pictures: 0 },
];

/// Writes `report.html` into an experiment's folder and returns its path. Images are drawn if
/// weights and data set are available.
pub fn write(folder: &Path, store: &DataStore) -> Result<PathBuf> {
    let results = Results::read(folder, store.registry())?;
    let path = folder.join(FILE);
    for limits in LIMITS {
        let page = build(&results, store, limits)?;
        if page.len() < LARGEST {
            write_whole(&path, &page)?;
            return Ok(path);
        }
    }
    bail!("{}: {} runs are too many for one page", folder.display(), results.runs().count())
}

/// Whether a folder contains a finished run.
pub fn has_runs(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|path| record::is_run(&path) && path.join(record::SCORES).exists())
}

fn build(results: &Results, store: &DataStore, limits: Limits) -> Result<String> {
    let mut page = Page::new(&results.name, summary::lead(results)?);
    let mut pictures = limits.pictures;
    if let [group] = results.groups.as_slice() {
        page.section("auroc", "AUROC by class", summary::by_class(group)?);
        page.section("seeds", "Class by seed", summary::class_by_seed(group));
    } else {
        page.section("settings", "Settings", summary::settings(results)?);
    }
    if let Some(weightings) = weightings::read(&results.folder)? {
        let body = weightings::section(&weightings, &results.folder)?;
        page.section("weightings", "Weightings", body);
    }
    if let Some(audit) = audit::read(&results.folder)? {
        page.section("audit", "Protocol audit", audit::section(&audit)?);
    }
    if let [group] = results.groups.as_slice() {
        for part in PARTS {
            page.section(part.id, part.title, part.make(group, store, &mut pictures)?);
        }
    } else {
        let body = each_setting(results, store, limits)?;
        page.section("each-setting", "Each setting", body);
    }
    page.section("runs", "Runs", provenance::runs(results));
    page.section("provenance", "Config, machine, times", provenance::provenance(results)?);
    Ok(page.finish())
}

/// A part of what is shown for each setting.
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

/// The settings one by one, collapsed, until the page would get too large.
fn each_setting(results: &Results, store: &DataStore, limits: Limits) -> Result<Markup> {
    let mut settings = Vec::new();
    let (mut bytes, mut pictures) = (0, limits.pictures);
    for group in &results.groups {
        let body = if bytes < limits.settings {
            one_of_many(group, store, &mut pictures)?
        } else {
            html! { p { "The curves of this setting are left out, to keep the page small." } }
        };
        bytes += body.0.len();
        settings.push((group, body));
    }
    Ok(html! {
        p { "The same figures for every setting. Press one to see it." }
        @for (at, (group, body)) in settings.iter().enumerate() {
            details.setting id={ "setting-" (at + 1) } {
                summary { h3 { (group.name()) } span.note { (summary::headline(group)?) } }
                (body)
            }
        }
    })
}

/// One of several settings: its numbers, then its figures.
fn one_of_many(group: &Group, store: &DataStore, budget: &mut usize) -> Result<Markup> {
    let mut parts = Vec::new();
    for part in PARTS {
        parts.push((part.title, part.make(group, store, budget)?));
    }
    Ok(html! {
        (summary::by_class(group)?)
        @if group.seeds.len() > 1 {
            h4 { "Class by seed" }
            (summary::class_by_seed(group))
        }
        @for (title, body) in &parts {
            h4 { (title) }
            (body)
        }
    })
}
