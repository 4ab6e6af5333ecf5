//! SciPy's values for paired comparisons (tools/golden/paired.py made tests/golden/paired.json), and laws.

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
    low: Option<f64>,
    high: Option<f64>,
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
    let options = BootstrapOptions { resamples: 100_000, level: 0.95, seed: 1 };
    for c in golden().comparisons {
        let effect = paired_effect(&c.a, &c.b, options).unwrap();
        check(&format!("{} mean", c.name), effect.mean, c.mean, 1e-12);
        check(&format!("{} std", c.name), effect.std.unwrap(), c.std, 1e-12);
        check(&format!("{} median", c.name), effect.pseudo_median, c.pseudo_median, 1e-12);
        check(&format!("{} correlation", c.name), effect.rank_biserial, c.rank_biserial, 1e-12);
        let (Some(low), Some(high)) = (c.low, c.high) else { continue };
        let interval = effect.interval.unwrap();
        // The ends of two samples of 100,000 differ by a hundredth of the width.
        let within = 0.015 * (high - low);
        check(&format!("{} low", c.name), interval.low, low, within);
        check(&format!("{} high", c.name), interval.high, high, within);
    }
}

#[test]
fn auroc_differences_equal_numpys() {
    let options = BootstrapOptions { resamples: 20_000, level: 0.95, seed: 1 };
    for c in golden().auroc_differences {
        let anomalous: Vec<bool> = c.labels.iter().map(|&l| l == 1).collect();
        let got = bootstrap_auroc_difference(&c.a, &c.b, &anomalous, options).unwrap();
        check(&format!("{} difference", c.name), got.difference, c.difference, 1e-12);
        let within = 0.02 * (c.high - c.low);
        check(&format!("{} low", c.name), got.interval.low, c.low, within);
        check(&format!("{} high", c.name), got.interval.high, c.high, within);
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
    // The same list twice: no draw of pictures can part them.
    let same = bootstrap_auroc_difference(&a, &a, &anomalous, options).unwrap();
    assert_eq!((same.difference, same.interval), (0.0, Interval { low: 0.0, high: 0.0 }));
    let resampled = resampled_aurocs(&[&a, &a], &anomalous, options).unwrap();
    assert_eq!(resampled.resampled[0].len(), 1000);
    assert_eq!(resampled.resampled[0], resampled.resampled[1]);
    // Alone, the list's AUROC is as uncertain as its own bootstrap says.
    let alone = bootstrap_auroc(&a, &anomalous, options).unwrap();
    let as_resampled = percentile_interval(&resampled.resampled[0], 0.95).unwrap();
    check("low", as_resampled.low, alone.low, 0.01);
    check("high", as_resampled.high, alone.high, 0.01);
}

#[test]
fn a_single_pair_has_no_interval_and_unpaired_lists_are_refused() {
    let one = paired_effect(&[0.9], &[0.8], BootstrapOptions::default()).unwrap();
    assert_eq!((one.count, one.std, one.interval), (1, None, None));
    assert_eq!(one.rank_biserial, 1.0);
    fn fails<T: std::fmt::Debug>(result: Result<T>, expected: &str) {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
    let unpaired = "2 values against 1: paired lists are equally long";
    fails(wilcoxon_signed_rank(&[1.0, 2.0], &[1.0]), unpaired);
    fails(paired_effect(&[1.0, 2.0], &[1.0], BootstrapOptions::default()), unpaired);
    fails(wilcoxon_signed_rank(&[], &[]), "there are no scores");
    fails(wilcoxon_signed_rank(&[f64::NAN], &[1.0]), "score 0 is NaN: scores must be finite");
    fails(
        bootstrap_auroc_difference(&[1.0], &[1.0, 2.0], &[true, false], Default::default()),
        "1 scores, but 2 labels",
    );
    fails(percentile_interval(&[], 0.95), "there are no scores");
    let rows = [vec![1.0, 2.0], vec![2.0, 4.0], vec![3.0, 6.0], vec![5.0, 10.0]];
    fails(
        linear_regression(&rows, &[1.0, 2.0, 3.0, 4.0], 0.95),
        "the predictors do not vary independently of each other",
    );
    assert!(linear_regression(&rows[..2], &[1.0, 2.0], 0.95).is_err());
}
