//! Small figures, one per class: ROC and precision-recall curves, score histograms, and training by
//! epoch.

use super::page::{class_name, legend, small_figure};
use crate::plot::curves::{self, Line, ink};
use crate::plot::figure::{Figure, Ink, Size};
use crate::text::{mean, mean_std, plain};
use anyhow::Result;
use ganomaly_experiment::record::metrics::BestOnTest;
use ganomaly_experiment::results::{Run, Setting};
use ganomaly_metrics::{precision_recall_curve, roc_curve};
use maud::{Markup, html};

const SMALL: Size = (210.0, 200.0);
const MEDIUM: Size = (270.0, 180.0);

/// Small figures side by side below their common legend.
#[derive(Default)]
struct Grid {
    legend: Markup,
    figures: Vec<Markup>,
}

impl Grid {
    /// Adds a class's figure with a value beside its name; `label` describes it in words.
    fn push(&mut self, class: &str, value: &str, figure: &Figure, label: &str) -> Result<()> {
        self.legend = legend(&figure.legend);
        self.figures.push(small_figure(&class_name(class), value, &figure.for_page(label)?));
        Ok(())
    }

    fn of_size(&self, size: &str) -> Markup {
        html! {
            (self.legend)
            div class={ "multiples " (size) } { @for figure in &self.figures { (figure) } }
        }
    }
}

/// A class's curves, one for each seed.
fn seeds(runs: &[&Run], points: impl Fn(&Run) -> Result<Vec<(f64, f64)>>) -> Result<Vec<Line>> {
    let line = |run: &&Run| Ok(Line::new("a seed", points(run)?, Ink::Main).one_of(runs.len()));
    runs.iter().map(line).collect()
}

/// ROC curves with the diagonal of chance.
pub fn roc(setting: &Setting) -> Result<Markup> {
    let mut grid = Grid::default();
    for class in &setting.classes {
        let runs: Vec<&Run> = setting.of_class(class).collect();
        let curves = seeds(&runs, |run| {
            let curve = roc_curve(&run.scores, &run.anomalous)?;
            Ok(curve.fpr.into_iter().zip(curve.tpr).collect())
        })?;
        let value = mean_std(&setting.aurocs(class), plain);
        let label = format!("ROC curve of {class}: AUROC {value}");
        grid.push(class, &value, &curves::roc(SMALL, curves), &label)?;
    }
    Ok(html! {
        p { "How many anomalies are found, at the price of how many false alarms. " (each_seed(setting)) "The number is the AUROC." }
        (grid.of_size("small"))
    })
}

/// Precision-recall curves with the share of anomalies, which is chance level.
pub fn precision_recall(setting: &Setting) -> Result<Markup> {
    let mut grid = Grid::default();
    for class in &setting.classes {
        let runs: Vec<&Run> = setting.of_class(class).collect();
        let curves = seeds(&runs, |run| {
            let curve = precision_recall_curve(&run.scores, &run.anomalous)?;
            Ok(curve.recall.into_iter().zip(curve.precision).collect())
        })?;
        let m = &runs[0].metrics;
        let share = m.test_anomalous as f64 / (m.test_anomalous + m.test_normal) as f64;
        let areas: Vec<f64> = runs.iter().map(|run| run.metrics.modes[0].last.auprc).collect();
        let value = mean_std(&areas, plain);
        let label = format!("precision-recall curve of {class}: average precision {value}");
        grid.push(class, &value, &curves::precision_recall(SMALL, curves, share), &label)?;
    }
    Ok(html! {
        p { "How many of the alarms are right, as more anomalies are found. " (each_seed(setting)) "The number is the average precision." }
        (grid.of_size("small"))
    })
}

fn each_seed(setting: &Setting) -> &'static str {
    if setting.seeds.len() > 1 { "One line a seed. " } else { "" }
}

