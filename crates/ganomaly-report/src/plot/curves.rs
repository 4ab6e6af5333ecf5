//! Plots as SVG documents.

use anyhow::{Result, anyhow};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::FontTransform;

/// Okabe and Ito's palette, distinguishable with every kind of colour vision.
pub(super) const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];
const FONT: &str = "sans-serif";
const SIZE: (u32, u32) = (720, 460);
const GREY: RGBColor = RGBColor(130, 130, 130);
/// More points than this on a ROC curve make no visible difference.
const CURVE_POINTS: usize = 400;

/// A ROC curve.
#[derive(Clone, Debug)]
pub struct Curve<'a> {
    /// For the legend.
    pub label: String,
    /// False positive rates, in rising order.
    pub fpr: &'a [f64],
    /// True positive rates, in rising order.
    pub tpr: &'a [f64],
}

/// A line through points.
#[derive(Clone, Debug)]
pub struct Series {
    /// For the legend.
    pub name: String,
    /// (x, y).
    pub points: Vec<(f64, f64)>,
    /// Dashed rather than solid.
    pub dashed: bool,
}

/// One method's AUROC by class.
#[derive(Clone, Debug)]
pub struct ClassSeries {
    /// For the legend.
    pub name: String,
    /// Mean and, if several seeds ran, standard deviation; none if missing.
    pub values: Vec<Option<(f64, Option<f64>)>>,
    /// Published numbers are dashed.
    pub published: bool,
}

type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The frame of a plot.
struct Frame<'a> {
    title: &'a str,
    x: (&'a str, f64, f64),
    y: (&'a str, f64, f64),
    /// Names for whole numbers on the x axis.
    ticks: Option<&'a [String]>,
    /// Whether the y axis shows powers of ten.
    log_y: bool,
    /// Whether only whole numbers on the x axis are meaningful.
    whole_x: bool,
}

fn error(e: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a plot cannot be drawn: {e}")
}

/// Draws axes and grid, then the content from `body`, then the legend.
fn draw(
    frame: &Frame<'_>,
    legend: SeriesLabelPosition,
    body: impl FnOnce(&mut Chart<'_>) -> Result<()>,
) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(error)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(frame.title, (FONT, 19).into_font())
            .margin(14)
            .margin_right(24)
            .x_label_area_size(if frame.ticks.is_some() { 64 } else { 44 })
            .y_label_area_size(58)
            .build_cartesian_2d(frame.x.1..frame.x.2, frame.y.1..frame.y.2)
            .map_err(error)?;
        let tick = |x: &f64| match frame.ticks {
            Some(names) if (x - x.round()).abs() < 1e-6 && *x >= 0.0 => {
                names.get(x.round() as usize).cloned().unwrap_or_default()
            }
            Some(_) => String::new(),
            None if frame.whole_x && (x - x.round()).abs() > 1e-6 => String::new(),
            None => short(*x),
        };
        let power = |y: &f64| short(if frame.log_y { 10f64.powf(*y) } else { *y });
        let mut mesh = chart.configure_mesh();
        let small = (FONT, 13).into_font().color(&BLACK);
        mesh.x_desc(frame.x.0)
            .y_desc(frame.y.0)
            .label_style((FONT, 13))
            .axis_desc_style((FONT, 15))
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(228, 228, 228))
            .x_label_formatter(&tick)
            .y_label_formatter(&power);
        if let Some(names) = frame.ticks {
            mesh.x_labels(names.len() + 2).disable_x_mesh();
            if names.iter().any(|n| n.len() > 4) {
                mesh.x_label_style(small.transform(FontTransform::None));
            }
        }
        mesh.draw().map_err(error)?;
        body(&mut chart)?;
        chart
            .configure_series_labels()
            .position(legend)
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .label_font((FONT, 13))
            .draw()
            .map_err(error)?;
        area.present().map_err(error)?;
    }
    Ok(svg)
}

/// At most three significant digits, without trailing zeros.
fn short(v: f64) -> String {
    let rounded = format!("{v:.3}");
    let rounded = rounded.trim_end_matches('0').trim_end_matches('.');
    if v != 0.0 && v.abs() < 0.001 { format!("{v:.0e}") } else { rounded.to_string() }
}

/// Adds a line with its legend entry.
fn line(
    chart: &mut Chart<'_>,
    name: &str,
    colour: RGBColor,
    points: &[(f64, f64)],
    dashed: bool,
) -> Result<()> {
    let style = colour.stroke_width(2);
    let points = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
    let annotation = if dashed {
        chart.draw_series(DashedLineSeries::new(points, 6, 4, style)).map_err(error)?
    } else {
        chart.draw_series(LineSeries::new(points, style)).map_err(error)?
    };
    annotation.label(name).legend(move |(x, y)| {
        let end = if dashed { 7 } else { 18 };
        let dash = |from, to| PathElement::new(vec![(from, 0), (to, 0)], style);
        EmptyElement::at((x, y)) + dash(0, end) + dash(11, 18)
    });
    Ok(())
}

