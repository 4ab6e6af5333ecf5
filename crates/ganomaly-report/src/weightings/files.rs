//! A comparison's files: `weightings.json`, `weightings.csv`, `weightings.md` and plots.

use super::{Weighting, Weightings};
use crate::compare::NOT_INDEPENDENT;
use crate::plot::weight_map::{Point, grid_map, scatter_map, ternary};
use crate::text::{self, p_value, shown, shown_difference, trainings};
use anyhow::Result;
use ganomaly_experiment::config::design::{Preset, Shown, WEIGHTS};
use ganomaly_experiment::files::{Contents, write_all};
use ganomaly_metrics::Interval;
use std::fmt::Write;
use std::path::Path;

/// Writes the files into the experiment's folder; returns the Markdown.
pub fn write(all: &Weightings, folder: &Path) -> Result<String> {
    write_all(folder, files(all)?)?;
    Ok(markdown(all))
}

/// Every file's name and contents.
pub(crate) fn files(all: &Weightings) -> Result<Contents> {
    let json = serde_json::to_string_pretty(all)? + "\n";
    let mut files = vec![
        ("weightings.json".to_string(), json.into_bytes()),
        ("weightings.csv".into(), csv(all)?),
        ("weightings.md".into(), markdown(all).into_bytes()),
    ];
    let svg = |(name, svg): (String, String)| (format!("plots/{name}"), svg.into_bytes());
    files.extend(figures(all)?.into_iter().map(svg));
    Ok(files)
}

/// The paper's and the ablations first, then the others by falling AUROC.
fn in_order(all: &Weightings) -> Vec<&Weighting> {
    let mut settings: Vec<&Weighting> = all.settings.iter().collect();
    let rank = |s: &Weighting| Preset::ALL.iter().position(|p| p.weights() == s.weights);
    settings.sort_by(|a, b| {
        let (a_rank, b_rank) = (rank(a).unwrap_or(usize::MAX), rank(b).unwrap_or(usize::MAX));
        a_rank.cmp(&b_rank).then(b.auroc.value.total_cmp(&a.auroc.value))
    });
    settings
}

fn csv(all: &Weightings) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut header = ["preset", "w_adv", "w_con", "w_enc"].map(String::from).to_vec();
    header.extend(text::columns("auroc"));
    header.extend(["trainings", "seeds"].map(String::from));
    header.extend(all.classes.iter().map(|class| format!("auroc_{class}")));
    header.extend(text::columns("difference"));
    header.extend(["pairs", "wilcoxon_p"].map(String::from));
    csv.write_record(&header)?;
    let optional = |v: Option<f64>| v.map(|v| v.to_string()).unwrap_or_default();
    for s in &all.settings {
        let mut row = vec![s.preset.clone().unwrap_or_default()];
        row.extend(s.weights.map(|w| w.to_string()));
        row.extend(text::cells(&s.auroc));
        let over = s.auroc.over_trainings;
        row.extend([over.runs.to_string(), over.seeds.to_string()]);
        row.extend(all.classes.iter().map(|class| {
            optional(s.by_class.iter().find(|c| c.class == *class).map(|c| c.auroc.value))
        }));
        match &s.against_paper {
            Some(c) => {
                row.extend(text::cells(&c.difference));
                row.extend([c.pairs.len().to_string(), c.wilcoxon.p.to_string()]);
            }
            None => row.extend(vec![String::new(); 8]),
        }
        csv.write_record(&row)?;
    }
    Ok(csv.into_inner()?)
}

fn markdown(all: &Weightings) -> String {
    let seeds: Vec<String> = all.seeds.iter().map(ToString::to_string).collect();
    let mut text = format!("# Weightings: {}\n\n", all.experiment);
    let _ = writeln!(
        text,
        "{}; {}. {} weightings ({}), each on {} {} with seeds {}; {} training steps a run.\n",
        all.dataset,
        all.protocol,
        all.settings.len(),
        all.design,
        all.class_heading,
        all.classes.join(", "),
        seeds.join(", "),
        all.steps
    );
    let most = all.settings.iter().max_by_key(|s| s.auroc.over_trainings.runs);
    let _ = writeln!(
        text,
        "AUROC is the mean over seeds, then over classes, of {} for each weighting; each class's is over its seeds. Difference: to the paper's \
         weighting, paired over class × seed. {} p by the Wilcoxon signed-rank test, which with n pairs cannot fall below 2 / 2ⁿ. {} With many \
         weightings some differ by chance.\n",
        most.map(|s| trainings(&s.auroc)).unwrap_or_default(),
        text::LEGEND,
        NOT_INDEPENDENT
    );
    let mut names = vec!["weighting"];
    names.extend(WEIGHTS);
    names.push("AUROC");
    names.extend(all.classes.iter().map(String::as_str));
    names.extend(["difference", "p"]);
    let row = |s: &&Weighting| {
        let mut row = vec![s.preset.clone().unwrap_or_default()];
        row.extend(s.weights.map(|w| w.to_string()));
        row.push(shown(&s.auroc));
        row.extend(all.classes.iter().map(|class| {
            let of = s.by_class.iter().find(|c| c.class == *class);
            of.map_or("–".into(), |c| shown(&c.auroc))
        }));
        row.extend(s.against_paper.as_ref().map_or(["–".into(), "–".into()], |c| {
            [shown_difference(&c.difference), p_value(c.wilcoxon.p)]
        }));
        row
    };
    text += &text::table(1, &names, &in_order(all).iter().map(row).collect::<Vec<_>>());
    text += &trend(all);
    text += &levels(all);
    text
}

