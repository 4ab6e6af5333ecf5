//! The tables and plots of an experiment, from its plan and its runs' records.

use crate::auroc_table::{AurocTable, ClassRow};
use crate::beside;
use crate::plot::by_class::{Series, by_class};
use crate::plot::figure::FILE;
use crate::published::{PublishedColumn, published};
use anyhow::{Context, Result};
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::files::{Contents, write_all};
use ganomaly_experiment::plan::{Plan, Run};
use ganomaly_experiment::record::{self, FurtherMetrics as Further, Metrics};
use ganomaly_experiment::registry::Registry;
use ganomaly_experiment::results::{WITHIN_A_SETTING, images};
use ganomaly_metrics::mean_std;
use std::path::Path;

/// What was rebuilt from an experiment's folder.
#[derive(Debug)]
pub struct Collected {
    /// Tables in Markdown, as in `table.md`.
    pub table: String,
    /// The plan behind the tables.
    pub plan: Plan,
    /// Whether it is the last sweep's plan; otherwise it was made from the existing runs.
    pub planned: bool,
    /// Runs of the plan that are not done.
    pub missing: Vec<String>,
    /// Runs in the folder that are in neither the plan nor the tables: they have another config.
    pub others: Vec<String>,
}

/// Rebuilds an experiment's tables and plots from its folder alone.
pub fn collect(folder: &Path, registry: &Registry) -> Result<Collected> {
    let read = Plan::read(folder, registry)?;
    let planned = read.is_some();
    let plan = match read {
        Some(plan) => plan,
        None => Plan::of_runs(folder, registry)?,
    };
    let table = write_tables(&plan, folder).with_context(|| format!("{}", folder.display()))?;
    let done = plan.finished(folder)?;
    let is_missing = |run: &&Run| done.iter().all(|done| done.name != run.name);
    let missing = plan.runs.iter().filter(is_missing).map(|run| run.name.clone()).collect();
    Ok(Collected { table, missing, others: plan.others(folder)?, plan, planned })
}

/// Runs that differ only in class and seed, with the settings that distinguish them from others.
struct Setting<'a> {
    heading: String,
    runs: Vec<(&'a RunConfig, &'a Metrics)>,
}

/// Writes `table.md`, `table.csv`, `runs.csv` and `plots/auroc.svg` from the runs of the plan that
/// are in the folder, and returns the Markdown. The bytes depend only on the plan and these runs.
pub fn write_tables(plan: &Plan, folder: &Path) -> Result<String> {
    let done = plan.finished(folder)?;
    let read = |run: &&Run| Ok(((*run).clone(), record::read_metrics(&folder.join(&run.name))?));
    let runs = done.iter().map(read).collect::<Result<Vec<_>>>()?;
    let (markdown, files) = tables(plan, &runs, images(folder, &done)?.as_deref())?;
    write_all(folder, files)?;
    Ok(markdown)
}

/// The Markdown, and the files' names and contents. `images` is shown in each table.
pub(crate) fn tables(
    plan: &Plan,
    runs: &[(Run, Metrics)],
    images: Option<&str>,
) -> Result<(String, Contents)> {
    let first = &runs.first().context("no run of the plan is done")?.0.config;
    let settings = settings(plan, runs)?;
    let (mut markdown, mut csv) = (format!("# {}\n", plan.name), String::new());
    let mut series: Vec<Series> = Vec::new();
    if settings.len() > 1 {
        let rows = settings.iter().map(|setting| {
            let average =
                beside::by_class(&setting.runs, &first.images.class_names, beside::protocols)?
                    .pop();
            Ok((setting.heading.clone(), average.unwrap_or_default().1))
        });
        markdown += &beside::table("setting", &rows.collect::<Result<Vec<_>>>()?, beside::AVERAGES);
        let mut pixels = Vec::new();
        for setting in &settings {
            let all = beside::pixels(&setting.runs)?.into_iter().next();
            pixels.extend(all.map(|(_, columns)| (setting.heading.clone(), columns)));
        }
        markdown += &beside::table("setting", &pixels, beside::PIXELS);
    }
    let (classes, columns) = (&first.images.class_names, published(&first.dataset)?);
    for setting in &settings {
        let mut table = table(setting, classes, &columns)?;
        table.protocol.extend(images.iter().flat_map(|images| ["; ", images]));
        let means = |columns, intro| -> Result<String> {
            Ok(beside::table(
                first.class_heading(),
                &beside::by_class(&setting.runs, classes, columns)?,
                intro,
            ))
        };
        markdown += &format!(
            "\n{}{}{}{}",
            table.to_markdown(),
            means(beside::protocols, beside::PROTOCOLS)?,
            means(beside::further, beside::FURTHER)?,
            beside::table("anomalous class", &beside::pixels(&setting.runs)?, beside::PIXELS)
        );
        csv += &table.to_csv()?;
        let name = Some(&setting.heading).filter(|heading| !heading.is_empty());
        let name = name.map_or_else(|| "this project".into(), String::clone);
        // By class: a table leaves out the classes that did not run.
        let values = classes.iter().map(|class| {
            let row = table.rows.iter().find(|row| row.class == *class)?;
            let seeds: Vec<f64> = row.auroc.iter().flatten().copied().collect();
            let m = mean_std(&seeds).ok()?;
            Some((m.mean, m.std.map(|std| [m.mean - std, m.mean + std])))
        });
        series.push(Series { name, values: values.collect(), elsewhere: false });
    }
    for column in &columns {
        let of = |class: &String| Some((column.of(class)?, None));
        series.push(Series {
            name: column.heading(),
            values: classes.iter().map(of).collect(),
            elsewhere: true,
        });
    }
    let title = format!("{}: AUROC by {}", plan.name, first.class_heading());
    let figure = by_class(FILE, classes, &series, true).to_file(&title, "")?;
    let files = vec![
        ("table.md".into(), markdown.clone().into_bytes()),
        ("table.csv".into(), csv.into_bytes()),
        ("runs.csv".into(), runs_csv(plan, runs)?.into_bytes()),
        ("plots/auroc.svg".into(), figure.into_bytes()),
    ];
    Ok((markdown, files))
}

