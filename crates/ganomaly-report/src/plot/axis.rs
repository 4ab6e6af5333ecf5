//! The axes of figures and their ticks.

use crate::text::significant;

/// An axis. Without ticks it is not drawn.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows.
    pub label: String,
    /// Its ends: left and right, or bottom and top.
    pub range: (f64, f64),
    /// How it is labelled.
    pub ticks: Ticks,
}

/// An axis's labels.
#[derive(Clone, Debug)]
pub enum Ticks {
    /// At most about this many round numbers.
    Numbers(usize),
    /// The same for differences, with their signs.
    Differences(usize),
    /// At most about this many whole numbers.
    Whole(usize),
    /// The axis shows powers of ten.
    Powers,
    /// These.
    At(Vec<(f64, String)>),
}

impl Axis {
    pub fn new(label: &str, range: (f64, f64), ticks: Ticks) -> Self {
        Self { label: label.into(), range, ticks }
    }

    /// Names at 0, 1, 2, …
    pub fn names(label: &str, names: &[impl ToString]) -> Self {
        let ticks = names.iter().enumerate().map(|(at, name)| (at as f64, name.to_string()));
        Self::new(label, (-0.5, names.len() as f64 - 0.5), Ticks::At(ticks.collect()))
    }

    /// No axis, only a range.
    pub fn hidden(range: (f64, f64)) -> Self {
        Self::new("", range, Ticks::At(Vec::new()))
    }

    /// The ticks' positions and labels.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let (low, high) = self.range;
        let (most, signed) = match &self.ticks {
            Ticks::At(ticks) => return ticks.clone(),
            Ticks::Powers => return powers(low, high),
            Ticks::Numbers(most) | Ticks::Whole(most) => (*most, false),
            Ticks::Differences(most) => (*most, true),
        };
        let mut step = round_step((high - low) / most as f64);
        if matches!(self.ticks, Ticks::Whole(_)) {
            step = step.max(1.0);
        }
        let digits = (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
        let at = ((low / step - 1e-9).ceil() as i64)..=((high / step + 1e-9).floor() as i64);
        let label = |v: f64| match v {
            _ if digits > 4 || v.abs() >= 1e6 => format!("{v:e}"),
            _ if signed && v > 0.0 => format!("+{v:.digits$}"),
            _ => format!("{v:.digits$}").replace('-', "−"),
        };
        at.map(|at| (at as f64 * step, label(at as f64 * step))).collect()
    }
}

/// The next larger of 1, 2, 5 and their multiples by powers of ten.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].map(|m| m * power).into_iter().find(|s| *s >= least).unwrap_or(10.0 * power)
}

/// Powers of ten between two exponents, and their multiples where there is room.
pub fn powers(low: f64, high: f64) -> Vec<(f64, String)> {
    const FACTORS: [&[f64]; 3] =
        [&[1.0], &[1.0, 2.0, 5.0], &[1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0]];
    let label = |v: f64| match v {
        _ if (0.001..1e6).contains(&v) => significant(v, 3),
        _ => format!("{v:.0e}"),
    };
    let ticks = |factors: &[f64]| -> Vec<(f64, String)> {
        let exponents = low.floor() as i32..=high.ceil() as i32;
        let values =
            exponents.flat_map(|e| factors.iter().map(move |factor| factor * 10f64.powi(e)));
        values.map(|v| (v.log10(), label(v))).filter(|(at, _)| (low..=high).contains(at)).collect()
    };
    let all = FACTORS.map(ticks);
    all.iter().find(|ticks| ticks.len() > 3).unwrap_or(&all[2]).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        let labels = |range, ticks| -> Vec<String> {
            Axis::new("", range, ticks).ticks().into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(
            labels((0.47, 1.005), Ticks::Numbers(6)),
            ["0.5", "0.6", "0.7", "0.8", "0.9", "1.0"]
        );
        assert_eq!(
            labels((-0.021, 0.05), Ticks::Differences(4)),
            ["−0.02", "0.00", "+0.02", "+0.04"]
        );
        assert_eq!(labels((0.96, 2.04), Ticks::Whole(8)), ["1", "2"]);
        assert_eq!(labels((-1.1, 0.8), Ticks::Powers), ["0.1", "0.2", "0.5", "1", "2", "5"]);
        assert_eq!(labels((-4.1, 0.1), Ticks::Powers), ["1e-4", "0.001", "0.01", "0.1", "1"]);
    }
}
