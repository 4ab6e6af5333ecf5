//! Small figures, one per class: ROC and precision-recall curves, score histograms, and training by
//! epoch.

use super::page::{class_name, legend, mean_std, small_figure};
use crate::plot::figure::{Axis, Figure, Ink, Mark, Ticks, thinned};
use anyhow::Result;
use ganomaly_experiment::results::{Group, Run};
use ganomaly_metrics::{precision_recall_curve, roc_curve};
use maud::{Markup, html};

const BINS: usize = 40;

fn unit(label: &str) -> Axis<'_> {
    Axis { label, range: (0.0, 1.0), ticks: Ticks::Numbers(3) }
}

/// One curve per seed; the first is drawn at full strength.
fn seeds(curves: Vec<Vec<(f64, f64)>>) -> Vec<Mark> {
    let many = curves.len() > 1;
    let line = |points| Mark::Line {
        points,
        ink: Ink::Main,
        width: 1.5,
        opacity: if many { 0.55 } else { 1.0 },
        dashed: false,
    };
    curves.into_iter().map(line).collect()
}

/// ROC curves with the diagonal of chance.
pub fn roc(group: &Group) -> Result<Markup> {
    let figure = Figure {
        size: (210, 200),
        x: unit("false positive rate"),
        y: unit("true positive rate"),
        left: 40,
    };
    let mut figures = Vec::new();
    for class in &group.classes {
        let curves = group.of_class(class).map(|run| {
            let curve = roc_curve(&run.scores, &run.anomalous)?;
            Ok(thinned(&curve.fpr, &curve.tpr, 0.006))
        });
        let mut marks = seeds(curves.collect::<Result<Vec<_>>>()?);
        marks.insert(0, chance(vec![(0.0, 0.0), (1.0, 1.0)]));
        let value = mean_std(&group.aurocs(class));
        let svg = figure.svg(&format!("ROC curve of {class}: AUROC {value}"), &marks)?;
        figures.push(small_figure(&class_name(class), &value, &svg));
    }
    Ok(html! {
        p { "How many anomalies are found, at the price of how many false alarms. " (each_seed(group)) "The number is the AUROC." }
        (legend(&[(Ink::Main, "line", "a seed"), (Ink::Muted, "dashed", "chance")]))
        (grid("small", &figures))
    })
}

/// Precision-recall curves with the fraction of anomalies, which is chance level.
pub fn precision_recall(group: &Group) -> Result<Markup> {
    let figure = Figure { size: (210, 200), x: unit("recall"), y: unit("precision"), left: 40 };
    let mut figures = Vec::new();
    for class in &group.classes {
        let curves = group.of_class(class).map(|run| {
            let curve = precision_recall_curve(&run.scores, &run.anomalous)?;
            Ok(thinned(&curve.recall, &curve.precision, 0.006))
        });
        let mut marks = seeds(curves.collect::<Result<Vec<_>>>()?);
        if let Some(run) = group.of_class(class).next() {
            let m = &run.metrics;
            let share = m.test_anomalous as f64 / (m.test_anomalous + m.test_normal) as f64;
            marks.insert(0, chance(vec![(0.0, share), (1.0, share)]));
        }
        let areas: Vec<f64> =
            group.of_class(class).map(|r| r.metrics.modes[0].last.auprc).collect();
        let value = mean_std(&areas);
        let svg = figure.svg(
            &format!("precision-recall curve of {class}: average precision {value}"),
            &marks,
        )?;
        figures.push(small_figure(&class_name(class), &value, &svg));
    }
    Ok(html! {
        p { "How many of the alarms are right, as more anomalies are found. " (each_seed(group)) "The number is the average precision." }
        (legend(&[(Ink::Main, "line", "a seed"), (Ink::Muted, "dashed", "chance: the share of anomalies")]))
        (grid("small", &figures))
    })
}

fn each_seed(group: &Group) -> &'static str {
    if group.seeds.len() > 1 { "One line a seed. " } else { "" }
}

fn chance(points: Vec<(f64, f64)>) -> Mark {
    Mark::Line { points, ink: Ink::Muted, width: 1.0, opacity: 1.0, dashed: true }
}

/// Score histograms of the first seed: another seed is another network, whose scores have another
/// scale.
pub fn histograms(group: &Group) -> Result<Markup> {
    let mut figures = Vec::new();
    let mut cut = false;
    for class in &group.classes {
        let Some(run) = group.of_class(class).next() else { continue };
        let (svg, is_cut) = histogram(run, class)?;
        cut |= is_cut;
        figures.push(small_figure(
            &class_name(class),
            &format!("seed {}", run.config.seed()),
            &svg,
        ));
    }
    Ok(html! {
        p {
            "Anomaly scores (" (group.first().config.score) ") of the test pictures; "
            "each area is drawn as a share of its own pictures. "
            @if group.seeds.len() > 1 { "The first seed of each class. " }
            @if cut { "The highest scores are left out where they would squeeze the rest, at most 0.5 %." }
        }
        (legend(&[(Ink::Normal, "area", "normal"), (Ink::Anomalous, "area", "anomalous")]))
        (grid("medium", &figures))
    })
}

