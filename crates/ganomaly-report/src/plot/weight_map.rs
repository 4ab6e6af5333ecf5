//! AUROC over loss weights: maps for two weights and a triangle for three.

use super::canvas::{At, Canvas, GREY, INK, LIGHT, Scale, svg, thinned};
use anyhow::{Result, ensure};
use plotters::style::{BLACK, RGBColor, WHITE};

/// A weighting's position on a map of two weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapPoint {
    /// The two weights, 0 or more.
    pub weights: [f64; 2],
    /// Its AUROC.
    pub auroc: f64,
    /// Whether it is the paper's weighting.
    pub paper: bool,
}

/// A weighting's position in the triangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TernaryPoint {
    /// Shares of the three corners, which add up to 1.
    pub shares: [f64; 3],
    /// Its AUROC.
    pub auroc: f64,
    /// Whether it is the paper's weighting.
    pub paper: bool,
}

const SIZE: (u32, u32) = (640, 540);
/// The plot area of a map: left, top, right, bottom.
const FIELD: [f64; 4] = [112.0, 64.0, 510.0, 420.0];
/// Width of the strip for weights of 0.
const STRIP: f64 = 26.0;
/// Standard deviation of the smoothing kernel of the coloured background, as a fraction of each
/// axis.
const REACH: f64 = 0.12;

/// Draws a map of points on two logarithmic axes. The background is coloured by the average of the
/// points near it; points with a weight of 0 lie in strips beside it.
pub fn scatter_map(title: &str, names: [&str; 2], points: &[MapPoint]) -> Result<String> {
    ensure!(!points.is_empty(), "a plot cannot be drawn: no weightings");
    let scale = Scale::over(points.iter().map(|p| p.auroc));
    let [left, top, right, bottom] = FIELD;
    let axes = [0, 1].map(|a| LogAxis::over(points.iter().map(|p| p.weights[a])));
    let x = |v: f64| if v > 0.0 { left + axes[0].part(v) * (right - left) } else { left - STRIP };
    let y = |v: f64| {
        if v > 0.0 { bottom - axes[1].part(v) * (bottom - top) } else { bottom + STRIP }
    };
    svg(SIZE, |canvas| {
        heading(
            canvas,
            title,
            "The ground is the average of the points near it, white where there is none. Strips: a weight of 0.",
        )?;
        ground(canvas, &scale, points, &axes)?;
        let zero = |a: usize| points.iter().any(|p| p.weights[a] == 0.0);
        // The numbers are beyond the strip for 0, if there is one.
        let beyond = |a: usize| if zero(a) { 2.0 * STRIP - 4.0 } else { 14.0 };
        for at in axes[0].ticks() {
            canvas.line(&[(x(at), top), (x(at), bottom)], LIGHT, 1)?;
            canvas.text((x(at), bottom + beyond(1)), &number(at), 12.0, INK, At::Centre)?;
        }
        for at in axes[1].ticks() {
            canvas.line(&[(left, y(at)), (right, y(at))], LIGHT, 1)?;
            canvas.text((left - beyond(0) + 4.0, y(at)), &number(at), 12.0, INK, At::Right)?;
        }
        canvas.frame((left, top), (right, bottom), GREY)?;
        if zero(0) {
            canvas.text((left - STRIP, bottom + beyond(1)), "0", 12.0, INK, At::Centre)?;
            let edges = (left - 1.6 * STRIP, left - 0.4 * STRIP);
            canvas.frame((edges.0, top), (edges.1, bottom), LIGHT)?;
        }
        if zero(1) {
            canvas.text((left - beyond(0) + 4.0, bottom + STRIP), "0", 12.0, INK, At::Right)?;
            let edges = (bottom + 0.4 * STRIP, bottom + 1.6 * STRIP);
            canvas.frame((left, edges.0), (right, edges.1), LIGHT)?;
        }
        axis_names(canvas, names)?;
        for p in in_order(points, |p| p.auroc) {
            let at = (x(p.weights[0]), y(p.weights[1]));
            canvas.disc(at, 6, scale.colour(p.auroc))?;
            if p.paper {
                mark(canvas, at)?;
            }
        }
        canvas.legend(&scale, (right + 34.0, top + 20.0), 260.0, "AUROC")
    })
}

