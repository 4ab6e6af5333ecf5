//! The results of an experiment: the table with the published numbers, and the heat maps.

use super::page::{
    Cell, Column, count, estimate_cells, estimate_columns, heat_map, interval, legend, mean,
    mean_std, table,
};
use crate::plot::figure::{Axis, Figure, Ink, Mark, Ticks};
use crate::published::{PublishedColumn, doubts, published};
use crate::text;
use crate::text::{plain, trainings};
use anyhow::Result;
use ganomaly_experiment::results::{Group, Results};
use maud::{Markup, PreEscaped, html};

/// The text below the title: the protocol and the numbers that count.
pub fn lead(results: &Results) -> Result<Markup> {
    let average = results.groups[0].average()?;
    let runs = results.runs().count();
    let first = &results.groups[0];
    let mut protocols: Vec<&str> =
        results.runs().map(|run| run.metrics.protocol.as_str()).collect();
    protocols.dedup();
    protocols.sort_unstable();
    protocols.dedup();
    let facts = [
        (runs.to_string(), if runs == 1 { "run" } else { "runs" }),
        (
            results.groups.len().to_string(),
            if results.groups.len() == 1 { "setting" } else { "settings" },
        ),
        (
            first.classes.len().to_string(),
            if first.classes.len() == 1 { "class" } else { "classes" },
        ),
        (first.seeds.len().to_string(), if first.seeds.len() == 1 { "seed" } else { "seeds" }),
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
            @if results.groups.len() == 1 {
                div.main { dt { "mean AUROC" } dd { (plain(average.value)) } }
                div { dt { "over test images, 95 %" } dd { (interval(average.over_images, plain)) } }
                @if let Some(std) = average.over_trainings.std {
                    div { dt { "over " (trainings(&average)) } dd { (format!("± {std:.3}")) } }
                }
            }
            @for (value, name) in facts {
                div { dt { (name) } dd { (value) } }
            }
        }
        @if results.missing + results.others > 0 {
            p.unfinished {
                @if results.missing > 0 { (count(results.missing, "run", "runs")) " of the plan not finished yet. " }
                @if results.others > 0 { (count(results.others, "finished run", "finished runs")) " of other configs in the folder, not shown here." }
            }
        }
    })
}

/// The table of one setting, with its figure.
pub fn by_class(group: &Group) -> Result<Markup> {
    let columns = published(&group.first().config.dataset)?;
    Ok(html! {
        div.pair {
            (class_table(group, &columns)?)
            (class_figure(group, &columns)?)
        }
        p.note { (trainings(&group.average()?)) ". " (text::MEANING) }
        @if !columns.is_empty() { (sources(&columns)) }
    })
}

fn of_class(column: &PublishedColumn, class: &str) -> Option<f64> {
    column.by_class.iter().find(|(c, _)| c == class).map(|(_, v)| *v)
}

/// A method's name in its usual spelling.
fn method(column: &PublishedColumn) -> String {
    column.method.replace('_', " ")
}