fn histogram(run: &Run, class: &str) -> Result<(String, bool)> {
    let (normal, anomalous) = run.scores_by_kind();
    let mut all = run.scores.clone();
    all.sort_unstable_by(f64::total_cmp);
    let (low, highest) = (all[0], all[all.len() - 1]);
    let robust = all[(all.len() - 1) * 995 / 1000];
    let cut = highest > low + 1.3 * (robust - low) && robust > low;
    let high = if cut { robust } else { highest };
    let high = if high > low { high } else { low + 1.0 };
    let width = (high - low) / BINS as f64;
    let shares = |scores: &[f64]| {
        let mut bins = [0.0; BINS];
        for score in scores.iter().filter(|&&s| s <= high) {
            bins[(((score - low) / width) as usize).min(BINS - 1)] += 1.0 / scores.len() as f64;
        }
        bins
    };
    let kinds = [(Ink::Normal, shares(&normal)), (Ink::Anomalous, shares(&anomalous))];
    let top = kinds.iter().flat_map(|(_, bins)| bins).copied().fold(0.0, f64::max);
    let mut marks = Vec::new();
    for (ink, bins) in &kinds {
        let mut steps = vec![(low, 0.0)];
        for (at, &share) in bins.iter().enumerate() {
            let left = low + at as f64 * width;
            steps.extend([(left, share), (left + width, share)]);
        }
        steps.push((high, 0.0));
        marks.push(Mark::Area { outline: steps.clone(), ink: *ink, opacity: 0.28 });
        marks.push(Mark::Line {
            points: steps,
            ink: *ink,
            width: 1.25,
            opacity: 1.0,
            dashed: false,
        });
    }
    let figure = Figure {
        size: (270, 170),
        x: Axis { label: "anomaly score", range: (low, high), ticks: Ticks::Numbers(5) },
        y: Axis { label: "share", range: (0.0, top * 1.06), ticks: Ticks::Numbers(4) },
        left: 46,
    };
    let label = format!(
        "score histograms of {class}: {} normal and {} anomalous test pictures",
        normal.len(),
        anomalous.len()
    );
    Ok((figure.svg(&label, &marks)?, cut))
}

/// AUROC and losses by epoch.
pub fn training(group: &Group) -> Result<Markup> {
    let (mut aurocs, mut losses) = (Vec::new(), Vec::new());
    let modes: Vec<String> = group.first().config.modes().iter().map(ToString::to_string).collect();
    let names = loss_names(group.first());
    for class in &group.classes {
        let runs: Vec<&Run> = group.of_class(class).collect();
        let value = hindsight(&runs);
        aurocs.push(small_figure(&class_name(class), &value, &auroc_figure(class, &runs, &modes)?));
        losses.push(small_figure(&class_name(class), "", &loss_figure(class, &runs, &names)?));
    }
    let mut entries = vec![
        (Ink::Main, "line", modes[0].as_str()),
        (Ink::Main, "dot", "last epoch: the result"),
        (Ink::Muted, "ring", "best on test: known only in hindsight"),
    ];
    entries.extend(
        modes
            .iter()
            .enumerate()
            .skip(1)
            .map(|(at, mode)| (Ink::Series(at - 1), "line", mode.as_str())),
    );
    let loss_entries: Vec<(Ink, &str, &str)> =
        names.iter().enumerate().map(|(at, name)| (loss_ink(at), "line", name.as_str())).collect();
    Ok(html! {
        p {
            "AUROC after each epoch, by the way of scoring"
            @if group.seeds.len() > 1 { "; " (modes[0]) " for each seed, others as the mean over seeds" }
            ". The result is the last epoch's. The ring marks the epoch that would have been best on the test set: "
            "choosing it means looking at the answers, so it is shown, never used. The number is what that choice would add."
        }
        (legend(&entries))
        (grid("medium", &aurocs))
        @if !names.is_empty() {
            p {
                "Mean losses of each epoch on a logarithmic axis"
                @if group.seeds.len() > 1 { ", averaged over seeds" }
                ". What is not above 0 is left out."
            }
            (legend(&loss_entries))
            (grid("medium", &losses))
        }
    })
}

fn hindsight(runs: &[&Run]) -> String {
    let gains: Vec<f64> = runs
        .iter()
        .map(|run| run.metrics.modes[0].best_on_test.auroc - run.metrics.auroc)
        .collect();
    super::page::mean(&gains).map_or(String::new(), |gain| format!("+{gain:.3} in hindsight"))
}

