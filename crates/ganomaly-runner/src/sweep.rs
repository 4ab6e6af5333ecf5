//! An experiment: its runs, one or more at a time, and the tables over them.

use crate::cards::Named;
use crate::config::{DeviceName, Experiment, RunConfig};
use crate::data::DataStore;
use crate::jobs::{Jobs, side_by_side};
use crate::progress::{Cancel, Interrupted, Progress};
use crate::record::{self, Metrics};
use crate::report::plot::{self, ClassSeries};
use crate::report::published::{PublishedColumn, published};
use crate::report::table::{AurocTable, ClassRow};
use crate::{cards, lockstep, registry, train};
use anyhow::{Context, Result, bail};
use ganomaly_metrics::mean_std;
use std::fs;
use std::path::{Path, PathBuf};

/// What became of an experiment.
#[derive(Debug, Default)]
pub struct Summary {
    /// Where its results are.
    pub folder: PathBuf,
    /// Runs finished now.
    pub finished: usize,
    /// Runs that were there already.
    pub present: usize,
    /// Runs that failed, with their errors.
    pub failed: Vec<(String, String)>,
    /// Runs that went on at once.
    pub jobs: usize,
    /// Tables in Markdown, as in `table.md`.
    pub table: String,
}

/// Does every run of the experiment that is not there yet, `jobs` at a time with the threads shared out, then writes its tables and
/// plots. A run that fails does not stop the others.
pub fn run(
    experiment: &Experiment,
    results: &Path,
    store: &DataStore,
    jobs: Jobs,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Summary> {
    let folder = results.join(&experiment.name);
    record::check_writable(&folder)?;
    let mut summary = Summary { folder: folder.clone(), ..Summary::default() };
    let named = experiment.runs.iter().map(|c| Ok((c.run_name()?, c)));
    let named = named.collect::<Result<Vec<_>>>()?;
    let missing: Vec<_> = named.iter().filter(|(name, _)| !folder.join(name).exists()).collect();
    summary.present = named.len() - missing.len();
    let on_processor = |run: &&Named<'_>| run.1.device.0 == DeviceName::Cpu;
    let (here, on_cards): (Vec<_>, Vec<_>) = missing.iter().copied().partition(on_processor);
    let configs: Vec<&RunConfig> = here.iter().map(|(_, config)| *config).collect();
    summary.jobs = jobs.resolve(&configs)?;
    let one = |index: usize| {
        // After Ctrl-C none begins, and each that has not says so.
        cancel.check()?;
        let (name, config) = here[index];
        run_one(config, name, &folder.join(name), store, progress, cancel).map(drop)
    };
    let mut outcomes: Vec<(String, Result<()>)> =
        names(&here).zip(side_by_side(here.len(), summary.jobs, one)?).collect();
    let (groups, on_cards) = cards::run(&on_cards, jobs, &folder, store, progress, cancel);
    summary.jobs = summary.jobs.max(groups);
    outcomes.extend(on_cards);
    let mut interrupted = None;
    for (name, outcome) in outcomes {
        match outcome {
            Ok(()) => summary.finished += 1,
            Err(e) if e.is::<Interrupted>() => interrupted = Some(e),
            Err(e) => summary.failed.push((name, format!("{e:#}"))),
        }
    }
    if let Some(e) = interrupted {
        return Err(e.context(format!(
            "{} of {} runs are done and kept; start again to go on with the others",
            summary.present + summary.finished,
            named.len()
        )));
    }
    let done = named.iter().filter(|(name, _)| folder.join(name).exists());
    let finished = done
        .map(|(name, config)| Ok(((*config).clone(), record::read_metrics(&folder.join(name))?)))
        .collect::<Result<Vec<_>>>()?;
    if finished.is_empty() {
        let (name, error) = summary.failed.first().cloned().unwrap_or_default();
        bail!("all {} runs failed; the first, {name}: {error}", summary.failed.len());
    }
    summary.table = write_tables(experiment, &folder, &finished)?;
    Ok(summary)
}

fn names(runs: &[&Named<'_>]) -> impl Iterator<Item = String> {
    runs.iter().map(|(name, _)| name.clone())
}

/// One run from config to folder.
pub fn run_one(
    config: &RunConfig,
    name: &str,
    folder: &Path,
    store: &DataStore,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Metrics> {
    let outcome = if config.device.0 == DeviceName::Cpu {
        train::train(config, name, store, progress, cancel)?
    } else {
        let outcomes = lockstep::train(&[config], &[name], store, progress, cancel)?;
        outcomes.into_iter().next().context("no outcome")??
    };
    record::write(folder, name, config, &outcome)
}

/// Runs that differ in class and seed alone, with the settings that set them apart from other groups.
struct Group<'a> {
    heading: String,
    runs: Vec<(&'a RunConfig, &'a Metrics)>,
}

/// Writes `table.md`, `table.csv`, `runs.csv` and `plots/auroc.svg`; returns the Markdown.
fn write_tables(
    experiment: &Experiment,
    folder: &Path,
    runs: &[(RunConfig, Metrics)],
) -> Result<String> {
    let groups = groups(experiment, runs)?;
    let (mut markdown, mut csv) = (format!("# {}\n", experiment.name), String::new());
    let mut series: Vec<ClassSeries> = Vec::new();
    let (classes, columns) = axes(&runs[0].0)?;
    for group in &groups {
        let table = table(group, &classes, &columns)?;
        markdown += &format!("\n{}", table.to_markdown());
        csv += &table.to_csv()?;
        let name =
            if group.heading.is_empty() { "this project".into() } else { group.heading.clone() };
        let values = table.rows.iter().map(|row| {
            let seeds: Vec<f64> = row.auroc.iter().flatten().copied().collect();
            mean_std(&seeds).ok().map(|m| (m.mean, m.std))
        });
        series.push(ClassSeries { name, values: values.collect(), published: false });
    }
    for column in &columns {
        let of = |class: &String| {
            column.by_class.iter().find(|(c, _)| c == class).map(|(_, v)| (*v, None))
        };
        series.push(ClassSeries {
            name: format!("{} ({})", column.method, column.standing),
            values: classes.iter().map(of).collect(),
            published: true,
        });
    }
    let plots = folder.join("plots");
    fs::create_dir_all(&plots).with_context(|| format!("{}: cannot create", plots.display()))?;
    let title = format!("{}: AUROC by {}", experiment.name, class_heading(&runs[0].0));
    let files = [
        ("table.md", markdown.clone()),
        ("table.csv", csv),
        ("runs.csv", runs_csv(experiment, runs)?),
        ("plots/auroc.svg", plot::class_auroc(&title, &classes, &series)?),
    ];
    for (name, contents) in files {
        let path = folder.join(name);
        // Under another name first: a table is never half-written.
        let temporary = path.with_added_extension("tmp");
        fs::write(&temporary, contents)
            .and_then(|()| fs::rename(&temporary, &path))
            .with_context(|| format!("{}: cannot write", path.display()))?;
    }
    Ok(markdown)
}

/// The classes and the published numbers of a run's data set.
fn axes(config: &RunConfig) -> Result<(Vec<String>, Vec<PublishedColumn>)> {
    let classes = registry::dataset(&config.dataset)?.class_names();
    Ok((classes, published(&config.dataset)?))
}

fn groups<'a>(experiment: &Experiment, runs: &'a [(RunConfig, Metrics)]) -> Result<Vec<Group<'a>>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for (config, metrics) in runs {
        let heading = settings(experiment, config)?
            .into_iter()
            .filter(|(key, _)| !matches!(key.as_str(), "abnormal_class" | "normal_class" | "seed"))
            .map(|(key, value)| format!("{key} = {value}"))
            .collect::<Vec<_>>()
            .join(", ");
        match groups.iter_mut().find(|g| g.heading == heading) {
            Some(group) => group.runs.push((config, metrics)),
            None => groups.push(Group { heading, runs: vec![(config, metrics)] }),
        }
    }
    Ok(groups)
}

