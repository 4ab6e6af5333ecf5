//! The page of a report: head, table of contents, sections, and the components that every section
//! uses.

use crate::plot::figure::{Entry, Figure};
use anyhow::Result;
use ganomaly_metrics::{Estimate, Interval};
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");
const SORT: &str = include_str!("sort.js");

/// A page under construction.
#[derive(Debug)]
pub struct Page {
    title: String,
    lead: Markup,
    sections: Vec<Section>,
}

#[derive(Debug)]
struct Section {
    id: String,
    title: String,
    body: Markup,
}

impl Page {
    /// A page with its title and the text below it.
    pub fn new(title: &str, lead: Markup) -> Self {
        Self { title: title.to_string(), lead, sections: Vec::new() }
    }

    /// Adds a section.
    pub fn section(&mut self, id: &str, title: &str, body: Markup) {
        self.sections.push(Section { id: id.to_string(), title: title.to_string(), body });
    }

    /// The whole document. It loads nothing from outside, and its policy forbids it.
    pub fn finish(self) -> String {
        let policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
        let document = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="generator" content=(concat!("ganomaly ", env!("CARGO_PKG_VERSION")));
                    link rel="icon" href="data:,";
                    title { (self.title) " · ganomaly" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href="#content" { "Skip to the content" }
                    div.layout {
                        nav.contents aria-label="Contents" {
                            p.contents-title { (self.title) }
                            ol {
                                @for section in &self.sections {
                                    li { a href={ "#" (section.id) } { (section.title) } }
                                }
                            }
                        }
                        main #content {
                            header.lead {
                                h1 { (self.title) }
                                (self.lead)
                            }
                            @for section in &self.sections {
                                section id=(section.id) {
                                    h2 { (section.title) }
                                    (section.body)
                                }
                            }
                        }
                    }
                    script { (PreEscaped(SORT)) }
                }
            }
        };
        document.into_string()
    }
}

/// A number for display, with its sort value.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// What is shown, as HTML.
    shown: String,
    /// The sort value, if that is not the shown text.
    value: Option<f64>,
}

impl Cell {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self { shown: html! { (text) }.into_string(), value: None }
    }

    /// Any markup.
    pub fn markup(markup: Markup) -> Self {
        Self { shown: markup.into_string(), value: None }
    }

    /// A number with the given number of decimals; a dash if there is none.
    pub fn number(value: Option<f64>, decimals: usize) -> Self {
        let shown = value.map_or_else(|| "–".into(), |v| format!("{v:.decimals$}"));
        Self { shown, value }
    }

    /// Any markup that is sorted by a number.
    pub fn sorted_by(value: Option<f64>, markup: Markup) -> Self {
        Self { shown: markup.into_string(), value }
    }
}

/// A column's heading.
#[derive(Clone, Debug)]
pub struct Column {
    /// The column's name.
    pub name: String,
    /// A note in smaller letters below.
    pub note: String,
    /// Whether it contains numbers, which are right-aligned.
    pub number: bool,
}

impl Column {
    /// A column of texts.
    pub fn text(name: &str) -> Self {
        Self { name: name.into(), note: String::new(), number: false }
    }

    /// A column of numbers.
    pub fn number(name: &str) -> Self {
        Self { name: name.into(), note: String::new(), number: true }
    }

    /// Adds a note below the name.
    pub fn note(self, note: &str) -> Self {
        Self { note: note.into(), ..self }
    }
}

/// A table that sorts by any column, in its own box that scrolls if the page is narrow. The first
/// cell of a row names it; rows of `foot` stay at the bottom.
pub fn table(caption: &str, columns: &[Column], rows: &[Vec<Cell>], foot: &[Vec<Cell>]) -> Markup {
    let class = |at: usize| columns.get(at).is_some_and(|c| c.number).then_some("number");
    let row = |cells: &Vec<Cell>| {
        html! {
            tr {
                @for (at, cell) in cells.iter().enumerate() {
                    @if at == 0 {
                        th scope="row" class=[class(at)] data-value=[cell.value] { (PreEscaped(&cell.shown)) }
                    } @else {
                        td class=[class(at)] data-value=[cell.value] { (PreEscaped(&cell.shown)) }
                    }
                }
            }
        }
    };
    let body = html! {
        thead {
            tr {
                @for column in columns {
                    th scope="col" class=[column.number.then_some("number")] {
                        span.label { (column.name) }
                        @if !column.note.is_empty() { span.note { (column.note) } }
                    }
                }
            }
        }
        tbody { @for cells in rows { (row(cells)) } }
        @if !foot.is_empty() { tfoot { @for cells in foot { (row(cells)) } } }
    };
    boxed(caption, Some("sortable"), &body)
}

