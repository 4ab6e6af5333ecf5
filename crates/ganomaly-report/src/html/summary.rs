//! The results of an experiment: the table with the published numbers, and the heat maps.

use super::page::{
    Cell, Column, estimate_cells, estimate_columns, heat_map, interval, table, wide_figure,
};
use crate::beside;
use crate::plot::figure::{Axis, Figure, Ink, Mark, Shape, Ticks};
use crate::published::{PublishedColumn, doubts, published};
use crate::text::{self, count, distinct, mean, mean_std, plain, trainings};
use anyhow::Result;
use ganomaly_experiment::results::{Results, Setting};
use maud::{Markup, html};

/// The text below the title: the protocol and the numbers that count.
pub fn lead(results: &Results) -> Result<Markup> {
    let average = results.settings[0].average()?;
    let first = &results.settings[0];
    let mut protocols = distinct(results.runs().map(|run| run.metrics.protocol.as_str()));
    protocols.sort_unstable();
    let facts = [
        (results.runs().count(), "run"),
        (results.settings.len(), "setting"),
        (first.classes.len(), "class"),
        (first.seeds.len(), "seed"),
    ];
    Ok(html! {
        p.protocol {
            (results.dataset) " · "
            @for (at, protocol) in protocols.iter().enumerate() {
                @if at > 0 { "; " }
                (protocol)
            }
        }
        dl.facts {
            @if results.settings.len() == 1 {
                div.main { dt { "mean AUROC" } dd { (plain(average.value)) } }
                div { dt { "over test images, 95 %" } dd { (interval(average.over_images, plain)) } }
                @if let Some(std) = average.over_trainings.std {
                    div { dt { "over " (trainings(&average)) } dd { (format!("± {std:.3}")) } }
                }
            }
            @for (n, name) in facts {
                @let ending = if n == 1 { "" } else if name == "class" { "es" } else { "s" };
                div { dt { (name) (ending) } dd { (n) } }
            }
        }
        @if results.missing + results.others > 0 {
            p.unfinished {
                @if results.missing > 0 { (count(results.missing, "run")) " of the plan not finished yet. " }
                @if results.others > 0 { (count(results.others, "finished run")) " of other configs in the folder, not shown here." }
            }
        }
    })
}

/// The table of one setting, with its figure.
pub fn by_class(setting: &Setting) -> Result<Markup> {
    let columns = published(&setting.first().config.dataset)?;
    Ok(html! {
        div.pair {
            (class_table(setting, &columns)?)
            (class_figure(setting, &columns)?)
        }
        p.note { (trainings(&setting.average()?)) ". " (text::MEANING) }
        (pixels(setting)?)
        @if !columns.is_empty() { (sources(&columns)) }
    })
}

/// How well the heat maps find defects; nothing without masks.
fn pixels(setting: &Setting) -> Result<Markup> {
    let runs: Vec<_> = setting.runs.iter().map(|run| (&run.config, &run.metrics)).collect();
    let rows = beside::pixels(&runs)?;
    let Some((_, columns)) = rows.first() else { return Ok(html! {}) };
    let mut headings = vec![Column::text("anomalous class")];
    headings.extend(columns.iter().map(|(name, _)| Column::number(name)));
    let row = |(class, columns): &(String, beside::Columns)| {
        let values = columns.iter().map(|(_, value)| Cell::number(Some(*value), 3));
        std::iter::once(Cell::text(class)).chain(values).collect()
    };
    let rows: Vec<Vec<Cell>> = rows.iter().map(row).collect();
    Ok(html! {
        p { (beside::PIXELS) }
        (table("Heat maps against masks", &headings, &rows, &[]))
    })
}

/// A method's name in its usual spelling.
fn method(column: &PublishedColumn) -> String {
    column.method.replace('_', " ")
}

