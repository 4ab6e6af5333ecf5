//! `[design]`: which loss weights an experiment compares.

use super::values::Name;
use anyhow::{Context, Result, ensure};
use ganomaly_data::{Purpose, shuffled};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The settings that a design varies, in the order of [`Weights`].
pub const WEIGHTS: [&str; 3] = ["w_adv", "w_con", "w_enc"];

/// Maximum number of runs of an experiment.
pub(super) const MAX_RUNS: usize = 10_000;

/// The random stream for the points of a design; the strata of the three weights are numbered from
/// 1.
const DESIGN: Purpose = Purpose(*b"design  ");

/// A weighting (w_adv, w_con, w_enc).
pub type Weights = [f64; 3];

/// How weightings are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DesignKind {
    /// Every combination of the levels given for each weight.
    Grid,
    /// Drawn from the given ranges, uniformly in each weight's logarithm.
    Random,
    /// Like random, but each weight's range is divided into as many parts as there are weightings,
    /// equal on the logarithmic scale, with one weighting in each.
    LatinHypercube,
}

/// An ablation: the paper's weighting without a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// 1 / 50 / 1, the paper's; always part of a design.
    Paper,
    /// 0 / 50 / 1.
    NoAdversarial,
    /// 1 / 50 / 0.
    NoEncoder,
    /// 0 / 50 / 0.
    ContextualOnly,
}

super::values::names!(
    DesignKind,
    "kind of design",
    Grid = "grid",
    Random = "random",
    LatinHypercube = "latin-hypercube"
);
super::values::names!(
    Preset,
    "preset",
    Paper = "paper",
    NoAdversarial = "no-adversarial",
    NoEncoder = "no-encoder",
    ContextualOnly = "contextual-only"
);

impl Preset {
    /// The paper's weighting and the ablations.
    pub const ALL: [Self; 4] =
        [Self::Paper, Self::NoAdversarial, Self::NoEncoder, Self::ContextualOnly];

    /// Its weights.
    pub fn weights(self) -> Weights {
        match self {
            Self::Paper => [1.0, 50.0, 1.0],
            Self::NoAdversarial => [0.0, 50.0, 1.0],
            Self::NoEncoder => [1.0, 50.0, 0.0],
            Self::ContextualOnly => [0.0, 50.0, 0.0],
        }
    }

    /// The preset with these weights, if there is one.
    pub fn of(weights: Weights) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.weights() == weights)
    }
}

/// The `[design]` of an experiment. Its weightings are multiplied with the `[sweep]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Design {
    /// `grid`, `random` or `latin-hypercube`.
    pub kind: Name<DesignKind>,
    /// For a grid, the levels of w_adv; otherwise the lowest and highest value, above 0.
    pub w_adv: Vec<f64>,
    /// The same for w_con.
    pub w_con: Vec<f64>,
    /// The same for w_enc.
    pub w_enc: Vec<f64>,
    /// Number of weightings to draw; not for a grid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<usize>,
    /// Seed of the random draw; not for a grid. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The ablations to add; by default all. The paper's weighting is always included.
    #[serde(default = "ablations")]
    pub presets: Vec<Name<Preset>>,
}

fn ablations() -> Vec<Name<Preset>> {
    Preset::ALL[1..].iter().map(|&preset| Name(preset)).collect()
}

impl Design {
    /// The weightings: the paper's, the presets', then the design's own, each once.
    pub fn weightings(&self) -> Result<Vec<Weights>> {
        self.check()?;
        let presets = self.presets.iter().map(|preset| preset.0.weights());
        let own = self.points();
        let mut all: Vec<Weights> = Vec::new();
        for weights in std::iter::once(Preset::Paper.weights()).chain(presets).chain(own) {
            if !all.contains(&weights) {
                all.push(weights);
            }
        }
        Ok(all)
    }

    /// Only the design's own points, for a grid one per combination of levels, without the presets.
    pub fn points(&self) -> Vec<Weights> {
        match self.kind.0 {
            DesignKind::Grid => self.grid(),
            DesignKind::Random | DesignKind::LatinHypercube => self.drawn(),
        }
    }