/// A table in a box that scrolls if the page is narrow.
fn boxed(caption: &str, class: Option<&str>, body: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table class=[class] {
                caption { span { (caption) } }
                (body)
            }
        }
    }
}

/// Names and values, in the given order.
pub fn list(caption: &str, rows: &[(&str, Markup)]) -> Markup {
    let body = html! {
        tbody { @for (name, value) in rows { tr { th scope="row" { (name) } td { (value) } } } }
    };
    boxed(caption, None, &body)
}

/// A heat map as a table, so that it can be read, also by a screen reader.
pub fn heat_map(
    caption: &str,
    corner: &str,
    columns: &[String],
    rows: &[(String, Vec<Option<f64>>)],
) -> Markup {
    let body = html! {
        thead {
            tr {
                th scope="col" { (corner) }
                @for column in columns { th scope="col" { (column) } }
            }
        }
        tbody {
            @for (name, values) in rows {
                tr {
                    th scope="row" { (name) }
                    @for value in values { (heat_cell(*value)) }
                }
            }
        }
    };
    html! {
        figure.heat {
            (boxed(caption, None, &body))
            div.scale aria-hidden="true" { span { "0.5" } span.ramp {} span { "1.0" } }
        }
    }
}

/// The colour scale runs from chance to 1; values below chance have their own colour.
fn heat_cell(value: Option<f64>) -> Markup {
    let Some(value) = value else { return html! { td.missing { "–" } } };
    let share = ((value - 0.5) * 2.0).clamp(0.0, 1.0);
    let class = if value < 0.5 {
        "below"
    } else if share > 0.55 {
        "high"
    } else {
        "low"
    };
    html! { td class=(class) style=(format!("--share:{:.0}%", share * 100.0)) { (format!("{value:.3}")) } }
}

/// An SVG figure below its title, for a grid of many.
pub fn small_figure(title: &str, value: &str, svg: &str) -> Markup {
    html! {
        figure.small {
            figcaption { span.name { (title) } @if !value.is_empty() { span.value { (value) } } }
            (PreEscaped(svg))
        }
    }
}

/// Names and colours of the marks in figures.
pub fn legend(entries: &[Entry]) -> Markup {
    html! {
        ul.legend aria-label="Legend" {
            @for (ink, shape, name) in entries {
                li { span class={ "key " (shape.class()) " " (ink.class()) } aria-hidden="true" {} (name) }
            }
        }
    }
}

/// A figure with its legend, described in words by `label`.
pub fn wide_figure(figure: &Figure, label: &str) -> Result<Markup> {
    Ok(html! {
        figure.wide {
            (PreEscaped(figure.for_page(label)?))
            (legend(&figure.legend))
        }
    })
}

/// An interval's ends; a dash if there is none.
pub fn interval(interval: Option<Interval>, number: impl Fn(f64) -> String) -> String {
    interval.map_or_else(|| "–".into(), |i| format!("{} to {}", number(i.low), number(i.high)))
}

/// How a mean varies over trainings: its standard deviation over seeds, and its interval if there
/// is one.
pub fn over_trainings(estimate: &Estimate, number: impl Fn(f64) -> String) -> String {
    let over = estimate.over_trainings;
    match (over.std, over.interval) {
        (Some(std), None) => format!("± {std:.3}"),
        (Some(std), Some(i)) => format!("± {std:.3}, {}", interval(Some(i), number)),
        (None, _) => "one seed: not known".into(),
    }
}

/// The cells of an estimate: its value, its interval over test images, its variation over
/// trainings.
pub fn estimate_cells(estimate: &Estimate, number: impl Fn(f64) -> String) -> [Cell; 3] {
    let over = estimate.over_images;
    [
        Cell::sorted_by(Some(estimate.value), html! { strong { (number(estimate.value)) } }),
        Cell::sorted_by(over.map(|i| i.low), html! { (interval(over, &number)) }),
        Cell::sorted_by(estimate.over_trainings.std, html! { (over_trainings(estimate, &number)) }),
    ]
}

/// The columns of these cells.
pub fn estimate_columns(what: &str) -> [Column; 3] {
    [
        Column::number(what),
        Column::number("over images").note("95 % interval"),
        Column::number("over trainings").note("± std, 95 %"),
    ]
}

/// A class as a heading: a bare number gets a prefix.
pub fn class_name(class: &str) -> String {
    if class.chars().all(|c| c.is_ascii_digit()) { format!("class {class}") } else { class.into() }
}

/// A text as an element id.
pub fn slug(text: &str) -> String {
    let letters = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    let slug: String = letters.collect::<String>().to_lowercase();
    slug.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}