/// Score histograms of the first seed: another seed is another network, whose scores have another
/// scale.
pub fn histograms(setting: &Setting) -> Result<Markup> {
    let (mut grid, mut any_cut) = (Grid::default(), false);
    for class in &setting.classes {
        let Some(run) = setting.of_class(class).next() else { continue };
        let (normal, anomalous) = run.scores_by_kind();
        let (figure, cut) = curves::scores(MEDIUM, "anomaly score", &normal, &anomalous);
        any_cut |= cut;
        let label = format!(
            "score histograms of {class}: {} normal and {} anomalous test images",
            normal.len(),
            anomalous.len()
        );
        grid.push(class, &format!("seed {}", run.config.seed()), &figure, &label)?;
    }
    Ok(html! {
        p {
            "Anomaly scores (" (setting.first().config.score) ") of the test images; "
            "each area is drawn as a share of its own images. "
            @if setting.seeds.len() > 1 { "The first seed of each class. " }
            @if any_cut { "The highest scores are left out where they would squeeze the rest, at most 0.5 %." }
        }
        (grid.of_size("medium"))
    })
}

/// AUROC and losses by epoch.
pub fn training(setting: &Setting) -> Result<Markup> {
    let (mut aurocs, mut losses) = (Grid::default(), Grid::default());
    let modes: Vec<String> =
        setting.first().config.modes().iter().map(ToString::to_string).collect();
    let names = loss_names(setting.first());
    for class in &setting.classes {
        let runs: Vec<&Run> = setting.of_class(class).collect();
        let (figure, label) = auroc_figure(class, &runs, &modes);
        aurocs.push(class, &hindsight(&runs), &figure, &label)?;
        let line = |(at, name): (usize, &&str)| {
            Line::new(name, mean_by_epoch(&runs, name), Ink::Series(at))
        };
        let figure = curves::losses_by_epoch(MEDIUM, names.iter().enumerate().map(line).collect());
        let label = format!("losses by epoch of {class}: {}", names.join(", "));
        losses.push(class, "", &figure, &label)?;
    }
    Ok(html! {
        p {
            "AUROC after each epoch, by the way of scoring"
            @if setting.seeds.len() > 1 { "; " (modes[0]) " for each seed, others as the mean over seeds" }
            ". The result is the last epoch's. The ring marks the epoch that would have been best on the test set: "
            "choosing it means looking at the answers, so it is shown, never used. The number is what that choice would add."
        }
        (aurocs.of_size("medium"))
        @if !names.is_empty() {
            p {
                "Mean losses of each epoch on a logarithmic axis"
                @if setting.seeds.len() > 1 { ", averaged over seeds" }
                ". What is not above 0 is left out."
            }
            (losses.of_size("medium"))
        }
    })
}

fn hindsight(runs: &[&Run]) -> String {
    let gain = |run: &&Run| run.metrics.modes[0].best_on_test.auroc - run.metrics.auroc;
    let gains: Vec<f64> = runs.iter().map(gain).collect();
    mean(&gains).map_or(String::new(), |gain| format!("+{gain:.3} in hindsight"))
}

/// Every loss except the two halves that another loss sums.
fn loss_names(run: &Run) -> Vec<&str> {
    let wanted = |name: &&str| {
        (name.starts_with("err_") || *name == "validation_con")
            && !name.ends_with("_real")
            && !name.ends_with("_fake")
    };
    run.epochs.names().filter(wanted).collect()
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

/// The figure with its description.
fn auroc_figure(class: &str, runs: &[&Run], modes: &[String]) -> (Figure, String) {
    let column = |mode: &String| format!("auroc_{mode}");
    let own = |run: &&Run| {
        Line::new(&modes[0], by_epoch(run, &column(&modes[0])), ink(0)).one_of(runs.len())
    };
    let others = modes.iter().enumerate().skip(1);
    let others =
        others.map(|(at, mode)| Line::new(mode, mean_by_epoch(runs, &column(mode)), ink(at)));
    let lines: Vec<Line> = runs.iter().map(own).chain(others).collect();
    let mut label = format!("AUROC by epoch of {class}");
    let best: Vec<BestOnTest> = runs.iter().map(|run| run.metrics.modes[0].best_on_test).collect();
    for (run, best) in runs.iter().zip(&best) {
        label += &format!(
            "; seed {}: {:.3} after the last epoch, {:.3} after epoch {}, the best on test",
            run.config.seed(),
            run.metrics.auroc,
            best.auroc,
            best.epoch
        );
    }
    (curves::auroc_by_epoch(MEDIUM, &lines, &best), label)
}