    fn levels(&self) -> [(&'static str, &[f64]); 3] {
        let [adv, con, enc] = WEIGHTS;
        [(adv, &self.w_adv), (con, &self.w_con), (enc, &self.w_enc)]
    }

    fn check(&self) -> Result<()> {
        let grid = self.kind.0 == DesignKind::Grid;
        for (key, levels) in self.levels() {
            let as_text = || format!("{key} = {levels:?}");
            let legal = levels.iter().all(|w| w.is_finite() && *w >= 0.0);
            ensure!(legal, "{}: each weight is a finite number, 0 or more", as_text());
            match levels {
                [] => anyhow::bail!("{}: the list is empty", as_text()),
                _ if grid => {}
                [low, high] if *low > 0.0 && low <= high => {}
                _ => anyhow::bail!(
                    "{}: a {} design takes [lowest, highest], above 0",
                    as_text(),
                    self.kind.0
                ),
            }
        }
        if grid {
            ensure!(
                self.settings.is_none(),
                "settings: not for a grid, whose levels say how many; remove it"
            );
            ensure!(
                self.seed.is_none(),
                "seed: not for a grid, in which nothing is drawn; remove it"
            );
            let points = self.levels().iter().fold(1, |n: usize, l| n.saturating_mul(l.1.len()));
            ensure!(points <= MAX_RUNS, "the grid has {points} weightings; {MAX_RUNS} at most");
        } else {
            let settings = self.settings.with_context(|| {
                format!("settings: how many weightings the {} design draws; set it", self.kind.0)
            });
            let settings = settings?;
            ensure!(
                (1..=MAX_RUNS).contains(&settings),
                "settings = {settings}: use 1 to {MAX_RUNS}"
            );
        }
        Ok(())
    }

    fn grid(&self) -> Vec<Weights> {
        let mut all = Vec::new();
        for &adv in &self.w_adv {
            for &con in &self.w_con {
                all.extend(self.w_enc.iter().map(|&enc| [adv, con, enc]));
            }
        }
        all
    }

    fn drawn(&self) -> Vec<Weights> {
        let count = self.settings.unwrap_or_default();
        let seed = self.seed.unwrap_or_default();
        let mut rng = DESIGN.generator(seed, 0);
        let parts: Vec<u32> = (0..count as u32).collect();
        let strata: Vec<Vec<u32>> =
            (1..=3).map(|number| shuffled(&parts, seed, DESIGN, number)).collect();
        let weight = |rng: &mut ChaCha8Rng, which: usize, setting: usize| {
            let (low, high) = match self.levels()[which].1 {
                [low, high] => (low.ln(), high.ln()),
                _ => (0.0, 0.0),
            };
            let uniform = f64::from(rng.random::<u32>()) / 2f64.powi(32);
            let at = match self.kind.0 {
                DesignKind::LatinHypercube => {
                    (f64::from(strata[which][setting]) + uniform) / count as f64
                }
                _ => uniform,
            };
            three_digits((low + (high - low) * at).exp())
        };
        (0..count)
            .map(|setting| std::array::from_fn(|which| weight(&mut rng, which, setting)))
            .collect()
    }
}

/// Rounds a positive number to three significant digits, so that it is easy to read and type.
fn three_digits(v: f64) -> f64 {
    format!("{v:.2e}").parse().unwrap_or(v)
}

/// A weighting in readable form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown(pub Weights);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [adv, con, enc] = self.0;
        write!(f, "{adv} / {con} / {enc}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn design(text: &str) -> Result<Vec<Weights>> {
        toml::from_str::<Design>(text).map_err(anyhow::Error::from)?.weightings()
    }

    const RANGES: &str = "w_adv = [0.1, 10]\nw_con = [5, 500]\nw_enc = [0.1, 10]\n";

    #[test]
    fn a_latin_hypercube_has_one_weighting_in_each_part_of_each_range() {
        let text = format!("kind = \"latin-hypercube\"\nsettings = 12\nseed = 3\n{RANGES}");
        let all = design(&text).unwrap();
        assert_eq!(all.len(), 16);
        assert_eq!(all[..4], Preset::ALL.map(Preset::weights));
        for (which, low) in [(0, 0.1f64), (1, 5.0), (2, 0.1)] {
            let part = |w: &Weights| ((w[which] / low).log10() / 2.0 * 12.0).floor() as i64;
            let mut parts: Vec<i64> = all[4..].iter().map(part).collect();
            parts.sort_unstable();
            assert_eq!(parts, (0..12).collect::<Vec<_>>());
        }
        assert_eq!(design(&text).unwrap(), all, "the same seed");
        assert_ne!(design(&text.replace("seed = 3", "seed = 4")).unwrap(), all, "another seed");
    }

    #[test]
    fn grids_random_designs_and_presets() {
        let grid = "kind = \"grid\"\nw_adv = [0, 1]\nw_con = [10, 50]\nw_enc = [1]\npresets = []";
        let expected = [[1.0, 50.0, 1.0], [0.0, 10.0, 1.0], [0.0, 50.0, 1.0], [1.0, 10.0, 1.0]];
        assert_eq!(design(grid).unwrap(), expected);
        let text = format!("kind = \"random\"\nsettings = 40\n{RANGES}presets = [\"no-encoder\"]");
        let all = design(&text).unwrap();
        assert_eq!(all.len(), 42);
        let inside = |w: &&Weights| (0.1..=10.0).contains(&w[0]) && (5.0..=500.0).contains(&w[1]);
        assert_eq!(all.iter().filter(inside).count(), 42);
        assert!(all.iter().filter(|w| w[0] < 1.0).count() > 10, "the logarithm is uniform");
    }

    #[test]
    fn what_a_design_cannot_be_is_said() {
        let cases = [
            (
                "kind = \"grid\"\nsettings = 3\nw_adv = [1]\nw_con = [1]\nw_enc = [1]",
                "settings: not for a grid",
            ),
            (
                "kind = \"grid\"\nw_adv = []\nw_con = [1]\nw_enc = [1]",
                "w_adv = []: the list is empty",
            ),
            (
                "kind = \"grid\"\nw_adv = [-1]\nw_con = [1]\nw_enc = [1]",
                "w_adv = [-1.0]: each weight is",
            ),
            (
                "kind = \"random\"\nw_adv = [1,2]\nw_con = [1,2]\nw_enc = [1,2]",
                "settings: how many weightings the random",
            ),
            (
                "kind = \"random\"\nsettings = 2\nw_adv = [0,2]\nw_con = [1,2]\nw_enc = [1,2]",
                "[lowest, highest], above 0",
            ),
            (
                "kind = \"sobol\"\nw_adv = [1]\nw_con = [1]\nw_enc = [1]",
                "unknown kind of design \"sobol\"",
            ),
            (
                "kind = \"grid\"\nw_adv = [1]\nw_con = [1]\nw_enc = [1]\npresets = [\"none\"]",
                "unknown preset \"none\"",
            ),
            ("kind = \"grid\"\nw_adv = [1]\nw_con = [1]\nw_ecn = [1]", "w_ecn"),
        ];
        for (text, words) in cases {
            let error = format!("{:#}", design(text).unwrap_err());
            assert!(error.contains(words), "{error:?} should contain {words:?}");
        }
    }
}
