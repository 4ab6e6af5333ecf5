//! AUROC over loss weights: maps for two weights and a triangle for three.

use super::axis::powers;
use super::figure::{Anchor, Axis, Figure, Ink, Mark, Scale, Shape, Ticks};
use crate::text::significant;
use anyhow::{Result, ensure};

/// A weighting's position on a map of two weights, 0 or more, or in the triangle of three shares,
/// which add up to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point<const N: usize> {
    /// Where it is.
    pub at: [f64; N],
    /// Its AUROC.
    pub auroc: f64,
    /// Whether it is the paper's weighting.
    pub paper: bool,
}

const WIDTH: f64 = 640.0;

/// A map in a file.
fn file(title: &str, note: &str, figure: Figure, scale: Scale, paper: Shape) -> Result<String> {
    let legend = vec![(Ink::Main, paper, "the paper's weighting, 1 / 50 / 1".into())];
    Figure { scale: Some(scale), legend, ..figure }.to_file(title, note)
}

/// Draws a map of points on two logarithmic axes. The background is coloured by the average of the
/// points near it; points with a weight of 0 lie in strips beside it.
pub fn scatter_map(title: &str, names: [&str; 2], points: &[Point<2>]) -> Result<String> {
    ensure!(!points.is_empty(), "a figure cannot be drawn: there are no weightings");
    let scale = Scale::over(points.iter().map(|p| p.auroc));
    let axes = [0, 1].map(|a| LogAxis::over(points.iter().map(|p| p.at[a])));
    let place = |[x, y]: [f64; 2]| (axes[0].place(x), axes[1].place(y));
    let mut marks = ground(&scale, points, &axes);
    // A line beside each strip.
    let [(left, right), (bottom, top)] = [0, 1].map(|a| axes[a].range());
    let [x, y] = [0, 1].map(|a| axes[a].low);
    let strips = [[(x, bottom), (x, top)], [(left, y), (right, y)]];
    let strips = strips.into_iter().zip(&axes).filter(|(_, axis)| axis.zero);
    marks.extend(strips.map(|(line, _)| Mark::new(Shape::Line, line.to_vec(), Ink::Muted, 1.0)));
    marks.extend(marked(points, &scale, place));
    let [x, y] = [0, 1].map(|a| axes[a].axis(names[a]));
    let note = "The ground is the average of the points near it, white where there is none. Strips: a weight of 0.";
    file(title, note, Figure::new((WIDTH, 460.0), x, y, marks), scale, Shape::Ring)
}

/// Draws a map of a grid: a cell for each pair of levels with its number, the average over the
/// points in it.
pub fn grid_map(title: &str, names: [&str; 2], points: &[Point<2>]) -> Result<String> {
    ensure!(!points.is_empty(), "a figure cannot be drawn: there are no weightings");
    let levels = [0, 1].map(|a| {
        let mut levels: Vec<f64> = points.iter().map(|p| p.at[a]).collect();
        levels.sort_unstable_by(f64::total_cmp);
        levels.dedup();
        levels
    });
    let mut cells = Vec::new();
    for (column, &x) in (0..).zip(&levels[0]) {
        for (row, &y) in (0..).zip(&levels[1]) {
            let here: Vec<&Point<2>> = points.iter().filter(|p| p.at == [x, y]).collect();
            if !here.is_empty() {
                let mean = here.iter().map(|p| p.auroc).sum::<f64>() / here.len() as f64;
                let paper = here.iter().any(|p| p.paper);
                cells.push((f64::from(column), f64::from(row), mean, paper));
            }
        }
    }
    let scale = Scale::over(cells.iter().map(|c| c.2));
    let mut marks = Vec::new();
    for (x, y, mean, paper) in cells {
        let ink = scale.ink(mean);
        let square = |half: f64| [(-half, -half), (half, -half), (half, half), (-half, half)];
        let around = |half| square(half).map(|(dx, dy)| (x + dx, y + dy)).to_vec();
        marks.push(Mark::new(Shape::Area, around(0.5), ink, 0.0));
        if paper {
            marks.push(Mark::new(Shape::Frame, around(0.47), ink.beneath(), 3.0));
        }
        let number = format!("{mean:.3}");
        marks.push(Mark::text(&number, (x, y), (0.0, 0.0), ink.beneath(), Anchor::Centre));
    }
    let [x, y] = [0, 1].map(|a| {
        let levels: Vec<String> = levels[a].iter().map(|v| significant(*v, 3)).collect();
        Axis::names(names[a], &levels)
    });
    let note = "A field is the average over the third weight.";
    file(title, note, Figure::new((WIDTH, 460.0), x, y, marks), scale, Shape::Frame)
}