/// Draws a map of a grid: a cell for each pair of levels with its number, the average over the
/// points in it.
pub fn grid_map(title: &str, names: [&str; 2], points: &[MapPoint]) -> Result<String> {
    ensure!(!points.is_empty(), "a plot cannot be drawn: no weightings");
    let levels = [0, 1].map(|a| {
        let mut levels: Vec<f64> = points.iter().map(|p| p.weights[a]).collect();
        levels.sort_unstable_by(f64::total_cmp);
        levels.dedup();
        levels
    });
    let mut cells = Vec::new();
    for (column, &x) in levels[0].iter().enumerate() {
        for (row, &y) in levels[1].iter().enumerate() {
            let here: Vec<&MapPoint> = points.iter().filter(|p| p.weights == [x, y]).collect();
            if !here.is_empty() {
                let mean = here.iter().map(|p| p.auroc).sum::<f64>() / here.len() as f64;
                cells.push((column, row, mean, here.iter().any(|p| p.paper)));
            }
        }
    }
    let scale = Scale::over(cells.iter().map(|c| c.2));
    let [left, top, right, bottom] = FIELD;
    let (wide, high) =
        ((right - left) / levels[0].len() as f64, (bottom - top) / levels[1].len() as f64);
    svg(SIZE, |canvas| {
        heading(canvas, title, "A field is the average over the third weight.")?;
        for &(column, row, mean, paper) in &cells {
            let corner = (left + column as f64 * wide, bottom - row as f64 * high);
            let colour = scale.colour(mean);
            canvas.rectangle(corner, (corner.0 + wide, corner.1 - high), colour)?;
            let centre = (corner.0 + wide / 2.0, corner.1 - high / 2.0);
            canvas.text(centre, &format!("{mean:.3}"), 13.0, readable_on(colour), At::Centre)?;
            if paper {
                let inset = 3.0;
                let (a, b) = (
                    (corner.0 + inset, corner.1 - inset),
                    (corner.0 + wide - inset, corner.1 - high + inset),
                );
                canvas.line(&[a, (b.0, a.1), b, (a.0, b.1), a], readable_on(colour), 3)?;
            }
        }
        canvas.frame((left, top), (right, bottom), GREY)?;
        for (i, level) in levels[0].iter().enumerate() {
            let at = (left + (i as f64 + 0.5) * wide, bottom + 16.0);
            canvas.text(at, &number(*level), 12.0, INK, At::Centre)?;
        }
        for (i, level) in levels[1].iter().enumerate() {
            let at = (left - 10.0, bottom - (i as f64 + 0.5) * high);
            canvas.text(at, &number(*level), 12.0, INK, At::Right)?;
        }
        axis_names(canvas, names)?;
        canvas.legend(&scale, (right + 34.0, top + 20.0), 260.0, "AUROC")
    })
}

