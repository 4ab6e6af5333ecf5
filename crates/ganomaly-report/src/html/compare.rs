//! Two settings, run by run: a page for a [`Comparison`].

use super::page::{
    Cell, Column, Page, interval, legend, list, mean, mean_std, over_trainings, signed, slug, table,
};
use crate::compare::{Comparison, Pair, Side, compare, differing, p_value};
use crate::plot::figure::{Axis, Figure, Ink, Mark, Ticks};
use crate::text;
use crate::text::trainings;
use anyhow::Result;
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::files::write_whole;
use maud::{Markup, PreEscaped, html};
use std::path::{Path, PathBuf};

/// Writes the page that compares two sides into the results folder and returns its path.
pub fn write_comparison(a: &Side, b: &Side, results: &Path) -> Result<PathBuf> {
    let comparison = compare(a, b)?;
    let path = results.join(format!("compare-{}-with-{}.html", slug(&a.label), slug(&b.label)));
    write_whole(&path, &build(&comparison, a, b)?)?;
    Ok(path)
}

fn build(comparison: &Comparison, a: &Side, b: &Side) -> Result<String> {
    let mut page = Page::new("Comparison", lead(comparison, a, b)?);
    page.section("classes", "By class", by_class(comparison, a.config()?.class_heading())?);
    page.section("test", "All pairs", statistics(comparison));
    page.section("settings", "What differs", differences(a, b)?);
    Ok(page.finish())
}

fn lead(all: &Comparison, a: &Side, b: &Side) -> Result<Markup> {
    let difference = &all.difference;
    Ok(html! {
        p.protocol { strong { "A" } " " (all.a) " · " (a.config()?.protocol()) br; strong { "B" } " " (all.b) " · " (b.config()?.protocol()) }
        dl.facts {
            div.main { dt { "A − B, mean AUROC" } dd { (signed(difference.value)) } }
            div { dt { "over test images, 95 %" } dd { (interval(difference.over_images, signed)) } }
            @if let Some(std) = difference.over_trainings.std {
                div { dt { "over " (trainings(difference)) " a side" } dd { (format!("± {std:.3}")) } }
            }
            div { dt { "Wilcoxon p" } dd { (p_value(all.wilcoxon.p)) } }
            div { dt { "pairs" } dd { (all.pairs.len()) } }
        }
    })
}

fn by_class(all: &Comparison, class_heading: &str) -> Result<Markup> {
    let mut classes: Vec<&str> = all.pairs.iter().map(|p| p.class.as_str()).collect();
    classes.dedup();
    let of = |class: &str| -> (Vec<f64>, Vec<f64>) {
        all.pairs.iter().filter(|p| p.class == class).map(|p| (p.a, p.b)).unzip()
    };
    let columns = [
        Column::text(class_heading),
        Column::number("A").note("mean ± std over seeds"),
        Column::number("B").note("mean ± std over seeds"),
        Column::number("A − B").note("mean ± std over seeds"),
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
    let label = format!("AUROC by class of {} and {}", all.a, all.b);
    let svg = figure.svg(&label, &marks)?;
    Ok(html! {
        div.pair {
        (table("AUROC by class, over the seeds that both have", &columns, &rows, &[]))
        figure.wide {
            (PreEscaped(svg))
            (legend(&[(Ink::Series(2), "ring", &format!("A: {}", all.a)), (Ink::Series(4), "dot", &format!("B: {}", all.b))]))
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

fn statistics(all: &Comparison) -> Markup {
    let effect = &all.effect;
    let better = all.pairs.iter().filter(|Pair { a, b, .. }| a > b).count();
    let difference = &all.difference;
    let rows = [
        ("mean difference", html! { (signed(difference.value)) }),
        ("over test images, 95 %", html! { (interval(difference.over_images, signed)) }),
        ("over trainings, ± std, 95 %", html! { (over_trainings(difference, signed)) }),
        ("Hodges–Lehmann estimate", html! { (signed(effect.pseudo_median)) }),
        ("rank-biserial correlation", html! { (signed(effect.rank_biserial)) }),
        (
            "Wilcoxon signed rank, two-sided p",
            html! { (p_value(all.wilcoxon.p)) " (" (all.method()) ", " (all.wilcoxon.count) " pairs differ)" },
        ),
        ("lowest p of as many pairs", html! { (p_value(all.least_p())) }),
        ("A higher than B", html! { (better) " of " (all.pairs.len()) " pairs" }),
    ];
    html! {
        p { "Differences are A minus B, paired over class and seed. " (all.note) }
        p { (trainings(difference)) " on each side. " (text::MEANING) }
        (list("Paired comparison", &rows))
    }
}

/// The settings in which the two differ, except class and seed.
fn differences(a: &Side, b: &Side) -> Result<Markup> {
    let (left, right) = (RunConfig::table(a.config()?)?, RunConfig::table(b.config()?)?);
    let shown = |table: &toml::Table, key: &str| {
        table.get(key).map_or_else(|| "unset".into(), ToString::to_string)
    };
    let rows: Vec<Vec<Cell>> = differing(a.config()?, b.config()?)?
        .iter()
        .filter(|key| !matches!(key.as_str(), "abnormal_class" | "normal_class" | "seed"))
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