/// ROC curves with the diagonal of chance.
pub fn roc(title: &str, curves: &[Curve<'_>]) -> Result<String> {
    let frame = Frame {
        title: &format!("ROC: {title}"),
        x: ("false positive rate", 0.0, 1.0),
        y: ("true positive rate", 0.0, 1.0),
        ticks: None,
        log_y: false,
        whole_x: false,
    };
    draw(&frame, SeriesLabelPosition::LowerRight, |chart| {
        for (curve, colour) in curves.iter().zip(PALETTE.iter().cycle()) {
            let n = curve.fpr.len().min(curve.tpr.len());
            let step = n.div_ceil(CURVE_POINTS).max(1);
            let kept = (0..n).filter(|i| i % step == 0 || i + 1 == n);
            let points: Vec<_> = kept.map(|i| (curve.fpr[i], curve.tpr[i])).collect();
            line(chart, &curve.label, *colour, &points, false)?;
        }
        line(chart, "chance", GREY, &[(0.0, 0.0), (1.0, 1.0)], true)
    })
}

/// Two histograms with common bins, each as a fraction of its own images. The highest 0.5 % of all
/// scores are left out if they would squeeze the rest; the axis label states this.
pub fn score_histogram(
    title: &str,
    x_label: &str,
    normal: &[f64],
    anomalous: &[f64],
) -> Result<String> {
    const BINS: usize = 50;
    let mut all: Vec<f64> = normal.iter().chain(anomalous).copied().collect();
    all.sort_unstable_by(f64::total_cmp);
    let (Some(&low), Some(&highest)) = (all.first(), all.last()) else {
        return Err(error("there are no scores"));
    };
    let robust = all[(all.len() - 1) * 995 / 1000];
    let clipped = highest > low + 1.3 * (robust - low) && robust > low;
    let high = if clipped { robust } else { highest };
    let high = if high > low { high } else { low + 1.0 };
    let width = (high - low) / BINS as f64;
    let shares = |scores: &[f64]| {
        let mut bins = [0.0; BINS];
        for score in scores.iter().filter(|&&s| s <= high) {
            bins[(((score - low) / width) as usize).min(BINS - 1)] += 1.0 / scores.len() as f64;
        }
        bins
    };
    let kinds =
        [("normal", PALETTE[0], shares(normal)), ("anomalous", PALETTE[1], shares(anomalous))];
    let top = kinds.iter().flat_map(|(_, _, bins)| bins.iter().copied()).fold(0.0, f64::max);
    let x_label = if clipped {
        format!("{x_label}; the highest 0.5 % are not shown")
    } else {
        x_label.into()
    };
    let frame = Frame {
        title: &format!("Scores: {title}"),
        x: (&x_label, low, high),
        y: ("share of pictures", 0.0, top * 1.08),
        ticks: None,
        log_y: false,
        whole_x: false,
    };
    draw(&frame, SeriesLabelPosition::UpperRight, |chart| {
        for (name, colour, bins) in kinds {
            let bars = bins.iter().enumerate().map(|(i, &share)| {
                let left = low + i as f64 * width;
                Rectangle::new([(left, 0.0), (left + width, share)], colour.mix(0.5).filled())
            });
            chart.draw_series(bars).map_err(error)?.label(name).legend(move |(x, y)| {
                Rectangle::new([(x, y - 5), (x + 18, y + 5)], colour.mix(0.5).filled())
            });
        }
        Ok(())
    })
}

/// Lines over epochs; `marked` puts a labelled dot on an (epoch, value).
pub fn epochs(
    title: &str,
    y_label: &str,
    series: &[Series],
    marked: Option<(f64, f64, &str)>,
) -> Result<String> {
    by_epoch(title, y_label, series, marked, false)
}

/// Lines over epochs on a logarithmic axis; numbers that are not above 0 are left out.
pub fn epochs_log(title: &str, y_label: &str, series: &[Series]) -> Result<String> {
    let log = |s: &Series| Series {
        points: s.points.iter().filter(|p| p.1 > 0.0).map(|&(x, y)| (x, y.log10())).collect(),
        ..s.clone()
    };
    by_epoch(title, y_label, &series.iter().map(log).collect::<Vec<_>>(), None, true)
}

fn by_epoch(
    title: &str,
    y_label: &str,
    series: &[Series],
    marked: Option<(f64, f64, &str)>,
    log_y: bool,
) -> Result<String> {
    let points = || series.iter().flat_map(|s| s.points.iter().copied());
    let finite = || points().map(|p| p.1).filter(|v| v.is_finite());
    let low = finite().fold(f64::INFINITY, f64::min);
    let high = finite().fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let pad = ((high - low) * 0.1).max(1e-3);
    let last = points().map(|p| p.0).fold(1.0, f64::max);
    let frame = Frame {
        title: &format!("{y_label} by epoch: {title}"),
        // Room on the right for the legend.
        x: ("epoch", 1.0 - 0.03 * last, last + 0.3 * (last - 0.5)),
        y: (y_label, low - pad, high + pad),
        ticks: None,
        log_y,
        whole_x: true,
    };
    draw(&frame, SeriesLabelPosition::MiddleRight, |chart| {
        for (s, colour) in series.iter().zip(PALETTE.iter().cycle()) {
            line(chart, &s.name, *colour, &s.points, s.dashed)?;
            let dots = s.points.iter().filter(|p| p.1.is_finite());
            chart.draw_series(dots.map(|&p| Circle::new(p, 3, colour.filled()))).map_err(error)?;
        }
        if let Some((x, y, label)) = marked {
            chart
                .draw_series([Circle::new((x, y), 7, BLACK.stroke_width(2))])
                .map_err(error)?
                .label(label)
                .legend(|(x, y)| Circle::new((x + 9, y), 5, BLACK.stroke_width(2)));
        }
        Ok(())
    })
}

/// AUROC by class, ours with error bars, published numbers dashed: like the paper's figure 4.
pub fn class_auroc(title: &str, classes: &[String], series: &[ClassSeries]) -> Result<String> {
    // Classes that did not run are left out.
    let ours = |class: usize| {
        let has = |s: &ClassSeries| s.values.get(class).is_some_and(Option::is_some);
        series.iter().any(|s| !s.published && has(s))
    };
    let shown: Vec<usize> = (0..classes.len()).filter(|&class| ours(class)).collect();
    let classes: Vec<String> = shown.iter().map(|&class| classes[class].clone()).collect();
    let of_shown = |s: &ClassSeries| ClassSeries {
        values: shown.iter().map(|&class| s.values.get(class).copied().flatten()).collect(),
        ..s.clone()
    };
    let series: Vec<ClassSeries> = series.iter().map(of_shown).collect();
    // A long legend is placed beside the lines.
    let many = series.len() > PALETTE.len();
    let (room, legend) = if many {
        (classes.len() as f64, SeriesLabelPosition::MiddleRight)
    } else {
        (0.0, SeriesLabelPosition::LowerLeft)
    };
    let frame = Frame {
        title,
        x: ("class", -0.5, classes.len() as f64 - 0.5 + room),
        y: ("AUROC", 0.0, 1.02),
        ticks: Some(&classes),
        log_y: false,
        whole_x: false,
    };
    draw(&frame, legend, |chart| {
        let across = [(-0.5, 0.5), (classes.len() as f64 - 0.5, 0.5)];
        line(chart, "chance", RGBColor(200, 200, 200), &across, true)?;
        for (s, colour) in series.iter().zip(PALETTE.iter().cycle()) {
            let present = s.values.iter().enumerate().filter_map(|(i, v)| Some((i as f64, (*v)?)));
            let present: Vec<(f64, (f64, Option<f64>))> = present.collect();
            let points: Vec<(f64, f64)> = present.iter().map(|&(x, (mean, _))| (x, mean)).collect();
            line(chart, &s.name, *colour, &points, s.published)?;
            let dots = points.iter().map(|&p| Circle::new(p, 4, colour.filled()));
            chart.draw_series(dots).map_err(error)?;
            let bars = present.iter().filter_map(|&(x, (mean, std))| {
                let std = std?;
                Some(ErrorBar::new_vertical(x, mean - std, mean, mean + std, colour.filled(), 8))
            });
            chart.draw_series(bars).map_err(error)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(svg: &str, words: &[&str]) {
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "a point is not finite");
        for word in words {
            assert!(svg.contains(word), "{word} is not in the plot");
        }
    }

    #[test]
    fn plots_are_documents_with_their_labels() {
        let rates: Vec<f64> = (0..=2000).map(|i| f64::from(i) / 2000.0).collect();
        let curve = Curve { label: "running: AUROC 0.500".into(), fpr: &rates, tpr: &rates };
        let svg = roc("run", &[curve]).unwrap();
        check(&svg, &["running: AUROC 0.500", "false positive rate", "chance"]);
        assert!(svg.len() < 60_000, "thinned");

        let scores: Vec<f64> = (0..500).map(|i| f64::from(i) / 500.0).chain([1e6]).collect();
        let svg = score_histogram("run", "score", &scores, &[0.5]).unwrap();
        check(&svg, &["anomalous", "not shown"]);
        check(&score_histogram("run", "score", &[1.0], &[1.0]).unwrap(), &["normal"]);
        assert!(score_histogram("run", "score", &[], &[]).is_err());

        let series = Series {
            name: "err_g".into(),
            points: vec![(1.0, 2.0), (2.0, f64::NAN)],
            dashed: true,
        };
        check(&epochs_log("run", "loss", std::slice::from_ref(&series)).unwrap(), &["err_g"]);
        check(
            &epochs("run", "loss", &[series], Some((1.0, 2.0, "best"))).unwrap(),
            &["err_g", "best"],
        );

        let ours = ClassSeries {
            name: "ours".into(),
            values: vec![Some((0.9, Some(0.1))), None],
            published: false,
        };
        check(
            &class_auroc("t", &["ring".into(), "bar".into()], &[ours]).unwrap(),
            &["ours", "ring"],
        );
    }
}