fn trend(all: &Weightings) -> String {
    let mut text = String::from("\n## Main effects\n\n");
    let Some(trend) = &all.trend else {
        return text
            + "There are too few weightings above zero, or they vary too little, for a trend.\n";
    };
    let _ = writeln!(
        text,
        "Linear regression of the mean AUROC on the logarithms of the three weights, over the {} weightings without a zero ({} degrees of \
         freedom, R² = {:.2}). Intervals by Student's t, over weightings.\n",
        trend.settings, trend.degrees_of_freedom, trend.r_squared
    );
    let rows = WEIGHTS.iter().zip(&trend.slopes).map(|(weight, slope)| {
        let Interval { low, high } = slope.interval;
        let value = format!("{:+.3} ({low:+.3}, {high:+.3})", slope.value);
        vec![(*weight).to_string(), value, p_value(slope.p)]
    });
    let names = ["weight", "AUROC for ten times the weight, 95 %", "p"];
    text + &text::table(1, &names, &rows.collect::<Vec<_>>())
}

fn levels(all: &Weightings) -> String {
    if all.levels.is_empty() {
        return String::new();
    }
    let rows = all.levels.iter().map(|level| {
        let effect = shown_difference(&level.effect);
        vec![level.weight.clone(), level.value.to_string(), effect, level.blocks.to_string()]
    });
    let names = ["weight", "level", "AUROC against the mean", "blocks"];
    format!(
        "\nEach level against the mean of its weight's levels, over the design's own points, paired over the other weights, class and seed:\n\n{}",
        text::table(1, &names, &rows.collect::<Vec<_>>())
    )
}

/// A map for each pair of weights, and the triangle.
fn figures(all: &Weightings) -> Result<Vec<(String, String)>> {
    let paper = Preset::Paper.weights();
    let spread = !matches!(all.design.as_str(), "grid" | "sweep");
    let map = if spread { scatter_map } else { grid_map };
    let mut figures = Vec::new();
    for [x, y] in [[0, 1], [0, 2], [2, 1]] {
        let points = all.settings.iter().map(|s| point(s, [s.weights[x], s.weights[y]]));
        let names = [WEIGHTS[x], WEIGHTS[y]];
        let title = format!("{}: AUROC over {} and {}", all.experiment, names[0], names[1]);
        let map = map(&title, names, &points.collect::<Vec<_>>())?;
        figures.push((format!("{}-{}.svg", names[0], names[1]), map));
    }
    let points = all.settings.iter().filter_map(|s| Some(point(s, shares(s)?)));
    let points: Vec<Point<3>> = points.collect();
    let title = format!("{}: AUROC over the shares of the three losses", all.experiment);
    let note = format!(
        "Share in per cent: the square root of weight over paper's weight ({}), of their sum. The paper is the centre.",
        Shown(paper)
    );
    figures.push(("ternary.svg".into(), ternary(&title, &note, WEIGHTS, &points)?));
    Ok(figures)
}

fn point<const N: usize>(setting: &Weighting, at: [f64; N]) -> Point<N> {
    let paper = setting.weights == Preset::Paper.weights();
    Point { at, auroc: setting.auroc.value, paper }
}

/// Each weight divided by the paper's, its square root taken so that factors of a hundred stay
/// legible, divided by their sum. None if all are 0.
fn shares(setting: &Weighting) -> Option<[f64; 3]> {
    let paper = Preset::Paper.weights();
    let roots: [f64; 3] = std::array::from_fn(|i| (setting.weights[i] / paper[i]).sqrt());
    let sum: f64 = roots.iter().sum();
    (sum > 0.0).then(|| roots.map(|root| root / sum))
}