/// Draws three shares; at each corner, one of them is alone.
pub fn ternary(title: &str, note: &str, corners: [&str; 3], points: &[Point<3>]) -> Result<String> {
    ensure!(!points.is_empty(), "a figure cannot be drawn: there are no weightings");
    let scale = Scale::over(points.iter().map(|p| p.auroc));
    // Corners: the first on the left, the second at the top, the third on the right.
    let height = 0.75f64.sqrt();
    let place = |[_, top, right]: [f64; 3]| (right + top / 2.0, top * height);
    let text = |text: &str, shares, beside, ink, anchor| {
        Mark::text(text, place(shares), beside, ink, anchor)
    };
    let mut marks = Vec::new();
    for tick in 1..5 {
        let (a, b) = (f64::from(tick) / 5.0, 1.0 - f64::from(tick) / 5.0);
        let lines =
            [[[a, b, 0.0], [a, 0.0, b]], [[b, a, 0.0], [0.0, a, b]], [[b, 0.0, a], [0.0, b, a]]];
        let line = |ends: [[f64; 3]; 2]| ends.map(place).to_vec();
        marks.extend(lines.map(|ends| Mark::new(Shape::Line, line(ends), Ink::Grid, 1.0)));
        let percent = format!("{}", tick * 20);
        marks.extend([
            text(&percent, [b, a, 0.0], (-8.0, 0.0), Ink::Muted, Anchor::Right),
            text(&percent, [0.0, b, a], (8.0, 0.0), Ink::Muted, Anchor::Left),
            text(&percent, [a, 0.0, b], (0.0, 12.0), Ink::Muted, Anchor::Centre),
        ]);
    }
    let [first, second, third] = corners;
    let side = |name: &str| format!("% {name}");
    marks.extend([
        text(first, [1.0, 0.0, 0.0], (0.0, 30.0), Ink::Main, Anchor::Centre),
        text(second, [0.0, 1.0, 0.0], (0.0, -18.0), Ink::Main, Anchor::Centre),
        text(third, [0.0, 0.0, 1.0], (0.0, 30.0), Ink::Main, Anchor::Centre),
        text(&side(first), [0.5, 0.0, 0.5], (0.0, 30.0), Ink::Muted, Anchor::Centre),
        text(&side(second), [0.5, 0.5, 0.0], (-38.0, -6.0), Ink::Muted, Anchor::Right),
        text(&side(third), [0.0, 0.5, 0.5], (38.0, -6.0), Ink::Muted, Anchor::Left),
    ]);
    let triangle = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].map(place);
    marks.push(Mark::new(Shape::Frame, triangle.to_vec(), Ink::Main, 1.0));
    marks.extend(marked(points, &scale, place));
    // As high as an equilateral triangle needs.
    let (x, y) = (Axis::hidden((-0.1, 1.1)), Axis::hidden((-0.12, 1.0)));
    let size = (WIDTH, 32.0 + (WIDTH - 114.0) / 1.2 * 1.12);
    file(title, note, Figure::new(size, x, y, marks), scale, Shape::Ring)
}

/// The weightings' marks, with a ring around the paper's; the best are on top.
fn marked<const N: usize>(
    points: &[Point<N>],
    scale: &Scale,
    place: impl Fn([f64; N]) -> (f64, f64),
) -> Vec<Mark> {
    let mut points = points.to_vec();
    points.sort_by(|a, b| a.auroc.total_cmp(&b.auroc));
    let mark = |p: &Point<N>| {
        let ring = [(Shape::Dot, Ink::White, 13.0), (Shape::Ring, Ink::Main, 11.0)];
        let own = [(Shape::Disc, scale.ink(p.auroc), 6.0)];
        let all = ring.into_iter().filter(|_| p.paper).chain(own);
        all.map(|(shape, ink, radius)| Mark::at(shape, place(p.at), ink, radius))
            .collect::<Vec<_>>()
    };
    points.iter().flat_map(mark).collect()
}

