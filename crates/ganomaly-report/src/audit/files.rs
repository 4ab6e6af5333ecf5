//! An audit's files: `audit.json`, `audit.csv`, `audit.md`, and in `plots`, `audit.svg` and
//! `summary.svg`.

use super::summary::{Summary, classes, find, main};
use super::{Audit, AuditRow, EpochRule, MODES};
use crate::plot::forest::{ForestCell, ForestRow, forest};
use crate::text::{self, distinct, shown, shown_difference};
use anyhow::Result;
use ganomaly_experiment::config::ScoringMode;
use ganomaly_experiment::files::{Contents, write_all};
use std::fmt::Write;
use std::path::Path;

/// Writes the files into the experiment's folder; returns the Markdown.
pub fn write(audit: &Audit, folder: &Path) -> Result<String> {
    write_all(folder, files(audit)?)?;
    Ok(markdown(audit, &Summary::new(audit)?))
}

/// Every file's name and contents.
pub(crate) fn files(audit: &Audit) -> Result<Contents> {
    let summary = Summary::new(audit)?;
    let json = serde_json::to_string_pretty(audit)? + "\n";
    Ok(vec![
        ("audit.json".into(), json.into_bytes()),
        ("audit.csv".into(), csv(audit)?),
        ("audit.md".into(), markdown(audit, &summary).into_bytes()),
        ("plots/audit.svg".into(), plot(audit)?.into_bytes()),
        ("plots/summary.svg".into(), summary.plot()?.into_bytes()),
    ])
}

/// The scores, modes and rules of the rows, in their order.
struct Axes {
    kinds: Vec<String>,
    modes: Vec<ScoringMode>,
    rules: Vec<EpochRule>,
}

impl Axes {
    fn of(audit: &Audit) -> Self {
        let rows = || audit.rows.iter().filter(|row| row.class.is_none());
        let is_mode = |mode: &ScoringMode| rows().any(|row| row.scoring == mode.to_string());
        let is_rule = |rule: &EpochRule| rows().any(|row| row.epoch == *rule);
        Self {
            kinds: distinct(rows().map(|row| row.score.clone())),
            modes: MODES.into_iter().filter(is_mode).collect(),
            rules: EpochRule::ALL.into_iter().filter(is_rule).collect(),
        }
    }

    /// A sentence on the modes and rules that could not be evaluated; empty if all could.
    fn missing(&self) -> String {
        let modes = MODES.iter().filter(|mode| !self.modes.contains(mode));
        let rules = EpochRule::ALL.iter().filter(|rule| !self.rules.contains(rule));
        let names = modes.map(ToString::to_string).chain(rules.map(ToString::to_string));
        let names: Vec<String> = names.collect();
        if names.is_empty() {
            return String::new();
        }
        format!(" Not recorded by these runs, and so not judged: {}.", names.join(", "))
    }
}

fn csv(audit: &Audit) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut header = ["class", "scoring", "epoch", "score"].map(String::from).to_vec();
    header.extend(["auroc", "gap"].into_iter().flat_map(text::columns));
    header.extend(["trainings", "seeds", "chosen_epochs"].map(String::from));
    csv.write_record(&header)?;
    for r in &audit.rows {
        let chosen: Vec<String> = r.chosen_epochs.iter().map(ToString::to_string).collect();
        let class = r.class.clone().unwrap_or_else(|| "average".into());
        let mut row = vec![class, r.scoring.clone(), r.epoch.to_string(), r.score.clone()];
        row.extend([&r.auroc, &r.gap].into_iter().flat_map(text::cells));
        let trainings = r.auroc.over_trainings;
        row.extend([trainings.runs.to_string(), trainings.seeds.to_string(), chosen.join(" ")]);
        csv.write_record(&row)?;
    }
    Ok(csv.into_inner()?)
}