/// The swept settings of a run, as written in TOML.
fn settings(experiment: &Experiment, config: &RunConfig) -> Result<Vec<(String, String)>> {
    let table = toml::Table::try_from(config).context("the config cannot be written as TOML")?;
    let value = |key: &String| table.get(key).map(ToString::to_string).unwrap_or_default();
    Ok(experiment.swept.iter().map(|key| (key.clone(), value(key))).collect())
}

fn table(
    group: &Group<'_>,
    classes: &[String],
    published: &[PublishedColumn],
) -> Result<AurocTable> {
    let (config, _) = group.runs.first().context("a group without runs")?;
    let mut seeds: Vec<u64> = group.runs.iter().map(|(c, _)| c.seed()).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let find = |class: &str, seed: u64| {
        let run = group.runs.iter().find(|(c, _)| c.class() == class && c.seed() == seed);
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
        title: [config.dataset.as_str(), &group.heading].join(" ").trim().to_string(),
        protocol: config.protocol(),
        class_heading: class_heading(config).to_string(),
        rows,
        seeds,
        published: published.to_vec(),
    })
}

fn class_heading(config: &RunConfig) -> &'static str {
    if config.normal_class.is_some() { "normal class" } else { "abnormal class" }
}

/// One row a run: swept settings, the AUROC that counts, its interval, and each mode's last and best-on-test AUROC.
fn runs_csv(experiment: &Experiment, runs: &[(RunConfig, Metrics)]) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut header = vec!["run".to_string()];
    header.extend(experiment.swept.iter().cloned());
    header.extend(["auroc", "auroc_low", "auroc_high"].map(String::from));
    let modes = runs[0].0.modes();
    let same_modes = runs.iter().all(|(config, _)| config.modes() == modes);
    for mode in modes.iter().filter(|_| same_modes) {
        header.extend([format!("auroc_{mode}_last"), format!("auroc_{mode}_best_on_test")]);
    }
    csv.write_record(&header)?;
    for (config, m) in runs {
        let mut row = vec![config.run_name()?];
        // A text without the quotes it has in TOML.
        let bare = |value: String| value.trim_matches('"').to_string();
        row.extend(settings(experiment, config)?.into_iter().map(|(_, value)| bare(value)));
        row.extend([m.auroc, m.auroc_interval[0], m.auroc_interval[1]].map(|v| v.to_string()));
        for mode in m.modes.iter().filter(|_| same_modes) {
            row.extend([mode.last.auroc, mode.best_on_test.auroc].map(|v| v.to_string()));
        }
        csv.write_record(&row)?;
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}