fn class_table(setting: &Setting, published: &[PublishedColumn]) -> Result<Markup> {
    let seeds = count(setting.seeds.len(), "seed");
    let mut columns = vec![Column::text(setting.first().config.class_heading())];
    columns.extend(estimate_columns("AUROC"));
    columns.push(Column::number("seeds"));
    columns.extend(published.iter().map(|c| Column::number(&method(c)).note(&c.caution())));
    let mut rows = Vec::new();
    for class in &setting.classes {
        let mean = setting.mean_of(class)?;
        let mut row = vec![Cell::text(class)];
        row.extend(estimate_cells(&mean, plain));
        row.push(Cell::number(Some(mean.over_trainings.seeds as f64), 0));
        row.extend(published.iter().map(|column| Cell::number(column.of(class), 3)));
        rows.push(row);
    }
    let overall = setting.average()?;
    let mut average = vec![Cell::text("average")];
    average.extend(estimate_cells(&overall, plain));
    average.push(Cell::number(Some(overall.over_trainings.seeds as f64), 0));
    average
        .extend(published.iter().map(|column| Cell::number(column.average(&setting.classes), 3)));
    let foot = if rows.len() > 1 { vec![average] } else { Vec::new() };
    let caption = if published.is_empty() {
        format!("AUROC by class over {seeds}")
    } else {
        format!(
            "AUROC by class over {seeds}, beside published numbers and how far those can be trusted"
        )
    };
    Ok(table(&caption, &columns, &rows, &foot))
}

/// One row per class: each seed, their mean and standard deviation, and the published numbers.
fn class_figure(setting: &Setting, published: &[PublishedColumn]) -> Result<Markup> {
    let (mut marks, mut lowest) = (Vec::new(), 0.5f64);
    // The method of this project has the first colour, whether or not it was published.
    let first = usize::from(published.first().is_some_and(|c| c.method != "ganomaly"));
    let columns: Vec<(&PublishedColumn, Ink)> =
        published.iter().zip((first..).map(Ink::Series)).collect();
    for (y, class) in (0..).map(f64::from).zip(&setting.classes) {
        let values = setting.aurocs(class);
        for &(column, ink) in &columns {
            if let Some(x) = column.of(class) {
                marks.push(Mark::at(Shape::Diamond, (x, y), ink, 3.5));
                lowest = lowest.min(x);
            }
        }
        let Ok(m) = ganomaly_metrics::mean_std(&values) else { continue };
        if let Some(std) = m.std {
            let bar = vec![((m.mean - std).max(0.0), y), ((m.mean + std).min(1.0), y)];
            marks.push(Mark::line(bar, Ink::Main));
        }
        marks.push(Mark::at(Shape::Dot, (m.mean, y), Ink::Main, 4.5));
        lowest = values.iter().copied().fold(lowest, f64::min);
        if values.len() > 1 {
            let seeds = values.into_iter().map(|x| (x, y - 0.28)).collect();
            marks.push(Mark::new(Shape::Dot, seeds, Ink::Main, 2.0).opacity(0.5));
        }
    }
    let low = ((lowest - 0.02) * 10.0).floor().max(0.0) / 10.0;
    let bottom = setting.classes.len() as f64 - 0.35;
    marks.insert(0, Mark::dashed(vec![(0.5, -0.65), (0.5, bottom)]));
    let x = Axis::new("AUROC", (low, 1.005), Ticks::Numbers(6));
    let mut figure = Figure::rows(430.0, 26.0, &setting.classes, x, marks);
    let here = match setting.seeds.len() {
        1 => "here",
        _ => "here: mean, one deviation, and each seed above it",
    };
    figure.legend.push((Ink::Main, Shape::Dot, here.into()));
    for (column, ink) in columns {
        let name = format!("{} ({})", method(column), column.caution());
        figure.legend.push((ink, Shape::Diamond, name));
    }
    figure.legend.push((Ink::Muted, Shape::Dashed, "chance".into()));
    let of = |class: &String| format!("{class} {}", mean_std(&setting.aurocs(class), plain));
    let said: Vec<String> = setting.classes.iter().map(of).collect();
    wide_figure(&figure, &format!("AUROC by class: {}", said.join(", ")))
}

