//! Numbers with their uncertainty, as text.

use ganomaly_metrics::{Estimate, MeanStd};

/// Explains intervals of means over runs; shown below every table that has them.
pub const LEGEND: &str = "Square brackets: 95 % interval over test images, which are resampled jointly for all runs, the trained weights as they are. \
     ±: over trainings, the standard deviation over seeds of each seed's mean over classes. Round brackets: over trainings, the 95 % t interval over \
     seeds, where there are three or more. The two kinds answer different questions and neither holds the other.";

/// Explains the two columns of uncertainty, in tables that separate them.
pub const MEANING: &str = "Over test images: where the value would lie with other images of the same kind, the trained weights as they are; the images \
     are resampled jointly for all runs. Over trainings: the standard deviation over seeds of each seed's mean over classes and, from three seeds on, \
     the 95 % t interval over seeds. The two answer different questions and neither holds the other.";

/// A mean in [0, 1] with its known uncertainty, in the format of [`LEGEND`].
pub fn shown(estimate: &Estimate) -> String {
    with_uncertainty(estimate, plain)
}

/// An AUROC, or an end of its interval, clipped to [0, 1], which a t interval may exceed.
pub fn plain(value: f64) -> String {
    format!("{:.3}", value.clamp(0.0, 1.0))
}

/// A difference in [-1, 1] with its known uncertainty.
pub fn shown_difference(estimate: &Estimate) -> String {
    with_uncertainty(estimate, |v| format!("{v:+.3}"))
}

fn with_uncertainty(estimate: &Estimate, number: impl Fn(f64) -> String) -> String {
    let mut text = number(estimate.value);
    if let Some(i) = estimate.over_images {
        text += &format!(" [{}, {}]", number(i.low), number(i.high));
    }
    if let Some(std) = estimate.over_trainings.std {
        text += &format!(" ± {std:.3}");
    }
    if let Some(i) = estimate.over_trainings.interval {
        text += &format!(" ({}, {})", number(i.low), number(i.high));
    }
    text
}

/// Mean ± standard deviation; the mean alone for a single value, a dash for none.
pub fn mean_std(values: &[f64], number: impl Fn(f64) -> String) -> String {
    match ganomaly_metrics::mean_std(values) {
        Ok(MeanStd { mean, std: Some(std), .. }) => format!("{} ± {std:.3}", number(mean)),
        Ok(MeanStd { mean, .. }) => number(mean),
        Err(_) => "–".into(),
    }
}

/// The mean; none if there are no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    ganomaly_metrics::mean_std(values).ok().map(|m| m.mean)
}

/// A difference with its sign, and a minus as wide as a plus.
pub fn signed(value: f64) -> String {
    format!("{value:+.3}").replace('-', "−")
}

/// A p value.
pub fn p_value(p: f64) -> String {
    if p < 0.001 { format!("{p:.1e}") } else { format!("{p:.3}") }
}

/// A number with some significant digits, at most six decimals, and no zeros at its end.
pub fn significant(value: f64, digits: i32) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let decimals = (digits - 1 - value.abs().log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.decimals$}");
    if decimals > 0 { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// Each value once, in the order of its first occurrence.
pub fn distinct<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

/// "1 run", "2 runs".
pub fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// A Markdown table; all but the first columns have numbers.
pub fn table(texts: usize, names: &[impl AsRef<str>], rows: &[Vec<String>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let rule = "---|".repeat(texts) + &"---:|".repeat(names.len() - texts);
    let rows: String = rows.iter().map(|row| format!("| {} |\n", row.join(" | "))).collect();
    format!("| {} |\n|{rule}\n{rows}", names.join(" | "))
}

/// How many trainings a mean is taken over: "6 trainings (2 seeds)".
pub fn trainings(estimate: &Estimate) -> String {
    let t = estimate.over_trainings;
    format!("{} ({})", count(t.runs, "training"), count(t.seeds, "seed"))
}

/// The columns of an estimate in a CSV file.
pub fn columns(what: &str) -> [String; 6] {
    ["", "_images_low", "_images_high", "_std", "_trainings_low", "_trainings_high"]
        .map(|part| format!("{what}{part}"))
}

/// The cells of these columns: the value, its interval over test images, its standard deviation and
/// its interval over trainings.
pub fn cells(estimate: &Estimate) -> [String; 6] {
    let (images, trainings) = (estimate.over_images, estimate.over_trainings);
    [
        Some(estimate.value),
        images.map(|i| i.low),
        images.map(|i| i.high),
        trainings.std,
        trainings.interval.map(|i| i.low),
        trainings.interval.map(|i| i.high),
    ]
    .map(|v| v.map(|v| v.to_string()).unwrap_or_default())
}