/// Draws three shares; at each corner, one of them is alone.
pub fn ternary(
    title: &str,
    note: &str,
    corners: [&str; 3],
    points: &[TernaryPoint],
) -> Result<String> {
    ensure!(!points.is_empty(), "a plot cannot be drawn: no weightings");
    let scale = Scale::over(points.iter().map(|p| p.auroc));
    // Corners: the second at the top, the first on the left, the third on the right.
    let (left, right, base, apex) = (70.0, 500.0, 458.0, 92.0);
    let corner = [(left, base), (f64::midpoint(left, right), apex), (right, base)];
    let place = |shares: [f64; 3]| {
        let along = |of: fn(&(f64, f64)) -> f64| -> f64 {
            corner.iter().zip(shares).map(|(c, share)| of(c) * share).sum()
        };
        (along(|c| c.0), along(|c| c.1))
    };
    svg(SIZE, |canvas| {
        heading(canvas, title, note)?;
        for tick in 1..5 {
            let (a, b) = (f64::from(tick) / 5.0, 1.0 - f64::from(tick) / 5.0);
            for ends in
                [[[a, b, 0.0], [a, 0.0, b]], [[b, a, 0.0], [0.0, a, b]], [[b, 0.0, a], [0.0, b, a]]]
            {
                canvas.line(&ends.map(place), LIGHT, 1)?;
            }
            let percent = format!("{}", tick * 20);
            let beside = |shares, dx, dy| {
                let (x, y) = place(shares);
                (x + dx, y + dy)
            };
            canvas.text(beside([b, a, 0.0], -8.0, 0.0), &percent, 11.0, GREY, At::Right)?;
            canvas.text(beside([0.0, b, a], 8.0, 0.0), &percent, 11.0, GREY, At::Left)?;
            canvas.text(beside([a, 0.0, b], 0.0, 12.0), &percent, 11.0, GREY, At::Centre)?;
        }
        let side = |name: &str| format!("% {name}");
        canvas.text((138.0, 262.0), &side(corners[1]), 12.0, GREY, At::Right)?;
        canvas.text((432.0, 262.0), &side(corners[2]), 12.0, GREY, At::Left)?;
        canvas.text((285.0, base + 30.0), &side(corners[0]), 12.0, GREY, At::Centre)?;
        canvas.line(&[corner[0], corner[1], corner[2], corner[0]], INK, 1)?;
        canvas.text((left, base + 30.0), corners[0], 14.0, INK, At::Centre)?;
        canvas.text((corner[1].0, apex - 22.0), corners[1], 14.0, INK, At::Centre)?;
        canvas.text((right, base + 30.0), corners[2], 14.0, INK, At::Centre)?;
        for p in in_order(points, |p| p.auroc) {
            canvas.disc(place(p.shares), 7, scale.colour(p.auroc))?;
            if p.paper {
                mark(canvas, place(p.shares))?;
            }
        }
        canvas.legend(&scale, (546.0, 130.0), 260.0, "AUROC")
    })
}

fn heading(canvas: &Canvas<'_>, title: &str, note: &str) -> Result<()> {
    let bottom = f64::from(SIZE.1);
    canvas.text((320.0, 20.0), title, 18.0, INK, At::Centre)?;
    canvas.text((320.0, 42.0), note, 12.0, GREY, At::Centre)?;
    canvas.disc((24.0, bottom - 18.0), 5, GREY)?;
    mark(canvas, (24.0, bottom - 18.0))?;
    canvas.text((42.0, bottom - 18.0), "the paper's weighting, 1 / 50 / 1", 12.0, INK, At::Left)
}

fn axis_names(canvas: &Canvas<'_>, names: [&str; 2]) -> Result<()> {
    let [left, top, right, bottom] = FIELD;
    let below = (f64::midpoint(left, right), bottom + 2.0 * STRIP + 22.0);
    canvas.text(below, names[0], 15.0, INK, At::Centre)?;
    canvas.text((18.0, f64::midpoint(top, bottom)), names[1], 15.0, INK, At::Upwards)
}

/// The ring around the paper's weighting.
fn mark(canvas: &Canvas<'_>, at: (f64, f64)) -> Result<()> {
    canvas.ring(at, 11, WHITE, 5)?;
    canvas.ring(at, 11, BLACK, 2)
}

/// The best last, so that they are on top.
fn in_order<T: Copy>(points: &[T], auroc: impl Fn(&T) -> f64) -> Vec<T> {
    let mut points = points.to_vec();
    points.sort_by(|a, b| auroc(a).total_cmp(&auroc(b)));
    points
}