fn class_table(group: &Group, published: &[PublishedColumn]) -> Result<Markup> {
    let seeds = count(group.seeds.len(), "seed", "seeds");
    let mut columns = vec![Column::text(group.class_heading())];
    columns.extend(estimate_columns("AUROC"));
    columns.push(Column::number("seeds"));
    columns.extend(published.iter().map(|c| Column::number(&method(c)).note(&c.caution())));
    let mut rows = Vec::new();
    for class in &group.classes {
        let mean = group.mean_of(class)?;
        let mut row = vec![Cell::text(class)];
        row.extend(estimate_cells(&mean, plain));
        row.push(Cell::number(Some(mean.over_trainings.seeds as f64), 0));
        row.extend(published.iter().map(|column| Cell::number(of_class(column, class), 3)));
        rows.push(row);
    }
    let overall = group.average()?;
    let mut average = vec![Cell::text("average")];
    average.extend(estimate_cells(&overall, plain));
    average.push(Cell::number(Some(overall.over_trainings.seeds as f64), 0));
    average.extend(published.iter().map(|column| {
        let all: Option<Vec<f64>> = group.classes.iter().map(|c| of_class(column, c)).collect();
        Cell::number(all.and_then(|all| mean(&all)), 3)
    }));
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
fn class_figure(group: &Group, published: &[PublishedColumn]) -> Result<Markup> {
    let last = group.classes.len() - 1;
    let mut names: Vec<String> = group.classes.clone();
    names.reverse();
    let height = |class: usize| (last - class) as f64;
    let (mut marks, mut lowest) = (Vec::new(), 0.5f64);
    let ours = published.iter().filter(|c| c.method == "ganomaly");
    let others = published.iter().filter(|c| c.method != "ganomaly");
    let columns: Vec<(&PublishedColumn, Ink)> = ours
        .map(|c| (c, Ink::Series(0)))
        .chain(others.enumerate().map(|(at, c)| (c, Ink::Series(at + 1))))
        .collect();
    for (at, class) in group.classes.iter().enumerate() {
        let y = height(at);
        let values = group.aurocs(class);
        for &(column, ink) in &columns {
            if let Some(x) = of_class(column, class) {
                marks.push(Mark::Diamond { at: (x, y), ink, radius: 3.5 });
                lowest = lowest.min(x);
            }
        }
        let Ok(m) = ganomaly_metrics::mean_std(&values) else { continue };
        if let Some(std) = m.std {
            let bar = vec![((m.mean - std).max(0.0), y), ((m.mean + std).min(1.0), y)];
            marks.push(Mark::line(bar, Ink::Main));
        }
        marks.push(Mark::Dot { at: (m.mean, y), ink: Ink::Main, radius: 4.5, opacity: 1.0 });
        if values.len() > 1 {
            marks.extend(values.iter().map(|&x| Mark::Dot {
                at: (x, y + 0.28),
                ink: Ink::Main,
                radius: 2.0,
                opacity: 0.5,
            }));
        }
        lowest = values.iter().copied().fold(lowest, f64::min);
    }
    let low = ((lowest - 0.02) * 10.0).floor().max(0.0) / 10.0;
    let chance = vec![(0.5, -0.7), (0.5, last as f64 + 0.7)];
    let chance =
        Mark::Line { points: chance, ink: Ink::Muted, width: 1.0, opacity: 1.0, dashed: true };
    marks.insert(0, chance);
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or_default() as u32;
    let figure = Figure {
        size: (430, 60 + 26 * group.classes.len() as u32),
        x: Axis { label: "AUROC", range: (low, 1.005), ticks: Ticks::Numbers(6) },
        y: Axis { label: "", range: (-0.7, last as f64 + 0.7), ticks: Ticks::Names(&names) },
        left: 14 + 7 * longest.min(16),
    };
    let said: Vec<String> = group
        .classes
        .iter()
        .map(|class| format!("{class} {}", mean_std(&group.aurocs(class))))
        .collect();
    let svg = figure.svg(&format!("AUROC by class: {}", said.join(", ")), &marks)?;
    let mut entries =
        vec![(Ink::Main, "dot", "here: mean, one deviation, and each seed above it".to_string())];
    if group.seeds.len() == 1 {
        entries[0].2 = "here".into();
    }
    for &(column, ink) in &columns {
        entries.push((ink, "diamond", format!("{} ({})", method(column), column.caution())));
    }
    entries.push((Ink::Muted, "dashed", "chance".into()));
    let entries: Vec<(Ink, &str, &str)> =
        entries.iter().map(|(ink, shape, name)| (*ink, *shape, name.as_str())).collect();
    Ok(html! {
        figure.wide {
            (PreEscaped(svg))
            (legend(&entries))
        }
    })
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
pub fn class_by_seed(group: &Group) -> Markup {
    let mut columns: Vec<String> = group.seeds.iter().map(|seed| format!("seed {seed}")).collect();
    let several = group.seeds.len() > 1;
    columns.extend(several.then(|| "mean".into()));
    let rows: Vec<(String, Vec<Option<f64>>)> = group
        .classes
        .iter()
        .map(|class| {
            let mut row: Vec<Option<f64>> =
                group.seeds.iter().map(|&seed| group.auroc(class, seed)).collect();
            row.extend(several.then(|| mean(&group.aurocs(class))));
            (class.clone(), row)
        })
        .collect();
    heat_map("AUROC by class and seed", group.class_heading(), &columns, &rows)
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
        .groups
        .iter()
        .map(|group| {
            let classes: Vec<f64> =
                group.classes.iter().filter_map(|class| mean(&group.aurocs(class))).collect();
            let mut row: Vec<Cell> =
                group.settings.iter().map(|(_, value)| Cell::text(value)).collect();
            row.extend(estimate_cells(&group.average()?, plain));
            row.push(Cell::number(Some(group.runs.len() as f64), 0));
            let ends = [f64::min as fn(f64, f64) -> f64, f64::max];
            row.extend(ends.map(|end| Cell::number(classes.iter().copied().reduce(end), 3)));
            Ok(row)
        })
        .collect::<Result<_>>()?;
    let mut classes: Vec<String> = Vec::new();
    for class in results.groups.iter().flat_map(|group| &group.classes) {
        if !classes.contains(class) {
            classes.push(class.clone());
        }
    }
    let heat: Vec<(String, Vec<Option<f64>>)> = results
        .groups
        .iter()
        .map(|group| {
            let of = |class: &String| mean(&group.aurocs(class));
            (group.name(), classes.iter().map(of).collect())
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

/// The AUROC of a group, for a heading.
pub fn headline(group: &Group) -> Result<String> {
    let average = group.average()?;
    let std = average.over_trainings.std.map(|std| format!(" ± {std:.3}")).unwrap_or_default();
    Ok(format!("mean AUROC {}{std} over {}", plain(average.value), trainings(&average)))
}
