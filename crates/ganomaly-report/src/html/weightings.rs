//! The effect of each loss weight, from `weightings.json` and the plots beside it.

use super::page::{Cell, Column, estimate_cells, estimate_columns, interval, table, wide_figure};
use crate::compare::NOT_INDEPENDENT;
use crate::plot::figure::{Ink, Shape};
use crate::plot::forest::{Difference, differences};
use crate::text::{self, count, plain, signed, significant};
use crate::weightings::{Level, Weighting, Weightings};
use anyhow::Result;
use base64::Engine;
use ganomaly_experiment::config::design::WEIGHTS;
use ganomaly_experiment::files;
use maud::{Markup, html};
use std::path::Path;

/// The weightings' section.
pub fn section(all: &Weightings, folder: &Path) -> Result<Markup> {
    Ok(html! {
        p {
            (all.settings.len()) " weightings (" (all.design) "), each on " (all.classes.join(", ")) " with "
            (count(all.seeds.len(), "seed")) ", " (all.steps) " training steps a run. "
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
    let row = |setting: &Weighting| {
        let mut row = vec![Cell::text(setting.preset.as_deref().unwrap_or("–"))];
        row.extend(
            setting.weights.map(|w| Cell::sorted_by(Some(w), html! { (significant(w, 4)) })),
        );
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

fn effects(all: &Weightings) -> Result<Markup> {
    let mut rows: Vec<Difference> = Vec::new();
    for (weight, slope) in WEIGHTS.iter().zip(all.trend.iter().flat_map(|t| &t.slopes)) {
        rows.push(Difference {
            name: format!("10 × {weight}"),
            value: slope.value,
            interval: Some(slope.interval),
            ink: Ink::Main,
        });
    }
    let legend = [
        (!rows.is_empty(), Ink::Main, Shape::Dot, "trend, 95 % over weightings"),
        (!all.levels.is_empty(), Ink::Series(0), Shape::Dot, "level, 95 % over test images"),
        (true, Ink::Muted, Shape::Dashed, "none"),
    ];
    let legend = legend.into_iter().filter(|(there, ..)| *there);
    let legend = legend.map(|(_, ink, shape, name)| (ink, shape, name.to_string())).collect();
    rows.extend(all.levels.iter().map(|level| Difference {
        name: format!("{} = {}", level.weight, significant(level.value, 4)),
        value: level.effect.value,
        interval: level.effect.over_images,
        ink: Ink::Series(0),
    }));
    if rows.is_empty() {
        return Ok(
            html! { p { "There are too few weightings above zero, or they vary too little, to tell." } },
        );
    }
    let figure = differences(430.0, 22.0, "difference in AUROC", &rows).legend(legend);
    let said: Vec<String> =
        rows.iter().map(|d| format!("{} {}", d.name, signed(d.value))).collect();
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
            (levels(all))
        }
        (wide_figure(&figure, &format!("main effects: {}", said.join(", ")))?)
    })
}

fn levels(all: &Weightings) -> Markup {
    let mut columns = vec![Column::text("weight"), Column::number("level")];
    columns.extend(estimate_columns("AUROC to the mean"));
    columns.push(Column::number("blocks"));
    let row = |level: &Level| {
        let value = html! { (significant(level.value, 4)) };
        let mut row = vec![Cell::text(&level.weight), Cell::sorted_by(Some(level.value), value)];
        row.extend(estimate_cells(&level.effect, signed));
        row.push(Cell::number(Some(level.blocks as f64), 0));
        row
    };
    let rows: Vec<Vec<Cell>> = all.levels.iter().map(row).collect();
    table("Each level of each weight", &columns, &rows, &[])
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
