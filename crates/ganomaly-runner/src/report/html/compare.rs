//! Two settings, run by run: paired over class and seed.

use super::audit::signed;
use super::data::{Group, Results};
use super::figures::{Axis, Figure, Ink, Mark, Ticks};
use super::page::{Cell, Column, Page, legend, list, mean, mean_std, slug, table};
use crate::files::write_whole;
use anyhow::{Context, Result, bail, ensure};
use ganomaly_metrics::{
    BootstrapOptions, PairedEffect, Wilcoxon, WilcoxonMethod, paired_effect, wilcoxon_signed_rank,
};
use maud::{Markup, PreEscaped, html};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Resamples of the interval of a mean difference.
const RESAMPLES: usize = 10_000;

/// One side of a comparison: `EXPERIMENT`, or `EXPERIMENT:KEY=VALUE,…` where it has several settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Name or folder.
    pub experiment: PathBuf,
    /// The settings that choose among several.
    pub settings: Vec<(String, String)>,
}

impl FromStr for Choice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (experiment, settings) = match text.split_once(':') {
            Some((experiment, settings)) if settings.contains('=') => (experiment, settings),
            _ => (text, ""),
        };
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').with_context(|| {
                format!("{text:?}: {part:?} is no setting; write EXPERIMENT:KEY=VALUE,KEY=VALUE")
            })?;
            Ok((key.trim().to_string(), value.trim().to_string()))
        };
        let parts = settings.split(',').filter(|part| !part.trim().is_empty());
        let settings = parts.map(pair).collect::<Result<Vec<_>>>()?;
        Ok(Self { experiment: experiment.into(), settings })
    }
}

/// A class and seed that both sides have.
struct Pair {
    class: String,
    a: f64,
    b: f64,
}

struct Side {
    name: String,
    group: Group,
}

impl Side {
    fn read(choice: &Choice, folder: &Path) -> Result<Self> {
        let results = Results::read(folder)?;
        let experiment = results.name.clone();
        let fits = |group: &Group| {
            choice.settings.iter().all(|(key, wanted)| {
                let found = group.settings.iter().find(|(k, _)| k == key).map(|(_, v)| v);
                found.is_some_and(|found| same(found, wanted))
            })
        };
        let all: Vec<String> = results.groups.iter().map(Group::name).collect();
        let (mut fitting, _): (Vec<Group>, Vec<Group>) = results.groups.into_iter().partition(fits);
        match fitting.len() {
            1 => {
                let group = fitting.remove(0);
                let name = match group.name() {
                    settings if settings.is_empty() => experiment,
                    settings => format!("{experiment}: {settings}"),
                };
                Ok(Self { name, group })
            }
            0 => bail!(
                "{}: no runs with these settings; there are {}",
                folder.display(),
                all.join("; ")
            ),
            n => bail!(
                "{}: {n} settings fit; choose one with EXPERIMENT:KEY=VALUE,… from {}",
                folder.display(),
                all.join("; ")
            ),
        }
    }
}

/// Whether two values are one: as numbers where both are.
fn same(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b.trim_matches('"'),
    }
}

/// Writes the page that compares two settings into the results' folder and returns its path.
pub fn write_comparison(
    a: (Choice, PathBuf),
    b: (Choice, PathBuf),
    results: &Path,
) -> Result<PathBuf> {
    let (a, b) = (Side::read(&a.0, &a.1)?, Side::read(&b.0, &b.1)?);
    let path = results.join(format!("compare-{}-with-{}.html", slug(&a.name), slug(&b.name)));
    write_whole(&path, &build(&a, &b)?)?;
    Ok(path)
}

