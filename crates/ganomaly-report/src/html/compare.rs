//! Two settings, run by run: a page for a [`Comparison`].

use super::page::{Cell, Column, Page, interval, list, over_trainings, slug, table, wide_figure};
use crate::compare::{Comparison, Pair, Side, compare, differing};
use crate::plot::figure::{Axis, Figure, Ink, Mark, Shape, Ticks};
use crate::text::{self, mean, mean_std, p_value, plain, signed, trainings};
use anyhow::Result;
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::files::write_whole;
use ganomaly_experiment::results::WITHIN_A_SETTING;
use maud::{Markup, html};
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
    for (y, class) in (0..).map(f64::from).zip(&classes) {
        let (left, right) = of(class);
        let gaps: Vec<f64> = right.iter().zip(&left).map(|(b, a)| a - b).collect();
        rows.push(vec![
            Cell::text(class),
            Cell::sorted_by(mean(&left), html! { (mean_std(&left, plain)) }),
            Cell::sorted_by(mean(&right), html! { (mean_std(&right, plain)) }),
            Cell::sorted_by(mean(&gaps), html! { strong { (mean_std(&gaps, signed)) } }),
            Cell::number(Some(gaps.len() as f64), 0),
        ]);
        if let (Some(left), Some(right)) = (mean(&left), mean(&right)) {
            low = low.min(left).min(right);
            let bar = vec![(left, y), (right, y)];
            marks.push(Mark::new(Shape::Line, bar, Ink::Muted, 2.0));
            marks.push(Mark::at(Shape::Ring, (left, y), Ink::Series(2), 4.5));
            marks.push(Mark::at(Shape::Dot, (right, y), Ink::Series(4), 4.5));
        }
    }
    let range = (((low - 0.02) * 10.0).floor().max(0.0) / 10.0, 1.005);
    let x = Axis::new("AUROC, mean over seeds", range, Ticks::Numbers(6));
    let legend = vec![
        (Ink::Series(2), Shape::Ring, format!("A: {}", all.a)),
        (Ink::Series(4), Shape::Dot, format!("B: {}", all.b)),
    ];
    let figure = Figure::rows(430.0, 26.0, &classes, x, marks).legend(legend);
    Ok(html! {
        div.pair {
            (table("AUROC by class, over the seeds that both have", &columns, &rows, &[]))
            (wide_figure(&figure, &format!("AUROC by class of {} and {}", all.a, all.b))?)
        }
    })
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
        .filter(|key| !WITHIN_A_SETTING.contains(&key.as_str()))
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