fn markdown(audit: &Audit, summary: &Summary<'_>) -> String {
    let classes = classes(audit);
    let mut text = format!("# Protocol audit: {}\n\n", audit.experiment);
    let run = audit.runs.first();
    let _ = writeln!(
        text,
        "{}, {}; {} runs of {} epochs over {} {}; batches of {} in scoring{}.\n",
        audit.dataset,
        audit.split,
        audit.runs.len(),
        audit.epochs,
        audit.class_heading,
        classes.join(", "),
        audit.score_batch_size,
        run.map(|r| format!("; {} test pictures a run", r.test_normal + r.test_anomalous))
            .unwrap_or_default(),
    );
    let average = audit.rows.iter().find(|row| row.class.is_none());
    let _ = writeln!(
        text,
        "All rows of a table judge the same trained weights. Gap: AUROC minus that of the honest default (running statistics, last epoch, score \
         l2). {} {} resamples; the average is over {}. best-on-test looks at the answers; best-by-validation chooses the epoch by the contextual \
         error of normal pictures that neither train nor test.{}",
        text::LEGEND,
        audit.resamples,
        average.map(|row| text::trainings(&row.auroc)).unwrap_or_default(),
        Axes::of(audit).missing(),
    );
    text += &summary.table();
    text += &order(audit, &classes);
    text += &section(
        audit,
        None,
        &format!("Average over {} {}", audit.class_heading, classes.join(", ")),
    );
    for class in &classes {
        text += &section(audit, Some(class), &format!("{} {class}", audit.class_heading));
    }
    text
}

/// The effect of the order of the test set alone.
fn order(audit: &Audit, classes: &[String]) -> String {
    if audit.order.is_empty() {
        return String::new();
    }
    let kinds = distinct(audit.order.iter().map(|gap| gap.score.as_str()));
    let mut rows = Vec::new();
    for class in classes.iter().map(Some).chain([None]) {
        for rule in Axes::of(audit).rules {
            let cell = |kind: &&str| {
                let found = audit.order.iter().find(|gap| {
                    gap.class.as_ref() == class && gap.epoch == rule && gap.score == *kind
                });
                found.map_or("–".into(), |g| shown_difference(&g.gap))
            };
            let name = class.map_or("average", String::as_str);
            rows.push(
                [vec![name.into(), rule.to_string()], kinds.iter().map(cell).collect()].concat(),
            );
        }
    }
    format!(
        "\n## The order of the test set alone\n\nAUROC batch-sequential minus batch-shuffled: both use a batch's statistics.\n\n{}",
        text::table(2, &[&["class", "epoch"], &kinds[..]].concat(), &rows)
    )
}

fn section(audit: &Audit, class: Option<&String>, heading: &str) -> String {
    let Axes { kinds, modes, rules } = Axes::of(audit);
    let mut names = ["statistics", "epoch"].map(String::from).to_vec();
    names.extend(kinds.iter().flat_map(|kind| ["AUROC", "gap"].map(|of| format!("{kind} {of}"))));
    let mut rows = Vec::new();
    for (&mode, &rule) in modes.iter().flat_map(|mode| rules.iter().map(move |rule| (mode, rule))) {
        let mut cells = vec![mode.to_string(), rule.to_string()];
        for kind in &kinds {
            let row = find(audit, class, mode, rule, kind);
            let dash = || ["–", "–"].map(String::from);
            cells.extend(row.map_or_else(dash, |row| [shown(&row.auroc), gap(audit, row)]));
        }
        rows.push(cells);
    }
    format!("\n## {heading}\n\n{}", text::table(2, &names, &rows))
}

fn gap(audit: &Audit, row: &AuditRow) -> String {
    let honest = row.scoring == MODES[0].to_string() && row.epoch == EpochRule::Last;
    if honest && Some(&row.score) == main(audit) {
        return "the default".into();
    }
    shown_difference(&row.gap)
}

fn plot(audit: &Audit) -> Result<String> {
    let classes = classes(audit);
    let Axes { kinds, modes, rules } = Axes::of(audit);
    let mut rows = Vec::new();
    for &mode in &modes {
        for &rule in &rules {
            let cell = |kind: &String| ForestCell {
                average: find(audit, None, mode, rule, kind)
                    .and_then(|r| Some((r.gap.value, r.gap.over_images?)))
                    .map(|(gap, over)| (gap, [over.low, over.high])),
                classes: classes
                    .iter()
                    .map(|class| find(audit, Some(class), mode, rule, kind).map(|r| r.gap.value))
                    .collect(),
            };
            rows.push(ForestRow {
                name: format!("{mode}, {rule}"),
                new_group: rule == EpochRule::Last,
                cells: kinds.iter().map(cell).collect(),
            });
        }
    }
    let panels: Vec<String> = kinds.iter().map(|kind| format!("score {kind}")).collect();
    // Without its "abnormal" or "normal", for the legend.
    let heading = audit.class_heading.rsplit(' ').next().unwrap_or_default();
    let names: Vec<String> = classes.iter().map(|class| format!("{heading} {class}")).collect();
    forest(
        &format!("{}: what the protocol adds", audit.experiment),
        "the same weights under every protocol; the honest default is running, last, l2",
        &panels,
        &names,
        &rows,
    )
}