/// Every loss except the two halves that another loss sums.
fn loss_names(run: &Run) -> Vec<String> {
    let wanted = |name: &&str| {
        (name.starts_with("err_") || *name == "validation_con")
            && !name.ends_with("_real")
            && !name.ends_with("_fake")
    };
    run.epochs.names().filter(wanted).map(String::from).collect()
}

/// The colour of a loss: first the series colours, then the plain ones.
fn loss_ink(at: usize) -> Ink {
    match at {
        0..5 => Ink::Series(at),
        5 => Ink::Main,
        _ => Ink::Muted,
    }
}

fn last_epoch(runs: &[&Run]) -> f64 {
    runs.iter().map(|run| run.config.epochs).max().unwrap_or(1) as f64
}

fn epoch_axis(last: f64) -> Axis<'static> {
    let pad = (last - 1.0).max(1.0) * 0.04;
    Axis { label: "epoch", range: (1.0 - pad, last + pad), ticks: Ticks::Whole(8) }
}

fn by_epoch(run: &Run, column: &str) -> Vec<(f64, f64)> {
    let epochs = run.epochs.column("epoch").unwrap_or_default();
    let values = run.epochs.column(column).unwrap_or_default();
    epochs.iter().copied().zip(values.iter().copied()).collect()
}

/// The mean over runs at each epoch that all have.
fn mean_by_epoch(runs: &[&Run], column: &str) -> Vec<(f64, f64)> {
    let all: Vec<Vec<(f64, f64)>> = runs.iter().map(|run| by_epoch(run, column)).collect();
    let common = all.iter().map(Vec::len).min().unwrap_or_default();
    (0..common)
        .map(|at| (all[0][at].0, all.iter().map(|run| run[at].1).sum::<f64>() / all.len() as f64))
        .collect()
}

fn auroc_figure(class: &str, runs: &[&Run], modes: &[String]) -> Result<String> {
    let mut marks = Vec::new();
    let opacity = if runs.len() > 1 { 0.6 } else { 1.0 };
    for (at, mode) in modes.iter().enumerate().skip(1) {
        let points = mean_by_epoch(runs, &format!("auroc_{mode}"));
        marks.push(Mark::line(points, Ink::Series(at - 1)));
    }
    for run in runs {
        let points = by_epoch(run, &format!("auroc_{}", modes[0]));
        marks.push(Mark::Line { points, ink: Ink::Main, width: 1.75, opacity, dashed: false });
    }
    let mut said = Vec::new();
    for run in runs {
        let best = run.metrics.modes[0].best_on_test;
        let last = (run.config.epochs as f64, run.metrics.auroc);
        marks.push(Mark::Dot { at: last, ink: Ink::Main, radius: 3.0, opacity: 1.0 });
        marks.push(Mark::Ring {
            at: (best.epoch as f64, best.auroc),
            ink: Ink::Muted,
            radius: 6.0,
        });
        said.push(format!(
            "seed {}: {:.3} after the last epoch, {:.3} after epoch {}, the best on test",
            run.config.seed(),
            run.metrics.auroc,
            best.auroc,
            best.epoch
        ));
    }
    let values = marks.iter().flat_map(|mark| match mark {
        Mark::Line { points, .. } => points.iter().map(|p| p.1).collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let low = values.filter(|v| v.is_finite()).fold(0.9, f64::min);
    let figure = Figure {
        size: (270, 180),
        x: epoch_axis(last_epoch(runs)),
        y: Axis {
            label: "AUROC",
            range: (((low - 0.02) * 10.0).floor() / 10.0, 1.01),
            ticks: Ticks::Numbers(5),
        },
        left: 46,
    };
    figure.svg(&format!("AUROC by epoch of {class}; {}", said.join("; ")), &marks)
}

fn loss_figure(class: &str, runs: &[&Run], names: &[String]) -> Result<String> {
    let mut marks = Vec::new();
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for (at, name) in names.iter().enumerate() {
        let points = mean_by_epoch(runs, name);
        let points: Vec<(f64, f64)> =
            points.into_iter().filter(|p| p.1 > 0.0).map(|(x, y)| (x, y.log10())).collect();
        for &(x, y) in &points {
            (low, high) = (low.min(y), high.max(y));
            marks.push(Mark::Dot { at: (x, y), ink: loss_ink(at), radius: 1.75, opacity: 1.0 });
        }
        marks.push(Mark::line(points, loss_ink(at)));
    }
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let pad = ((high - low) * 0.06).max(0.05);
    let figure = Figure {
        size: (270, 180),
        x: epoch_axis(last_epoch(runs)),
        y: Axis { label: "mean loss", range: (low - pad, high + pad), ticks: Ticks::Powers(4) },
        left: 52,
    };
    figure.svg(&format!("losses by epoch of {class}: {}", names.join(", ")), &marks)
}

/// Small figures side by side.
fn grid(size: &str, figures: &[Markup]) -> Markup {
    html! { div class={ "multiples " (size) } { @for figure in figures { (figure) } } }
}
