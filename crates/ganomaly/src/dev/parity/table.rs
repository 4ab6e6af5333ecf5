//! What a comparison found, and its table.

use ganomaly_model::layers::Kinks;
use std::fmt;
use std::path::PathBuf;

/// One comparison: the largest deviation of its kind and its limit.
#[derive(Clone, Debug)]
pub struct Deviation {
    /// "f32" or "f64" on the CPU, "GPU" for float32 on a GPU or its twin.
    pub precision: &'static str,
    /// What was compared.
    pub kind: String,
    /// Norm of the difference over norm of the expected values, the largest over `count`
    /// comparisons.
    pub worst: f64,
    /// Where the largest deviation occurred.
    pub at: String,
    /// The largest allowed deviation.
    pub limit: f64,
    /// Number of comparisons of this kind.
    pub count: usize,
}

impl Deviation {
    /// Whether the deviation is within its limit. NaN is not.
    pub fn holds(&self) -> bool {
        self.worst <= self.limit
    }

    fn row(&self, remark: &str) -> String {
        format!(
            "{:<5} {:<28} {:>10.2e} {:>10.1e} {:>6}  {}{remark}\n",
            self.precision, self.kind, self.worst, self.limit, self.count, self.at
        )
    }
}

/// All comparisons of one trace.
#[derive(Debug)]
pub struct Parity {
    /// The trace's path without extension.
    pub trace: PathBuf,
    /// The largest deviation of each kind, in both precisions.
    pub deviations: Vec<Deviation>,
    /// Present if the free float32 run exceeded a limit: its deviations, and the sides that its
    /// repetition took over.
    pub free_run: Option<(Vec<Deviation>, Guidance)>,
}

/// How a float32 run was kept on the sides of the float64 run where rounding decides them.
#[derive(Clone, Copy, Debug)]
pub enum Guidance {
    /// By its sides themselves.
    Kinks(Kinks),
    /// By weights: searches used the trace's at the end, not those trained from its first ones.
    Weights,
}

impl fmt::Display for Guidance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kinks(kinks) => write!(
                f,
                "Above, {} of {} rectifier inputs and pixel differences in float32, none farther \
                 than {:.1e} from its kink, took the side of the float64 run.",
                kinks.moved, kinks.of, kinks.farthest
            ),
            Self::Weights => f.write_str(
                "Above, float32 searches used the trace's weights at the end. Weights that were \
                 trained in float32 differ by roundings, which may move a pixel difference or a \
                 rectifier's input across its kink, and the rest of a search with it.",
            ),
        }
    }
}

impl Parity {
    /// Whether every deviation is within its limit.
    pub fn holds(&self) -> bool {
        self.deviations.iter().all(Deviation::holds)
    }

    /// A human-readable table.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{}\n{:<5} {:<28} {:>10} {:>10} {:>6}  {}\n",
            self.trace.display(),
            "type",
            "kind",
            "largest",
            "limit",
            "count",
            "where"
        );
        for d in &self.deviations {
            text += &d.row(if d.holds() { "" } else { "  <-- BEYOND THE LIMIT" });
        }
        if let Some((free, guidance)) = &self.free_run {
            text += &format!("{guidance} Without that:\n");
            for d in free {
                text += &d.row("");
            }
        }
        text
    }
}

/// Collects the worst deviation of each kind.
#[derive(Default)]
pub(super) struct Tally(pub(super) Vec<Deviation>);

impl Tally {
    pub(super) fn note(
        &mut self,
        precision: &'static str,
        kind: &str,
        at: &str,
        deviation: f64,
        limit: f64,
    ) {
        // Kinds may have several limits (scores do): the one closest to failing is shown.
        let severity = |worst: f64, limit: f64| {
            if worst.is_nan() { f64::INFINITY } else { worst / limit.max(f64::MIN_POSITIVE) }
        };
        let new = Deviation {
            precision,
            kind: kind.to_string(),
            worst: deviation,
            at: at.to_string(),
            limit,
            count: 1,
        };
        match self.0.iter_mut().find(|d| d.precision == precision && d.kind == kind) {
            None => self.0.push(new),
            Some(old) => {
                let count = old.count + 1;
                if severity(deviation, limit) > severity(old.worst, old.limit) {
                    *old = new;
                }
                old.count = count;
            }
        }
    }
}