/// Colours the map by the average of the points weighted by a Gaussian of their distance; far from
/// all points it stays white.
fn ground(scale: &Scale, points: &[Point<2>], axes: &[LogAxis; 2]) -> Vec<Mark> {
    const STEPS: usize = 36;
    // The Gaussian's standard deviation, as a fraction of each axis.
    const REACH: f64 = 0.12;
    let inside: Vec<(f64, f64, f64)> = points
        .iter()
        .filter(|p| p.at.iter().all(|&w| w > 0.0))
        .map(|p| (axes[0].part(p.at[0]), axes[1].part(p.at[1]), p.auroc))
        .collect();
    let mut marks = Vec::new();
    for (column, row) in (0..STEPS * STEPS).map(|cell| (cell / STEPS, cell % STEPS)) {
        let part = |step: usize, by: f64| (step as f64 + by) / STEPS as f64;
        let (mut sum, mut weights, mut nearest) = (0.0, 0.0, f64::INFINITY);
        for &(x, y, auroc) in &inside {
            let (dx, dy) = (x - part(column, 0.5), y - part(row, 0.5));
            let distance = (dx * dx + dy * dy) / (REACH * REACH);
            let weight = (-distance / 2.0).exp();
            sum += weight * auroc;
            weights += weight;
            nearest = nearest.min(distance);
        }
        if nearest <= 4.0 {
            // They overlap, so that there are no seams.
            let [a, b] = [-0.06, 1.06].map(|by| [part(column, by), part(row, by)]);
            let corners = [a, [b[0], a[1]], b, [a[0], b[1]]];
            let corners = corners.map(|[x, y]| (axes[0].at(x), axes[1].at(y))).to_vec();
            let ink = Ink::Pale(scale.part(sum / weights));
            marks.push(Mark::new(Shape::Area, corners, ink, 0.0));
        }
    }
    marks
}

/// A logarithmic axis, with a strip for 0 below it if needed.
struct LogAxis {
    low: f64,
    high: f64,
    zero: bool,
}

impl LogAxis {
    fn over(values: impl Iterator<Item = f64> + Clone) -> Self {
        let zero = values.clone().any(|v| v == 0.0);
        let logs: Vec<f64> = values.filter(|v| *v > 0.0).map(f64::log10).collect();
        let low = logs.iter().copied().fold(f64::INFINITY, f64::min);
        let high = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low <= high { (low, high) } else { (0.0, 0.0) };
        let pad = (0.06 * (high - low)).max(0.05);
        Self { low: low - pad, high: high + pad, zero }
    }

    /// Where a fraction of the axis without its strip is.
    fn at(&self, part: f64) -> f64 {
        self.low + part * (self.high - self.low)
    }

    /// The fraction of the axis below a value above 0.
    fn part(&self, value: f64) -> f64 {
        (value.log10() - self.low) / (self.high - self.low)
    }

    /// Where a value is: 0 in the middle of its strip.
    fn place(&self, value: f64) -> f64 {
        if value > 0.0 { value.log10() } else { self.at(-0.05) }
    }

    fn range(&self) -> (f64, f64) {
        (self.at(if self.zero { -0.1 } else { 0.0 }), self.high)
    }

    fn axis(&self, name: &str) -> Axis {
        let mut ticks = powers(self.low, self.high);
        if self.zero {
            ticks.push((self.place(0.0), "0".into()));
        }
        Axis::new(name, self.range(), Ticks::At(ticks))
    }
}

#[cfg(test)]
mod tests {
    use super::super::figure::tests::check;
    use super::*;

    #[test]
    fn maps_have_axes_legend_and_zeros() {
        let point = |x, y, auroc| Point { at: [x, y], auroc, paper: x == 1.0 };
        let points = [point(0.1, 5.0, 0.7), point(1.0, 50.0, 0.9), point(0.0, 50.0, 0.8)];
        let svg = scatter_map("w_con over w_adv", ["w_adv", "w_con"], &points).unwrap();
        check(&svg, &["w_adv", "w_con", "AUROC", "0.700", "0.900", "0.5", "the paper"]);
        check(&grid_map("t", ["w_adv", "w_con"], &points).unwrap(), &["0.1", "0.800", "50"]);
        // A single weighting has neither range nor scale.
        check(&scatter_map("t", ["a", "b"], &points[..1]).unwrap(), &["0.1"]);
        check(&grid_map("t", ["a", "b"], &points[..1]).unwrap(), &["0.700"]);
        assert!(scatter_map("t", ["a", "b"], &[]).is_err());
    }

    #[test]
    fn the_triangle_has_its_corners() {
        let point = |at, auroc| Point { at, auroc, paper: false };
        let points = [point([1.0, 0.0, 0.0], 0.5), point([0.2, 0.3, 0.5], 0.6)];
        let svg = ternary("t", "how", ["w_adv", "w_con", "w_enc"], &points).unwrap();
        check(&svg, &["w_adv", "w_con", "w_enc", "how", "AUROC"]);
    }
}
