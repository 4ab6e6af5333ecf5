//! The effect of each loss weight, from `weightings.json` and the plots beside it.

use super::page::{
    Cell, Column, estimate_cells, estimate_columns, interval, legend, signed, table,
};
use crate::compare::NOT_INDEPENDENT;
use crate::plot::figure::{Axis, Figure, Ink, Mark, Ticks};
use crate::text;
use crate::text::plain;
use crate::weightings::{Setting, Weightings};
use anyhow::{Context, Result};
use base64::Engine;
use ganomaly_experiment::config::design::WEIGHTS;
use ganomaly_experiment::files::{self, read_text};
use ganomaly_metrics::Interval;
use maud::{Markup, PreEscaped, html};
use std::path::Path;

/// Reads an experiment's weightings; none if there is no such file.
pub fn read(folder: &Path) -> Result<Option<Weightings>> {
    let path = folder.join("weightings.json");
    if !path.is_file() {
        return Ok(None);
    }
    let what =
        || format!("{}: no weightings; `cargo xtask weights` writes it again", path.display());
    let text = read_text(&path)?;
    serde_json::from_str(&text).map(Some).with_context(what)
}

/// The weightings' section.
pub fn section(all: &Weightings, folder: &Path) -> Result<Markup> {
    Ok(html! {
        p {
            (all.settings.len()) " weightings (" (all.design) "), each on " (all.classes.join(", ")) " with "
            (super::page::count(all.seeds.len(), "seed", "seeds")) ", " (all.steps) " training steps a run. "
            "Each is compared with the paper's 1 / 50 / 1, paired over class and seed. With many weightings some differ by chance."
        }
        p { (text::MEANING) " " (NOT_INDEPENDENT)
        }
        (settings(all))
        h3 { "Main effects" }
        (effects(all)?)
        @let plots = plots(folder)?;
        @if !plots.is_empty() {
            h3 { "Maps" }
            div.multiples.large { @for plot in &plots { (plot) } }
        }
    })
}

fn settings(all: &Weightings) -> Markup {
    let mut columns = vec![Column::text("weighting")];
    columns.extend(WEIGHTS.map(Column::number));
    columns.extend(estimate_columns("AUROC"));
    if all.classes.len() > 1 {
        columns.extend(all.classes.iter().map(|class| Column::number(class)));
    }
    columns.extend(estimate_columns("difference to the paper's"));
    columns.push(Column::number("p").note("Wilcoxon"));
    let row = |setting: &Setting| {
        let mut row = vec![Cell::text(setting.preset.as_deref().unwrap_or("–"))];
        row.extend(setting.weights.map(|w| Cell::sorted_by(Some(w), html! { (shown(w)) })));
        row.extend(estimate_cells(&setting.auroc, plain));
        if all.classes.len() > 1 {
            row.extend(all.classes.iter().map(|class| {
                let of = setting.by_class.iter().find(|c| c.class == *class);
                Cell::number(of.map(|c| c.auroc.value), 3)
            }));
        }
        let against = setting.against_paper.as_ref();
        match against {
            Some(c) => row.extend(estimate_cells(&c.difference, signed)),
            None => row.extend([(); 3].map(|()| Cell::number(None, 3))),
        }
        let p = against.map(|c| c.wilcoxon.p);
        row.push(Cell::number(p, 3));
        row
    };
    let rows: Vec<Vec<Cell>> = all.settings.iter().map(row).collect();
    table("Every weighting", &columns, &rows, &[])
}

