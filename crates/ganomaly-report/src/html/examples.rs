//! Test images at both ends of the scores, with their reconstructions.

use super::page::{class_name, legend};
use crate::plot::figure::Ink;
use anyhow::{Context, Result};
use base64::Engine;
use candle_core::{Device, Tensor};
use ganomaly_experiment::results::{Group, Run};
use ganomaly_experiment::run_data::{DataStore, RunData};
use ganomaly_model::{BatchNormMode, Detector, weights};
use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use maud::{Markup, html};
use std::io::Cursor;

/// Images per strip.
const EACH: usize = 6;

/// The strips of a group's classes, each from its first seed, up to `budget` bytes. What cannot be
/// shown is reported, not an error: weights and data sets are large, and a report is made without
/// them too.
pub fn examples(group: &Group, store: &DataStore, budget: &mut usize) -> Markup {
    let mut shown = Vec::new();
    let mut missing: Vec<(&str, String)> = Vec::new();
    for class in &group.classes {
        let Some(run) = group.of_class(class).next() else { continue };
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
            "Test pictures by their anomaly score, each above its reconstruction and the absolute difference of the two"
            @if group.seeds.len() > 1 { ", from the first seed of each class" }
            ". The frame tells what a picture really is; the number is its score. Reconstructions are those under running statistics."
        }
        @if !shown.is_empty() {
            (legend(&[(Ink::Normal, "frame", "normal"), (Ink::Anomalous, "frame", "anomalous")]))
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

struct Strip<'a> {
    title: &'a str,
    /// Positions in the test set.
    chosen: Vec<usize>,
}

/// The four strips of a run, or the reason why there are none.
fn of_run(run: &Run, store: &DataStore) -> Result<Markup, String> {
    let path = run.folder.join("weights.safetensors");
    if !path.is_file() {
        return Err("no pictures, since the run's weights are not there".into());
    }
    let data = store.prepare(&run.config).map_err(|_| {
        format!(
            "no pictures, since the data set {} cannot be read; --data-dir tells where it is",
            run.config.dataset
        )
    })?;
    draw(run, &path, store, &data).map_err(|e| format!("no pictures: {}", e.root_cause()))
}

fn draw(run: &Run, path: &std::path::Path, store: &DataStore, data: &RunData) -> Result<Markup> {
    let mut detector = run.config.new_detector(store.registry())?;
    detector.load_state(&weights::read_safetensors(path)?)?;
    let strips = choose(run).into_iter().map(|strip| {
        let made = reconstruct(run, &*detector, data, &strip.chosen)?;
        Ok((strip, made))
    });
    let strips = strips.collect::<Result<Vec<_>>>()?;
    Ok(html! {
        div.strips {
            @for (strip, pngs) in &strips {
                @if !pngs.is_empty() {
                    figure.strip {
                        figcaption { (strip.title) }
                        div.pictures {
                            @for (&at, png) in strip.chosen.iter().zip(pngs) {
                                @let kind = if run.anomalous[at] { "anomalous" } else { "normal" };
                                @let score = format!("{:.2e}", run.scores[at]);
                                div class={ "picture " (kind) } {
                                    img src={ "data:image/png;base64," (png) }
                                        width=(run.config.isize) height=(3 * run.config.isize + 2)
                                        alt={ "test picture " (run.pictures[at]) ", " (kind) ", score " (score)
                                              ": the picture, its reconstruction, their difference" };
                                    span { (short(run.scores[at])) }
                                }
                            }
                        }
                    }
                }
            }
        }
    })
}

/// Three significant digits.
fn short(score: f64) -> String {
    if score == 0.0 {
        return "0".into();
    }
    let digits = (2 - score.abs().log10().floor() as i32).clamp(0, 6) as usize;
    format!("{score:.digits$}")
}

/// The ends of the ranking, and the worst mistakes. Equal scores keep the test set's order.
fn choose(run: &Run) -> [Strip<'static>; 4] {
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

/// For each position a PNG in base64: the image, its reconstruction and their difference, from top
/// to bottom.
fn reconstruct(
    run: &Run,
    detector: &dyn Detector,
    data: &RunData,
    chosen: &[usize],
) -> Result<Vec<String>> {
    let (channels, size) = (data.images.shape()[0], run.config.isize);
    let each = channels * size * size;
    let mut numbers = vec![0.0; chosen.len() * each];
    for (out, &at) in numbers.chunks_exact_mut(each).zip(chosen) {
        let picture =
            data.images.image(run.pictures[at] as usize).context("a test picture is missing")?;
        data.transform.apply(picture, data.images.shape(), out)?;
    }
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let x = Tensor::from_slice(&numbers, (chosen.len(), channels, size, size), &Device::Cpu)?;
    let made = detector.reconstruct(&x, BatchNormMode::Running)?.flatten_all()?.to_vec1::<f32>()?;
    let normalization = &data.transform.normalization;
    let in_units = |values: &[f32]| -> Vec<f32> {
        let of = |(i, v): (usize, &f32)| {
            let c = i / (size * size);
            (v * normalization.std[c] + normalization.mean[c]).clamp(0.0, 1.0)
        };
        values.iter().enumerate().map(of).collect()
    };
    let pairs = numbers.chunks_exact(each).zip(made.chunks_exact(each));
    pairs.map(|(input, made)| png(&in_units(input), &in_units(made), channels, size)).collect()
}

/// `input` and `made` are `[C, S, S]` in [0, 1].
fn png(input: &[f32], made: &[f32], channels: usize, size: usize) -> Result<String> {
    let byte = |v: f32| (v * 255.0).round() as u8;
    let side = size as u32;
    let gap = 1;
    let at = |values: &[f32], c: usize, x: u32, y: u32| {
        byte(values[c.min(channels - 1) * size * size + y as usize * size + x as usize])
    };
    let error = |x: u32, y: u32| {
        let pixel = y as usize * size + x as usize;
        let differences = (0..channels)
            .map(|c| (input[c * size * size + pixel] - made[c * size * size + pixel]).abs());
        differences.sum::<f32>() / channels as f32
    };
    let height = 3 * side + 2 * gap;
    let mut bytes = Cursor::new(Vec::new());
    // Greyscale images need a third of the bytes.
    if channels == 1 {
        let mut image = GrayImage::from_pixel(side, height, Luma([128]));
        for (y, x) in (0..side * side).map(|p| (p / side, p % side)) {
            image.put_pixel(x, y, Luma([at(input, 0, x, y)]));
            image.put_pixel(x, y + side + gap, Luma([at(made, 0, x, y)]));
            image.put_pixel(x, y + 2 * (side + gap), Luma([byte(error(x, y))]));
        }
        image.write_to(&mut bytes, ImageFormat::Png)?;
    } else {
        let mut image = RgbImage::from_pixel(side, height, Rgb([128; 3]));
        for (y, x) in (0..side * side).map(|p| (p / side, p % side)) {
            image.put_pixel(x, y, Rgb([0, 1, 2].map(|c| at(input, c, x, y))));
            image.put_pixel(x, y + side + gap, Rgb([0, 1, 2].map(|c| at(made, c, x, y))));
            image.put_pixel(x, y + 2 * (side + gap), Rgb([byte(error(x, y)); 3]));
        }
        image.write_to(&mut bytes, ImageFormat::Png)?;
    }
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes.into_inner()))
}