fn build(a: &Side, b: &Side) -> Result<String> {
    let mut pairs = Vec::new();
    for run in &a.group.runs {
        let (class, seed) = (run.config.class(), run.config.seed());
        if let Some(other) = b.group.auroc(class, seed) {
            pairs.push(Pair { class: class.into(), a: run.metrics.auroc, b: other });
        }
    }
    ensure!(
        !pairs.is_empty(),
        "{} and {} share no class and seed: there is nothing to compare",
        a.name,
        b.name
    );
    let (left, right): (Vec<f64>, Vec<f64>) = pairs.iter().map(|p| (p.a, p.b)).unzip();
    let effect = paired_effect(
        &left,
        &right,
        BootstrapOptions { resamples: RESAMPLES, ..BootstrapOptions::default() },
    )?;
    let test = wilcoxon_signed_rank(&left, &right)?;
    let mut classes: Vec<&str> = pairs.iter().map(|p| p.class.as_str()).collect();
    classes.dedup();
    let mut page = Page::new("Comparison", lead(a, b, &effect, &test));
    page.section("classes", "By class", by_class(a, b, &pairs, &classes)?);
    page.section("test", "All pairs", statistics(a, b, &pairs, &effect, &test));
    page.section("settings", "What differs", differences(a, b)?);
    Ok(page.finish())
}

fn lead(a: &Side, b: &Side, effect: &PairedEffect, test: &Wilcoxon) -> Markup {
    html! {
        p.protocol { strong { "A" } " " (a.name) " · " (a.group.first().metrics.protocol) br; strong { "B" } " " (b.name) " · " (b.group.first().metrics.protocol) }
        dl.facts {
            div.main { dt { "A − B, mean AUROC" } dd { (signed(effect.mean)) } }
            @if let Some(interval) = effect.interval {
                div { dt { "95 % interval" } dd { (signed(interval.low)) " to " (signed(interval.high)) } }
            }
            div { dt { "Wilcoxon p" } dd { (p_value(test.p)) } }
            div { dt { "pairs" } dd { (effect.count) } }
        }
    }
}

fn p_value(p: f64) -> String {
    if p < 0.001 { format!("{p:.1e}") } else { format!("{p:.3}") }
}

fn by_class(a: &Side, b: &Side, pairs: &[Pair], classes: &[&str]) -> Result<Markup> {
    let of = |class: &str| -> (Vec<f64>, Vec<f64>) {
        pairs.iter().filter(|p| p.class == class).map(|p| (p.a, p.b)).unzip()
    };
    let columns = [
        Column::text(a.group.class_heading()),
        Column::number("A").note("mean ± std"),
        Column::number("B").note("mean ± std"),
        Column::number("A − B").note("mean ± std of pairs"),
        Column::number("pairs"),
    ];
    let mut rows = Vec::new();
    let mut marks = Vec::new();
    let mut low = 0.9f64;
    for (at, class) in classes.iter().enumerate() {
        let (left, right) = of(class);
        let gaps: Vec<f64> = right.iter().zip(&left).map(|(b, a)| a - b).collect();
        rows.push(vec![
            Cell::text(class),
            Cell::sorted_by(mean(&left), html! { (mean_std(&left)) }),
            Cell::sorted_by(mean(&right), html! { (mean_std(&right)) }),
            Cell::sorted_by(mean(&gaps), html! { strong { (gap(&gaps)) } }),
            Cell::number(Some(gaps.len() as f64), 0),
        ]);
        let y = (classes.len() - 1 - at) as f64;
        if let (Some(left), Some(right)) = (mean(&left), mean(&right)) {
            low = low.min(left).min(right);
            let bar = vec![(left, y), (right, y)];
            marks.push(Mark::Line {
                points: bar,
                ink: Ink::Muted,
                width: 2.0,
                opacity: 1.0,
                dashed: false,
            });
            marks.push(Mark::Ring { at: (left, y), ink: Ink::Series(2), radius: 4.5 });
            marks.push(Mark::Dot {
                at: (right, y),
                ink: Ink::Series(4),
                radius: 4.5,
                opacity: 1.0,
            });
        }
    }
    let names: Vec<String> = classes.iter().rev().map(ToString::to_string).collect();
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or_default() as u32;
    let last = classes.len() as f64 - 1.0;
    let figure = Figure {
        size: (430, 60 + 26 * classes.len() as u32),
        x: Axis {
            label: "AUROC, mean over seeds",
            range: (((low - 0.02) * 10.0).floor().max(0.0) / 10.0, 1.005),
            ticks: Ticks::Numbers(6),
        },
        y: Axis { label: "", range: (-0.7, last + 0.7), ticks: Ticks::Names(&names) },
        left: 14 + 7 * longest.min(16),
    };
    let label = format!("AUROC by class of {} and {}", a.name, b.name);
    let svg = figure.svg(&label, &marks)?;
    Ok(html! {
        div.pair {
        (table("AUROC by class, over the seeds that both have", &columns, &rows, &[]))
        figure.wide {
            (PreEscaped(svg))
            (legend(&[(Ink::Series(2), "ring", &format!("A: {}", a.name)), (Ink::Series(4), "dot", &format!("B: {}", b.name))]))
        }
        }
    })
}

