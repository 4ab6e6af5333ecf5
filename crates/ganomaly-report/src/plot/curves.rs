//! The curves of runs: ROC and precision-recall curves, score histograms, and training by epoch.
//! The report shows those of each class, the files of a run its own.

use super::figure::{Axis, Entry, Figure, Ink, Mark, Shape, Size, Ticks};
use ganomaly_experiment::record::metrics::BestOnTest;

const BINS: usize = 40;

/// A named line through points; lines with the same name have one entry in the legend.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    pub ink: Ink,
    pub opacity: f64,
    pub shape: Shape,
}

impl Line {
    /// A solid line.
    pub fn new(name: &str, points: Vec<(f64, f64)>, ink: Ink) -> Self {
        Self { name: name.into(), points, ink, opacity: 1.0, shape: Shape::Line }
    }

    /// One of `count` lines of the same kind: translucent, if there are several.
    pub fn one_of(self, count: usize) -> Self {
        Self { opacity: if count > 1 { 0.6 } else { 1.0 }, ..self }
    }

    fn mark(&self) -> Mark {
        Mark::new(self.shape, self.points.clone(), self.ink, 1.75).opacity(self.opacity)
    }
}

/// The ink of the first, second, … of several lines.
pub fn ink(index: usize) -> Ink {
    if index == 0 { Ink::Main } else { Ink::Series(index - 1) }
}

/// The marks of lines, the first on top, and the legend.
fn drawn(lines: &[Line]) -> (Vec<Mark>, Vec<Entry>) {
    let mut legend: Vec<Entry> = Vec::new();
    for line in lines {
        if legend.iter().all(|(.., name)| *name != line.name) {
            legend.push((line.ink, line.shape, line.name.clone()));
        }
    }
    (lines.iter().rev().map(Line::mark).collect(), legend)
}

/// ROC curves with the diagonal of chance.
pub fn roc(size: Size, curves: Vec<Line>) -> Figure {
    let chance = ("chance", [(0.0, 0.0), (1.0, 1.0)]);
    rates(size, ["false positive rate", "true positive rate"], curves, chance)
}

/// Precision-recall curves with the share of anomalies, which is chance level.
pub fn precision_recall(size: Size, curves: Vec<Line>, share: f64) -> Figure {
    let chance = ("chance: the share of anomalies", [(0.0, share), (1.0, share)]);
    rates(size, ["recall", "precision"], curves, chance)
}

fn rates(
    size: Size,
    names: [&str; 2],
    mut curves: Vec<Line>,
    (name, chance): (&str, [(f64, f64); 2]),
) -> Figure {
    for curve in &mut curves {
        curve.points = thinned(&curve.points, 1.25 / size.0);
    }
    let (mut marks, mut legend) = drawn(&curves);
    marks.insert(0, Mark::dashed(chance.to_vec()));
    legend.push((Ink::Muted, Shape::Dashed, name.into()));
    let ticks = if size.0 < 300.0 { 2 } else { 5 };
    let [x, y] = names.map(|name| Axis::new(name, (0.0, 1.0), Ticks::Numbers(ticks)));
    Figure::new(size, x, y, marks).legend(legend)
}

/// Thins a curve to points that are at least `step` apart in one direction; its ends are kept.
fn thinned(points: &[(f64, f64)], step: f64) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for (at, &(x, y)) in points.iter().enumerate() {
        let far = |last: &(f64, f64)| (last.0 - x).abs() >= step || (last.1 - y).abs() >= step;
        if at + 1 == points.len() || kept.last().is_none_or(far) {
            kept.push((x, y));
        }
    }
    kept
}

/// Histograms of the scores of normal and of anomalous images, as [`histograms`].
pub fn scores(size: Size, label: &str, normal: &[f64], anomalous: &[f64]) -> (Figure, bool) {
    let kinds = [("normal", Ink::Normal, normal), ("anomalous", Ink::Anomalous, anomalous)];
    histograms(size, label, &kinds)
}

/// Histograms with common bins, each as a share of its own images; and whether the highest scores,
/// at most 0.5 %, are left out, since they would squeeze the rest.
pub fn histograms(size: Size, label: &str, kinds: &[(&str, Ink, &[f64])]) -> (Figure, bool) {
    let mut all: Vec<f64> = kinds.iter().flat_map(|(.., scores)| *scores).copied().collect();
    all.sort_unstable_by(f64::total_cmp);
    let (low, highest) =
        (all.first().copied().unwrap_or_default(), all.last().copied().unwrap_or_default());
    let robust = all.get(all.len().saturating_sub(1) * 995 / 1000).copied().unwrap_or(highest);
    let cut = highest > low + 1.3 * (robust - low) && robust > low;
    let high = if cut { robust } else { highest };
    let high = if high > low { high } else { low + 1.0 };
    let width = (high - low) / BINS as f64;
    let (mut marks, mut legend, mut top) = (Vec::new(), Vec::new(), 0.0f64);
    for &(name, ink, scores) in kinds {
        let mut bins = [0.0; BINS];
        for score in scores.iter().filter(|&&s| s <= high) {
            bins[(((score - low) / width) as usize).min(BINS - 1)] += 1.0 / scores.len() as f64;
        }
        let mut outline = vec![(low, 0.0)];
        for (at, &share) in bins.iter().enumerate() {
            let left = low + at as f64 * width;
            outline.extend([(left, share), (left + width, share)]);
            top = top.max(share);
        }
        outline.push((high, 0.0));
        marks.push(Mark::new(Shape::Area, outline.clone(), ink, 0.0).opacity(0.28));
        marks.push(Mark::new(Shape::Line, outline, ink, 1.25));
        legend.push((ink, Shape::Area, name.to_string()));
    }
    let x = Axis::new(label, (low, high), Ticks::Numbers(5));
    let y = Axis::new("share of images", (0.0, top.max(1e-3) * 1.06), Ticks::Numbers(5));
    (Figure::new(size, x, y, marks).legend(legend), cut)
}