/// A weight with four significant digits.
fn shown(weight: f64) -> String {
    if weight == 0.0 {
        return "0".into();
    }
    let digits = (3 - weight.abs().log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{weight:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

fn effects(all: &Weightings) -> Result<Markup> {
    let mut rows: Vec<(String, f64, Option<Interval>)> = Vec::new();
    for (weight, slope) in WEIGHTS.iter().zip(all.trend.iter().flat_map(|t| &t.slopes)) {
        rows.push((format!("10 × {weight}"), slope.value, Some(slope.interval)));
    }
    let trend = rows.len();
    for level in &all.levels {
        let name = format!("{} = {}", level.weight, shown(level.value));
        rows.push((name, level.effect.value, level.effect.over_images));
    }
    if rows.is_empty() {
        return Ok(
            html! { p { "There are too few weightings above zero, or they vary too little, to tell." } },
        );
    }
    let svg = effects_figure(&rows, trend)?;
    let columns = [
        Column::text("weight"),
        Column::number("AUROC").note("for ten times the weight"),
        Column::number("over weightings").note("95 % interval"),
        Column::number("p"),
    ];
    Ok(html! {
        @if let Some(trend) = &all.trend {
            p {
                "A linear regression of mean AUROC on the logarithms of the three weights, over the " (trend.settings)
                " weightings without a zero (R² " (format!("{:.2}", trend.r_squared)) "): by how much AUROC rises with ten times a weight, the others held."
            }
            @let rows: Vec<Vec<Cell>> = WEIGHTS.iter().zip(&trend.slopes).map(|(weight, slope)| vec![
                Cell::text(weight),
                Cell::sorted_by(Some(slope.value), html! { strong { (signed(slope.value)) } }),
                Cell::sorted_by(Some(slope.interval.low), html! { (interval(Some(slope.interval), signed)) }),
                Cell::number(Some(slope.p), 3),
            ]).collect();
            (table("Trend of each weight", &columns, &rows, &[]))
        }
        @if !all.levels.is_empty() {
            p { "Each level of the grid against the average of its weight's levels, over the grid's own points, paired over everything else." }
        }
        @if !all.levels.is_empty() { (levels(all)) }
        figure.wide {
            (PreEscaped(svg))
            @if trend == 0 || all.levels.is_empty() {
                (legend(&[(Ink::Main, "dot", "effect with its 95 % interval"), (Ink::Muted, "dashed", "none")]))
            } @else {
                (legend(&[(Ink::Main, "dot", "trend, 95 % over weightings"), (Ink::Series(0), "dot", "level, 95 % over test images"), (Ink::Muted, "dashed", "none")]))
            }
        }
    })
}

fn levels(all: &Weightings) -> Markup {
    let mut columns = vec![Column::text("weight"), Column::number("level")];
    columns.extend(estimate_columns("AUROC to the mean"));
    columns.push(Column::number("blocks"));
    let rows: Vec<Vec<Cell>> = all
        .levels
        .iter()
        .map(|level| {
            let mut row = vec![
                Cell::text(&level.weight),
                Cell::sorted_by(Some(level.value), html! { (shown(level.value)) }),
            ];
            row.extend(estimate_cells(&level.effect, signed));
            row.push(Cell::number(Some(level.blocks as f64), 0));
            row
        })
        .collect();
    table("Each level of each weight", &columns, &rows, &[])
}

fn effects_figure(rows: &[(String, f64, Option<Interval>)], trend: usize) -> Result<String> {
    let names: Vec<String> = rows.iter().rev().map(|(name, _, _)| name.clone()).collect();
    let last = rows.len() as f64 - 1.0;
    let none = vec![(0.0, -0.6), (0.0, last + 0.6)];
    let mut marks =
        vec![Mark::Line { points: none, ink: Ink::Muted, width: 1.0, opacity: 1.0, dashed: true }];
    let (mut low, mut high) = (-0.01f64, 0.01f64);
    for (at, (_, value, interval)) in rows.iter().enumerate() {
        let y = last - at as f64;
        let ink = if trend == 0 || at < trend { Ink::Main } else { Ink::Series(0) };
        if let Some(i) = interval {
            marks.push(Mark::line(vec![(i.low, y), (i.high, y)], ink));
            (low, high) = (low.min(i.low), high.max(i.high));
        }
        marks.push(Mark::Dot { at: (*value, y), ink, radius: 4.0, opacity: 1.0 });
        (low, high) = (low.min(*value), high.max(*value));
    }
    let pad = (high - low) * 0.05;
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or_default() as u32;
    let figure = Figure {
        size: (430, 60 + 22 * rows.len() as u32),
        x: Axis {
            label: "difference in AUROC",
            range: (low - pad, high + pad),
            ticks: Ticks::Numbers(6),
        },
        y: Axis { label: "", range: (-0.6, last + 0.6), ticks: Ticks::Names(&names) },
        left: 14 + 7 * longest.min(20),
    };
    let said: Vec<String> =
        rows.iter().map(|(name, value, _)| format!("{name} {}", signed(*value))).collect();
    figure.svg(&format!("main effects: {}", said.join(", ")), &marks)
}

/// The folder's maps, each embedded as an image, so that nothing in it can be active.
fn plots(folder: &Path) -> Result<Vec<Markup>> {
    let pairs = WEIGHTS.iter().flat_map(|a| WEIGHTS.iter().map(move |b| (a, b)));
    let mut maps =
        vec![("ternary.svg".to_string(), "AUROC by the shares of the three weights".to_string())];
    maps.extend(pairs.map(|(a, b)| (format!("{a}-{b}.svg"), format!("AUROC by {a} and {b}"))));
    let mut plots = Vec::new();
    for (file, what) in maps {
        let path = folder.join("plots").join(file);
        if !path.is_file() {
            continue;
        }
        let svg = files::read(&path)?;
        let encoded = base64::engine::general_purpose::STANDARD.encode(svg);
        plots.push(html! {
            figure.panel { img src={ "data:image/svg+xml;base64," (encoded) } alt=(what); }
        });
    }
    Ok(plots)
}
