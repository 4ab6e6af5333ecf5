//! Test images at both ends of the scores, with their reconstructions.

use super::page::{class_name, legend};
use crate::plot::figure::{Ink, Shape};
use crate::plot::reconstructions::Sample;
use crate::text::significant;
use anyhow::Result;
use base64::Engine;
use ganomaly_experiment::results::{Run, Setting};
use ganomaly_experiment::run_data::{DataStore, RunData};
use maud::{Markup, html};
use std::path::Path;

/// Images per strip.
const EACH: usize = 6;

/// The strips of a setting's classes, each from its first seed, up to `budget` bytes. What cannot
/// be shown is reported, not an error: weights and data sets are large, and a report is made
/// without them too.
pub fn examples(setting: &Setting, store: &DataStore, budget: &mut usize) -> Markup {
    let mut shown = Vec::new();
    let mut missing: Vec<(&str, String)> = Vec::new();
    for class in &setting.classes {
        let Some(run) = setting.of_class(class).next() else { continue };
        if *budget == 0 {
            missing.push((class, "left out, to keep the page small".into()));
            continue;
        }
        match of_run(run, store) {
            Ok(markup) => {
                *budget = budget.saturating_sub(markup.0.len());
                shown.push((class, run, markup));
            }
            Err(reason) => missing.push((class, reason)),
        }
    }
    html! {
        p {
            "Test images by their anomaly score, each above its reconstruction and the absolute difference of the two"
            @if setting.seeds.len() > 1 { ", from the first seed of each class" }
            ". The frame tells what an image really is; the number is its score. Reconstructions are those under running statistics."
        }
        @if !shown.is_empty() {
            (legend(&[(Ink::Normal, Shape::Frame, "normal".into()), (Ink::Anomalous, Shape::Frame, "anomalous".into())]))
        }
        @for (class, run, markup) in &shown {
            article.example {
                p.class-name { (class_name(class)) span.value { "seed " (run.config.seed()) ", AUROC " (format!("{:.3}", run.metrics.auroc)) } }
                (markup)
            }
        }
        @if !missing.is_empty() {
            ul.missing {
                @for (class, reason) in &missing { li { (class) ": " (reason) "." } }
            }
        }
    }
}

struct Strip {
    title: &'static str,
    /// Positions in the test set.
    chosen: Vec<usize>,
}

/// The four strips of a run, or the reason why there are none.
fn of_run(run: &Run, store: &DataStore) -> Result<Markup, String> {
    let path = run.folder.join("weights.safetensors");
    if !path.is_file() {
        return Err("no images, since the run's weights are not there".into());
    }
    let data = store.prepare(&run.config).map_err(|_| {
        format!("no images, since the data set {} cannot be read", run.config.dataset)
    })?;
    draw(run, &path, store, &data).map_err(|e| format!("no images: {}", e.root_cause()))
}

fn draw(run: &Run, path: &Path, store: &DataStore, data: &RunData) -> Result<Markup> {
    let strips = choose(run);
    let indices: Vec<u32> =
        strips.iter().flat_map(|strip| &strip.chosen).map(|&at| run.images[at]).collect();
    let samples = Sample::of(path, &run.config, store, data, &indices)?;
    let pngs = samples.iter().map(Sample::png).collect::<Result<Vec<_>>>()?;
    let mut pngs = pngs.iter().map(|png| base64::engine::general_purpose::STANDARD.encode(png));
    Ok(html! {
        div.strips {
            @for strip in &strips {
                @if !strip.chosen.is_empty() {
                    figure.strip {
                        figcaption { (strip.title) }
                        div.images {
                            @for &at in &strip.chosen {
                                @let kind = if run.anomalous[at] { "anomalous" } else { "normal" };
                                @let score = format!("{:.2e}", run.scores[at]);
                                div class={ "image " (kind) } {
                                    img src={ "data:image/png;base64," (pngs.next().unwrap_or_default()) }
                                        width=(run.config.isize) height=(3 * run.config.isize + 2)
                                        alt={ "test image " (run.images[at]) ", " (kind) ", score " (score)
                                              ": the image, its reconstruction, their difference" };
                                    span { (significant(run.scores[at], 3)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    })
}

/// The ends of the ranking, and the worst mistakes. Equal scores keep the test set's order.
fn choose(run: &Run) -> [Strip; 4] {
    let mut rising: Vec<usize> = (0..run.scores.len()).collect();
    rising.sort_by(|&a, &b| run.scores[a].total_cmp(&run.scores[b]));
    let of =
        |anomalous: bool| rising.iter().copied().filter(move |&at| run.anomalous[at] == anomalous);
    let (first, last) = (rising.iter().copied(), rising.iter().rev().copied());
    [
        Strip { title: "most anomalous", chosen: last.take(EACH).collect() },
        Strip { title: "least anomalous", chosen: first.take(EACH).collect() },
        Strip { title: "normal, yet scored highest", chosen: of(false).rev().take(EACH).collect() },
        Strip { title: "anomalous, yet scored lowest", chosen: of(true).take(EACH).collect() },
    ]
}