/// Colours the plot area by the average of the points weighted by a Gaussian of their distance; far
/// from all points it stays white.
fn ground(
    canvas: &Canvas<'_>,
    scale: &Scale,
    points: &[MapPoint],
    axes: &[LogAxis; 2],
) -> Result<()> {
    const STEPS: usize = 36;
    let [left, top, right, bottom] = FIELD;
    let inside: Vec<(f64, f64, f64)> = points
        .iter()
        .filter(|p| p.weights.iter().all(|&w| w > 0.0))
        .map(|p| (axes[0].part(p.weights[0]), axes[1].part(p.weights[1]), p.auroc))
        .collect();
    let at = |step: usize| (step as f64 + 0.5) / STEPS as f64;
    for column in 0..STEPS {
        for row in 0..STEPS {
            let (mut sum, mut weights, mut nearest) = (0.0, 0.0, f64::INFINITY);
            for &(x, y, auroc) in &inside {
                let distance = ((x - at(column)).powi(2) + (y - at(row)).powi(2)) / (REACH * REACH);
                let weight = (-distance / 2.0).exp();
                sum += weight * auroc;
                weights += weight;
                nearest = nearest.min(distance);
            }
            if nearest > 4.0 {
                continue;
            }
            let (wide, high) = ((right - left) / STEPS as f64, (bottom - top) / STEPS as f64);
            let corner = (left + column as f64 * wide, bottom - row as f64 * high);
            let colour = thinned(scale.colour(sum / weights), 0.6);
            canvas.rectangle(corner, (corner.0 + wide, corner.1 - high), colour)?;
        }
    }
    Ok(())
}

/// A logarithmic axis.
struct LogAxis {
    low: f64,
    high: f64,
}

impl LogAxis {
    fn over(values: impl Iterator<Item = f64>) -> Self {
        let logs: Vec<f64> = values.filter(|v| *v > 0.0).map(f64::log10).collect();
        let low = logs.iter().copied().fold(f64::INFINITY, f64::min);
        let high = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low <= high { (low, high) } else { (0.0, 0.0) };
        let pad = (0.06 * (high - low)).max(0.05);
        Self { low: low - pad, high: high + pad }
    }

    /// The position of a value above 0, in [0, 1].
    fn part(&self, value: f64) -> f64 {
        (value.log10() - self.low) / (self.high - self.low)
    }

    /// Powers of ten, with their multiples by 2 and 5 if there is room.
    fn ticks(&self) -> Vec<f64> {
        let steps: &[f64] = if self.high - self.low < 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let powers = self.low.floor() as i32..=self.high.ceil() as i32;
        let all = powers.flat_map(|p| steps.iter().map(move |s| s * 10f64.powi(p)));
        all.filter(|v| (0.0..=1.0).contains(&self.part(*v))).collect()
    }
}

fn number(v: f64) -> String {
    let text = format!("{v:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn readable_on(RGBColor(r, g, b): RGBColor) -> RGBColor {
    let bright = 0.3 * f64::from(r) + 0.6 * f64::from(g) + 0.1 * f64::from(b);
    if bright > 128.0 { INK } else { WHITE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(svg: &str, words: &[&str]) {
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "a mark is not finite");
        for word in words {
            assert!(svg.contains(word), "{word} is not in the plot");
        }
    }

    #[test]
    fn maps_have_axes_legend_and_zeros() {
        let point = |x, y, auroc| MapPoint { weights: [x, y], auroc, paper: x == 1.0 };
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
        let point = |shares, auroc| TernaryPoint { shares, auroc, paper: false };
        let points = [point([1.0, 0.0, 0.0], 0.5), point([0.2, 0.3, 0.5], 0.6)];
        let svg = ternary("t", "how", ["w_adv", "w_con", "w_enc"], &points).unwrap();
        check(&svg, &["w_adv", "w_con", "w_enc", "how", "AUROC"]);
        assert!(svg.contains("cx=\"70\" cy=\"458\""), "all w_adv is the left corner");
    }
}