fn sources(columns: &[PublishedColumn]) -> Markup {
    let mut sources: Vec<(&str, &str, Vec<String>)> = Vec::new();
    for column in columns {
        match sources.iter_mut().find(|(source, _, _)| *source == column.source) {
            Some((_, _, methods)) => methods.push(method(column)),
            None => sources.push((&column.source, &column.standing, vec![method(column)])),
        }
    }
    html! {
        div.sources {
            p { "Published numbers, and their standing:" }
            ul {
                @for (source, standing, methods) in sources {
                    li {
                        (methods.join(", ")) ": " (source) ". "
                        em { (standing) } " — " (meaning(standing))
                    }
                }
            }
            @for doubt in doubts(columns) { p { strong { "AUROC or AUPRC?" } " " (doubt) } }
        }
    }
}

fn meaning(standing: &str) -> &'static str {
    match standing {
        "verified" => "read in the source itself.",
        "secondary" => "read in another paper that agrees with at least one more.",
        "secondary-weak" => "read in one secondary source only, perhaps off a figure.",
        _ => "of unknown standing.",
    }
}

/// The heat map of classes and seeds.
pub fn class_by_seed(setting: &Setting) -> Markup {
    let mut columns: Vec<String> =
        setting.seeds.iter().map(|seed| format!("seed {seed}")).collect();
    let several = setting.seeds.len() > 1;
    columns.extend(several.then(|| "mean".into()));
    let rows: Vec<(String, Vec<Option<f64>>)> = setting
        .classes
        .iter()
        .map(|class| {
            let mut row: Vec<Option<f64>> =
                setting.seeds.iter().map(|&seed| setting.auroc(class, seed)).collect();
            row.extend(several.then(|| mean(&setting.aurocs(class))));
            (class.clone(), row)
        })
        .collect();
    heat_map("AUROC by class and seed", setting.first().config.class_heading(), &columns, &rows)
}

/// Every setting in one row, and the heat map of settings and classes.
pub fn settings(results: &Results) -> Result<Markup> {
    let mut columns: Vec<Column> = results.keys.iter().map(|key| Column::number(key)).collect();
    columns.extend(estimate_columns("AUROC"));
    columns.extend([
        Column::number("runs"),
        Column::number("lowest class"),
        Column::number("highest class"),
    ]);
    let rows: Vec<Vec<Cell>> = results
        .settings
        .iter()
        .map(|setting| {
            let classes: Vec<f64> =
                setting.classes.iter().filter_map(|class| mean(&setting.aurocs(class))).collect();
            let mut row: Vec<Cell> =
                setting.values.iter().map(|(_, value)| Cell::text(value)).collect();
            row.extend(estimate_cells(&setting.average()?, plain));
            row.push(Cell::number(Some(setting.runs.len() as f64), 0));
            let ends = [f64::min as fn(f64, f64) -> f64, f64::max];
            row.extend(ends.map(|end| Cell::number(classes.iter().copied().reduce(end), 3)));
            Ok(row)
        })
        .collect::<Result<_>>()?;
    let classes = distinct(results.settings.iter().flat_map(|s| s.classes.iter().cloned()));
    let heat: Vec<(String, Vec<Option<f64>>)> = results
        .settings
        .iter()
        .map(|setting| {
            let of = |class: &String| mean(&setting.aurocs(class));
            (setting.name(), classes.iter().map(of).collect())
        })
        .collect();
    Ok(html! {
        p {
            "The runs differ in " (results.keys.join(", ")) ". "
            "Each row is one setting; none is picked out by its test result. " (text::MEANING)
        }
        (table("Every setting", &columns, &rows, &[]))
        (heat_map("Mean AUROC by setting and class", "setting", &classes, &heat))
    })
}

/// The AUROC of a setting, for a heading.
pub fn headline(setting: &Setting) -> Result<String> {
    let average = setting.average()?;
    let std = average.over_trainings.std.map(|std| format!(" ± {std:.3}")).unwrap_or_default();
    Ok(format!("mean AUROC {}{std} over {}", plain(average.value), trainings(&average)))
}