/// AUROC after each epoch. The first lines are of one run each: a dot marks its result, and a ring
/// its best epoch on the test set.
pub fn auroc_by_epoch(size: Size, lines: &[Line], best: &[BestOnTest]) -> Figure {
    let (mut marks, mut legend) = drawn(lines);
    let last = lines.iter().take(best.len()).filter_map(|line| line.points.last().copied());
    let best = best.iter().map(|best| (best.epoch as f64, best.auroc)).collect();
    marks.push(Mark::new(Shape::Dot, last.collect(), Ink::Main, 3.0));
    marks.push(Mark::new(Shape::Ring, best, Ink::Muted, 6.0));
    legend.insert(1, (Ink::Main, Shape::Dot, "last epoch: the result".into()));
    legend.insert(2, (Ink::Muted, Shape::Ring, "best on test: known only in hindsight".into()));
    let values = lines.iter().flat_map(|line| &line.points).map(|p| p.1);
    let low = values.filter(|v| v.is_finite()).fold(0.9, f64::min);
    let range = (((low - 0.02) * 10.0).floor() / 10.0, 1.01);
    let y = Axis::new("AUROC", range, Ticks::Numbers(6));
    Figure::new(size, epochs(lines), y, marks).legend(legend)
}

/// Mean losses by epoch on a logarithmic axis; what is not above 0 is left out.
pub fn losses_by_epoch(size: Size, mut lines: Vec<Line>) -> Figure {
    for line in &mut lines {
        line.points.retain(|p| p.1 > 0.0 && p.1.is_finite());
        line.points.iter_mut().for_each(|p| p.1 = p.1.log10());
    }
    let (mut marks, legend) = drawn(&lines);
    marks.extend(lines.iter().map(|l| Mark::new(Shape::Dot, l.points.clone(), l.ink, 1.75)));
    let values = lines.iter().flat_map(|line| &line.points).map(|p| p.1);
    let (low, high) =
        (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let pad = ((high - low) * 0.06).max(0.05);
    let y = Axis::new("mean loss", (low - pad, high + pad), Ticks::Powers);
    Figure::new(size, epochs(&lines), y, marks).legend(legend)
}

fn epochs(lines: &[Line]) -> Axis {
    let last = lines.iter().flat_map(|line| &line.points).map(|p| p.0).fold(1.0, f64::max);
    let pad = (last - 1.0).max(1.0) * 0.04;
    Axis::new("epoch", (1.0 - pad, last + pad), Ticks::Whole(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = (400.0, 300.0);

    fn check(figure: &Figure, words: &[&str]) {
        super::super::figure::tests::check(&figure.to_file("t", "").unwrap(), words);
    }

    #[test]
    fn rates_are_thinned_and_keep_their_ends() {
        let points: Vec<(f64, f64)> =
            (0..=9000).map(|i| f64::from(i) / 9000.0).map(|v| (v, v)).collect();
        let thin = thinned(&points, 0.01);
        assert!(thin.len() < 110);
        assert_eq!((thin[0], thin[thin.len() - 1]), ((0.0, 0.0), (1.0, 1.0)));
        let figure = roc(SIZE, vec![Line::new("running: AUROC 0.500", points, Ink::Main)]);
        check(&figure, &["running: AUROC 0.500", "false positive rate", "chance"]);
    }

    #[test]
    fn the_highest_scores_may_be_left_out() {
        let normal: Vec<f64> = (0..500).map(|i| f64::from(i) / 500.0).chain([1e6]).collect();
        let (figure, cut) = scores(SIZE, "score", &normal, &[0.5]);
        check(&figure, &["normal", "anomalous", "score"]);
        assert!(cut);
        let (figure, cut) = scores(SIZE, "score", &[1.0], &[1.0]);
        check(&figure, &["normal"]);
        assert!(!cut);
    }

    #[test]
    fn training_may_have_losses_that_are_not_numbers() {
        let line = Line::new("err_g", vec![(1.0, 0.02), (2.0, f64::NAN), (3.0, -1.0)], ink(1));
        let best = BestOnTest { epoch: 1, auroc: 0.9 };
        check(
            &auroc_by_epoch(SIZE, std::slice::from_ref(&line), &[best]),
            &["err_g", "best on test"],
        );
        check(&losses_by_epoch(SIZE, vec![line]), &["err_g", "0.02"]);
        check(&losses_by_epoch(SIZE, Vec::new()), &["mean loss"]);
    }
}
