//! An audit's files: `audit.json`, `audit.csv`, `audit.md` and `plots/audit.svg`.

use super::{Audit, AuditRow, EpochRule, MODES};
use crate::aurocs::{self, shown, shown_difference};
use crate::config::ScoringMode;
use crate::epoch_scores::KINDS;
use crate::files::{Contents, write_all};
use crate::report::forest::{ForestCell, ForestRow, forest};
use anyhow::Result;
use std::fmt::Write;
use std::path::Path;

/// Writes the files into the experiment's folder; returns the Markdown.
pub fn write(audit: &Audit, folder: &Path) -> Result<String> {
    write_all(folder, files(audit)?)?;
    Ok(markdown(audit))
}

/// Every file's name and contents.
pub(crate) fn files(audit: &Audit) -> Result<Contents> {
    let json = serde_json::to_string_pretty(audit)? + "\n";
    Ok(vec![
        ("audit.json".into(), json.into_bytes()),
        ("audit.csv".into(), csv(audit)?),
        ("audit.md".into(), markdown(audit).into_bytes()),
        ("plots/audit.svg".into(), plot(audit)?.into_bytes()),
    ])
}

/// The classes, in the order of the rows.
fn classes(audit: &Audit) -> Vec<String> {
    let mut classes: Vec<String> = audit.rows.iter().filter_map(|r| r.class.clone()).collect();
    classes.dedup();
    classes
}

fn csv(audit: &Audit) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut header = ["class", "scoring", "epoch", "score"].map(String::from).to_vec();
    header.extend(["auroc", "gap"].into_iter().flat_map(aurocs::columns));
    header.extend(["trainings", "seeds", "chosen_epochs"].map(String::from));
    csv.write_record(&header)?;
    for r in &audit.rows {
        let chosen: Vec<String> = r.chosen_epochs.iter().map(ToString::to_string).collect();
        let class = r.class.clone().unwrap_or_else(|| "average".into());
        let mut row = vec![class, r.scoring.clone(), r.epoch.to_string(), r.score.clone()];
        row.extend([&r.auroc, &r.gap].into_iter().flat_map(aurocs::cells));
        let trainings = r.auroc.over_trainings;
        row.extend([trainings.runs.to_string(), trainings.seeds.to_string(), chosen.join(" ")]);
        csv.write_record(&row)?;
    }
    Ok(csv.into_inner()?)
}

fn markdown(audit: &Audit) -> String {
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
         error of normal pictures that neither train nor test.",
        aurocs::LEGEND,
        audit.resamples,
        average.map(|row| aurocs::trainings(&row.auroc)).unwrap_or_default(),
    );
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

/// What the order of the test set alone adds.
fn order(audit: &Audit, classes: &[String]) -> String {
    let mut text = String::from(
        "\n## The order of the test set alone\n\nAUROC batch-sequential minus batch-shuffled: both use a batch's statistics.\n\n| class | epoch |",
    );
    for kind in KINDS {
        let _ = write!(text, " {kind} |");
    }
    text += "\n|---|---|---:|---:|---:|\n";
    for class in classes.iter().map(Some).chain([None]) {
        for rule in EpochRule::ALL {
            let name = class.map_or("average", String::as_str);
            let _ = write!(text, "| {name} | {rule} |");
            for kind in KINDS.map(|k| k.to_string()) {
                let found = audit.order.iter().find(|gap| {
                    gap.class.as_ref() == class && gap.epoch == rule && gap.score == kind
                });
                let cell = found.map_or("–".into(), |g| shown_difference(&g.gap));
                let _ = write!(text, " {cell} |");
            }
            text += "\n";
        }
    }
    text
}

fn section(audit: &Audit, class: Option<&String>, heading: &str) -> String {
    let mut text = format!("\n## {heading}\n\n| statistics | epoch |");
    for kind in KINDS {
        let _ = write!(text, " {kind} AUROC | {kind} gap |");
    }
    text += "\n|---|---|---:|---:|---:|---:|---:|---:|\n";
    for mode in MODES {
        for rule in EpochRule::ALL {
            let _ = write!(text, "| {mode} | {rule} |");
            for kind in KINDS {
                let row = find(audit, class, mode, rule, &kind.to_string());
                let _ = match row {
                    Some(row) => write!(text, " {} | {} |", shown(&row.auroc), gap(row)),
                    None => write!(text, " – | – |"),
                };
            }
            text += "\n";
        }
    }
    text
}

fn find<'a>(
    audit: &'a Audit,
    class: Option<&String>,
    mode: ScoringMode,
    rule: EpochRule,
    score: &str,
) -> Option<&'a AuditRow> {
    let mode = mode.to_string();
    audit.rows.iter().find(|r| {
        r.class.as_ref() == class && r.scoring == mode && r.epoch == rule && r.score == score
    })
}

fn gap(row: &AuditRow) -> String {
    let honest = row.scoring == MODES[0].to_string() && row.epoch == EpochRule::Last;
    if honest && row.score == KINDS[0].to_string() {
        return "the default".into();
    }
    shown_difference(&row.gap)
}

fn plot(audit: &Audit) -> Result<String> {
    let classes = classes(audit);
    let mut rows = Vec::new();
    for mode in MODES {
        for rule in EpochRule::ALL {
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
                cells: KINDS.iter().map(|k| cell(&k.to_string())).collect(),
            });
        }
    }
    let panels = KINDS.map(|kind| format!("score {kind}"));
    let names: Vec<String> =
        classes.iter().map(|class| format!("{} {class}", short(&audit.class_heading))).collect();
    forest(
        &format!("{}: what the protocol adds", audit.experiment),
        "the same weights under every protocol; the honest default is running, last, l2",
        &panels,
        &names,
        &rows,
    )
}

/// Without its "abnormal" or "normal", for a legend.
fn short(heading: &str) -> &str {
    heading.rsplit(' ').next().unwrap_or(heading)
}
