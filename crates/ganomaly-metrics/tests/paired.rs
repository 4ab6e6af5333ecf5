//! SciPy's values for paired comparisons (tools/golden/paired.py wrote tests/golden/paired.json),
//! and invariants.

use ganomaly_metrics::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    comparisons: Vec<Comparison>,
    auroc_differences: Vec<Difference>,
    regressions: Vec<Regression>,
}

#[derive(Deserialize)]
struct Comparison {
    name: String,
    a: Vec<f64>,
    b: Vec<f64>,
    statistic: f64,
    p: f64,
    mean: f64,
    std: f64,
    pseudo_median: f64,
    rank_biserial: f64,
}

#[derive(Deserialize)]
struct Difference {
    name: String,
    a: Vec<f64>,
    b: Vec<f64>,
    labels: Vec<u8>,
    difference: f64,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Regression {
    name: String,
    x: Vec<Vec<f64>>,
    y: Vec<f64>,
    values: Vec<f64>,
    standard_errors: Vec<f64>,
    low: Vec<f64>,
    high: Vec<f64>,
    p: Vec<f64>,
    r_squared: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/paired.json")).unwrap()
}

fn check(what: &str, got: f64, expected: f64, within: f64) {
    assert!((got - expected).abs() <= within, "{what}: {got} against {expected}");
}

#[test]
fn wilcoxon_equals_scipys() {
    let cases = golden().comparisons;
    assert_eq!(cases.len(), 14);
    for c in cases {
        let test = wilcoxon_signed_rank(&c.a, &c.b).unwrap();
        check(&format!("{} statistic", c.name), test.statistic, c.statistic, 0.0);
        check(&format!("{} p", c.name), test.p, c.p, 1e-10);
        let other = wilcoxon_signed_rank(&c.b, &c.a).unwrap();
        check(&format!("{} p the other way", c.name), test.p, other.p, 0.0);
        let exact = !matches!(
            c.name.as_str(),
            "fifty-one" | "two hundred" | "fourteen with ties" | "sixty with ties" | "many zeros"
        );
        assert_eq!(test.method == WilcoxonMethod::Exact, exact, "{}", c.name);
    }
}

#[test]
fn effects_equal_scipys() {
    for c in golden().comparisons {
        let effect = paired_effect(&c.a, &c.b).unwrap();
        check(&format!("{} mean", c.name), effect.mean, c.mean, 1e-12);
        check(&format!("{} std", c.name), effect.std.unwrap(), c.std, 1e-12);
        check(&format!("{} median", c.name), effect.pseudo_median, c.pseudo_median, 1e-12);
        check(&format!("{} correlation", c.name), effect.rank_biserial, c.rank_biserial, 1e-12);
    }
}

/// NumPy's intervals resample the images with replacement; here the images are weighted.
#[test]
fn auroc_differences_are_close_to_numpys() {
    let options = BootstrapOptions { resamples: 20_000, level: 0.95, seed: 1 };
    for c in golden().auroc_differences {
        let anomalous: Vec<bool> = c.labels.iter().map(|&l| l == 1).collect();
        let images: Vec<u32> = (0..anomalous.len() as u32).collect();
        let got = resampled_aurocs(&[&c.a, &c.b], &anomalous, &images, options).unwrap();
        check(
            &format!("{} difference", c.name),
            got.aurocs[0] - got.aurocs[1],
            c.difference,
            1e-12,
        );
        let gaps: Vec<f64> =
            got.resampled[0].iter().zip(&got.resampled[1]).map(|(a, b)| a - b).collect();
        let interval = percentile_interval(&gaps, 0.95).unwrap();
        let within = 0.06 * (c.high - c.low);
        check(&format!("{} low", c.name), interval.low, c.low, within);
        check(&format!("{} high", c.name), interval.high, c.high, within);
    }
}

#[test]
fn regressions_equal_scipys() {
    for c in golden().regressions {
        let fit = linear_regression(&c.x, &c.y, 0.95).unwrap();
        assert_eq!(fit.coefficients.len(), c.values.len());
        check(&format!("{} R²", c.name), fit.r_squared, c.r_squared, 1e-10);
        for (i, got) in fit.coefficients.iter().enumerate() {
            let of = |what: &str| format!("{} {what} {i}", c.name);
            check(&of("value"), got.value, c.values[i], 1e-10);
            check(&of("error"), got.standard_error, c.standard_errors[i], 1e-10);
            check(&of("low"), got.interval.low, c.low[i], 1e-8);
            check(&of("high"), got.interval.high, c.high[i], 1e-8);
            check(&of("p"), got.p, c.p[i], 1e-8);
        }
    }
}

#[test]
fn pairing_is_what_makes_a_difference_certain() {
    let Difference { a, labels, .. } = golden().auroc_differences.remove(0);
    let anomalous: Vec<bool> = labels.iter().map(|&l| l == 1).collect();
    let options = BootstrapOptions::default();
    let images: Vec<u32> = (0..a.len() as u32).collect();
    // The same list twice: no weights can separate them.
    let resampled = resampled_aurocs(&[&a, &a], &anomalous, &images, options).unwrap();
    assert_eq!(resampled.resampled[0].len(), 1000);
    assert_eq!(resampled.resampled[0], resampled.resampled[1]);
    // The resamples do not depend on the order of the images.
    let turned = |list: &[f64]| list.iter().rev().copied().collect::<Vec<_>>();
    let labels: Vec<bool> = anomalous.iter().rev().copied().collect();
    let numbers: Vec<u32> = images.iter().rev().copied().collect();
    let other = resampled_aurocs(&[&turned(&a)], &labels, &numbers, options).unwrap();
    assert_eq!(resampled.resampled[0], other.resampled[0]);
    // The list's own bootstrap gives the same interval.
    let alone = bootstrap_auroc(&a, &anomalous, options).unwrap();
    assert_eq!(percentile_interval(&resampled.resampled[0], 0.95).unwrap(), alone);
}

#[test]
fn a_single_pair_has_no_deviation_and_unpaired_lists_are_refused() {
    let one = paired_effect(&[0.9], &[0.8]).unwrap();
    assert_eq!((one.count, one.std), (1, None));
    assert_eq!(one.rank_biserial, 1.0);
    fn fails<T: std::fmt::Debug>(result: Result<T>, expected: &str) {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
    let unpaired = "2 values against 1: paired lists are equally long";
    fails(wilcoxon_signed_rank(&[1.0, 2.0], &[1.0]), unpaired);
    fails(paired_effect(&[1.0, 2.0], &[1.0]), unpaired);
    fails(wilcoxon_signed_rank(&[], &[]), "there are no scores");
    fails(wilcoxon_signed_rank(&[f64::NAN], &[1.0]), "score 0 is NaN: scores must be finite");
    fails(
        resampled_aurocs(&[&[1.0]], &[true, false], &[0, 1], Default::default()),
        "1 scores, but 2 labels",
    );
    fails(
        resampled_aurocs(&[&[1.0, 2.0]], &[true, false], &[0], Default::default()),
        "1 numbers of images, but 2 labels",
    );
    fails(percentile_interval(&[], 0.95), "there are no scores");
    let rows = [vec![1.0, 2.0], vec![2.0, 4.0], vec![3.0, 6.0], vec![5.0, 10.0]];
    fails(
        linear_regression(&rows, &[1.0, 2.0, 3.0, 4.0], 0.95),
        "the predictors do not vary independently of each other",
    );
    assert!(linear_regression(&rows[..2], &[1.0, 2.0], 0.95).is_err());
}