fn gap(gaps: &[f64]) -> String {
    match ganomaly_metrics::mean_std(gaps) {
        Ok(m) => match m.std {
            Some(std) => format!("{} ± {std:.3}", signed(m.mean)),
            None => signed(m.mean),
        },
        Err(_) => "–".into(),
    }
}

fn statistics(
    a: &Side,
    b: &Side,
    pairs: &[Pair],
    effect: &PairedEffect,
    test: &Wilcoxon,
) -> Markup {
    let method = match test.method {
        WilcoxonMethod::Exact => "exact",
        WilcoxonMethod::Normal => "normal approximation",
    };
    let better = pairs.iter().filter(|p| p.a > p.b).count();
    let unpaired = a.group.runs.len() + b.group.runs.len() - 2 * pairs.len();
    let row = |name: &'static str, value: Markup| (name, value);
    let mut rows = vec![
        row("mean difference", html! { (signed(effect.mean)) }),
        row(
            "95 % interval, bootstrap over pairs",
            html! {
                @match effect.interval { Some(i) => { (signed(i.low)) " to " (signed(i.high)) } None => { "–" } }
            },
        ),
        row("Hodges–Lehmann estimate", html! { (signed(effect.pseudo_median)) }),
        row("rank-biserial correlation", html! { (signed(effect.rank_biserial)) }),
        row(
            "Wilcoxon signed rank, two-sided p",
            html! { (p_value(test.p)) " (" (method) ", " (test.count) " pairs differ)" },
        ),
        row("A higher than B", html! { (better) " of " (pairs.len()) " pairs" }),
    ];
    if unpaired > 0 {
        rows.push(row("runs without a partner, left out", html! { (unpaired) }));
    }
    html! {
        p {
            "Differences are A minus B, paired over class and seed. The pairs of one class are not independent of each other, "
            "so that a small p says less than it would for as many classes."
        }
        (list("Paired comparison", &rows))
    }
}

/// The settings in which the two differ, class and seed aside.
fn differences(a: &Side, b: &Side) -> Result<Markup> {
    let write = |side: &Side| {
        toml::Table::try_from(&side.group.first().config)
            .context("the config cannot be written as TOML")
    };
    let (left, right) = (write(a)?, write(b)?);
    let mut keys: Vec<&String> = left.keys().chain(right.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let shown = |table: &toml::Table, key: &String| {
        table.get(key).map_or_else(|| "unset".into(), ToString::to_string)
    };
    let rows: Vec<Vec<Cell>> = keys
        .into_iter()
        .filter(|key| !matches!(key.as_str(), "abnormal_class" | "normal_class" | "seed"))
        .filter(|key| left.get(*key) != right.get(*key))
        .map(|key| {
            vec![Cell::text(key), Cell::text(&shown(&left, key)), Cell::text(&shown(&right, key))]
        })
        .collect();
    Ok(html! {
        @if rows.is_empty() {
            p { "Nothing: both have the same settings." }
        } @else {
            (table("Settings that differ", &[Column::text("setting"), Column::text("A"), Column::text("B")], &rows, &[]))
        }
    })
}
