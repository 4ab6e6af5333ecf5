//! A report: one page with all results of an experiment, which loads nothing from outside.
//!
//! It is made only from the experiment's folder, so that it can be made again anywhere. The markup
//! is maud's: its templates are Rust, checked by the compiler, and escape every value unless told
//! otherwise, so that no name in a config becomes markup.

mod audit;
mod compare;
mod curves;
mod examples;
pub mod folder;
mod page;
mod provenance;
mod summary;
mod weightings;

pub use compare::write_comparison;

use anyhow::{Context, Result, bail};
use ganomaly_experiment::files::{read_text, write_whole};
use ganomaly_experiment::record;
use ganomaly_experiment::results::{Results, Setting};
use ganomaly_experiment::run_data::DataStore;
use maud::{Markup, html};
use page::Page;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::{Path, PathBuf};

/// The file's name in an experiment's folder.
pub const FILE: &str = "report.html";
/// Maximum size of a page, in bytes.
const LARGEST: usize = 10_000_000;

/// Maximum size of parts of a page, in bytes; the page reports what is left out.
#[derive(Clone, Copy)]
struct PageBudget {
    /// The settings one by one.
    settings: usize,
    /// Example images.
    images: usize,
}

/// Tried in turn, until the page is small enough.
const BUDGETS: [PageBudget; 3] = [
    PageBudget { settings: 5_000_000, images: 2_500_000 },
    PageBudget { settings: 2_000_000, images: 500_000 },
    PageBudget { settings: 0, images: 0 },
];

/// Writes `report.html` into an experiment's folder and returns its path. Images are drawn if
/// weights and data set are available.
pub fn write(folder: &Path, store: &DataStore) -> Result<PathBuf> {
    let results = Results::read(folder, store.registry())?;
    let path = folder.join(FILE);
    for budget in BUDGETS {
        let page = build(&results, store, budget)?;
        if page.len() < LARGEST {
            write_whole(&path, &page)?;
            return Ok(path);
        }
    }
    bail!("{}: {} runs are too many for one page", folder.display(), results.runs().count())
}

/// Whether a folder contains a finished run.
pub fn has_runs(folder: &Path) -> bool {
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    entries.any(|path| record::is_run(&path) && path.join(record::SCORES).exists())
}

fn build(results: &Results, store: &DataStore, budget: PageBudget) -> Result<String> {
    let mut page = Page::new(&results.name, summary::lead(results)?);
    let mut images = budget.images;
    if let [setting] = results.settings.as_slice() {
        page.section("auroc", "AUROC by class", summary::by_class(setting)?);
        page.section("seeds", "Class by seed", summary::class_by_seed(setting));
    } else {
        page.section("settings", "Settings", summary::settings(results)?);
    }
    let again = "not weightings; compare them again";
    if let Some(weightings) = read(&results.folder, "weightings.json", again)? {
        let body = weightings::section(&weightings, &results.folder)?;
        page.section("weightings", "Weightings", body);
    }
    if let Some(audit) = read(&results.folder, "audit.json", "not an audit; run the audit again")? {
        page.section("audit", "Protocol audit", audit::section(&audit)?);
    }
    if let [setting] = results.settings.as_slice() {
        for (id, title, draw) in PARTS {
            page.section(id, title, draw(setting, store, &mut images)?);
        }
    } else {
        let body = each_setting(results, store, budget)?;
        page.section("each-setting", "Each setting", body);
    }
    page.section("runs", "Runs", provenance::runs(results)?);
    page.section("provenance", "Config, machine, times", provenance::provenance(results)?);
    Ok(page.finish())
}

/// Reads a file of the experiment; none if it is not there.
fn read<T: DeserializeOwned>(folder: &Path, file: &str, problem: &str) -> Result<Option<T>> {
    let path = folder.join(file);
    if !path.is_file() {
        return Ok(None);
    }
    let read = serde_json::from_str(&read_text(&path)?);
    read.with_context(|| format!("{}: {problem}", path.display())).map(Some)
}

type Draw = fn(&Setting, &DataStore, &mut usize) -> Result<Markup>;

/// What is shown for each setting: the section's id, its title and its content, which may take from
/// the budget of bytes for images.
const PARTS: [(&str, &str, Draw); 5] = [
    ("roc", "ROC curves", |setting, _, _| curves::roc(setting)),
    ("precision-recall", "Precision and recall", |setting, _, _| curves::precision_recall(setting)),
    ("scores", "Scores", |setting, _, _| curves::histograms(setting)),
    ("training", "Training", |setting, _, _| curves::training(setting)),
    ("images", "Images", |setting, store, images| Ok(examples::examples(setting, store, images))),
];

/// The settings one by one, collapsed, until the page would get too large.
fn each_setting(results: &Results, store: &DataStore, budget: PageBudget) -> Result<Markup> {
    let mut settings = Vec::new();
    let (mut bytes, mut images) = (0, budget.images);
    for setting in &results.settings {
        let body = if bytes < budget.settings {
            one_of_many(setting, store, &mut images)?
        } else {
            html! { p { "The curves of this setting are left out, to keep the page small." } }
        };
        bytes += body.0.len();
        settings.push((setting, body));
    }
    Ok(html! {
        p { "The same figures for every setting. Press one to see it." }
        @for (at, (setting, body)) in settings.iter().enumerate() {
            details.setting id={ "setting-" (at + 1) } {
                summary { h3 { (setting.name()) } span.note { (summary::headline(setting)?) } }
                (body)
            }
        }
    })
}

/// One of several settings: its numbers, then its figures.
fn one_of_many(setting: &Setting, store: &DataStore, images: &mut usize) -> Result<Markup> {
    let mut parts = Vec::new();
    for (_, title, draw) in PARTS {
        parts.push((title, draw(setting, store, images)?));
    }
    Ok(html! {
        (summary::by_class(setting)?)
        @if setting.seeds.len() > 1 {
            h4 { "Class by seed" }
            (summary::class_by_seed(setting))
        }
        @for (title, body) in &parts {
            h4 { (title) }
            (body)
        }
    })
}