fn settings<'a>(plan: &Plan, runs: &'a [(Run, Metrics)]) -> Result<Vec<Setting<'a>>> {
    let mut settings: Vec<Setting<'a>> = Vec::new();
    for (run, metrics) in runs {
        let config = &run.config;
        let heading = run
            .settings(&plan.swept)?
            .into_iter()
            .filter(|(key, _)| !WITHIN_A_SETTING.contains(&key.as_str()))
            .map(|(key, value)| format!("{key} = {value}"))
            .collect::<Vec<_>>()
            .join(", ");
        match settings.iter_mut().find(|g| g.heading == heading) {
            Some(setting) => setting.runs.push((config, metrics)),
            None => settings.push(Setting { heading, runs: vec![(config, metrics)] }),
        }
    }
    Ok(settings)
}

fn table(
    setting: &Setting<'_>,
    classes: &[String],
    published: &[PublishedColumn],
) -> Result<AurocTable> {
    let (config, _) = setting.runs.first().context("a setting without runs")?;
    let mut seeds: Vec<u64> = setting.runs.iter().map(|(c, _)| c.seed()).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let find = |class: &str, seed: u64| {
        let run = setting.runs.iter().find(|(c, _)| c.class() == class && c.seed() == seed);
        run.map(|(_, m)| m.auroc)
    };
    let rows = classes
        .iter()
        .map(|class| ClassRow {
            class: class.clone(),
            auroc: seeds.iter().map(|&seed| find(class, seed)).collect(),
        })
        .filter(|row| row.auroc.iter().any(Option::is_some))
        .collect();
    Ok(AurocTable {
        title: [config.dataset.as_str(), &setting.heading].join(" ").trim().to_string(),
        protocol: config.protocol(),
        class_heading: config.class_heading().to_string(),
        rows,
        seeds,
        published: published.to_vec(),
    })
}

/// One row per run: swept settings, the AUROC that counts, its average precision, both with
/// intervals, and each mode's last and best-on-test AUROC.
fn runs_csv(plan: &Plan, runs: &[(Run, Metrics)]) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut header = vec!["run".to_string()];
    header.extend(plan.swept.iter().cloned());
    let counts = ["auroc", "auroc_low", "auroc_high", "auprc", "auprc_low", "auprc_high"];
    header.extend(counts.map(String::from));
    let modes = runs[0].0.config.modes();
    let same_modes = runs.iter().all(|(run, _)| run.config.modes() == modes);
    for mode in modes.iter().filter(|_| same_modes) {
        header.extend([format!("auroc_{mode}_last"), format!("auroc_{mode}_best_on_test")]);
    }
    let further = &runs[0].1.further;
    let same_further = runs
        .iter()
        .all(|(run, _)| run.config.further_scores == runs[0].0.config.further_scores && same_modes);
    for Further { score, .. } in further.iter().filter(|_| same_further) {
        header.extend([format!("auroc_{score}_last"), format!("auroc_{score}_best_on_test")]);
    }
    let masked = runs.iter().all(|(_, m)| !m.pixels.is_empty());
    if masked {
        header.extend(["pixel_auroc", "pixel_auprc", "aupro"].map(String::from));
    }
    csv.write_record(&header)?;
    for (run, m) in runs {
        let mut row = vec![run.name.clone()];
        // A string without its TOML quotes.
        let bare = |value: String| value.trim_matches('"').to_string();
        row.extend(run.settings(&plan.swept)?.into_iter().map(|(_, value)| bare(value)));
        let [auprc, low, high] = beside::auprc(m)?;
        let [auroc_low, auroc_high] = m.auroc_interval;
        row.extend([m.auroc, auroc_low, auroc_high, auprc, low, high].map(|v| v.to_string()));
        for mode in m.modes.iter().filter(|_| same_modes) {
            row.extend([mode.last.auroc, mode.best_on_test.auroc].map(|v| v.to_string()));
        }
        for further in m.further.iter().filter(|_| same_further) {
            row.extend([further.last.auroc, further.best_on_test.auroc].map(|v| v.to_string()));
        }
        if let Some(p) = m.pixels.first().filter(|_| masked) {
            row.extend([p.auroc, p.auprc, p.aupro].map(|v| v.to_string()));
        }
        csv.write_record(&row)?;
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}
