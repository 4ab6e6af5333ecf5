//! scikit-learn's values (tests/golden/metrics.json names the versions), invariants, and input
//! without a defined result.

use ganomaly_metrics::*;

struct Case {
    name: String,
    scores: Vec<f64>,
    anomalous: Vec<bool>,
    expected: serde_json::Value,
}

fn cases() -> Vec<Case> {
    let text = include_str!("golden/metrics.json");
    let all: serde_json::Value = serde_json::from_str(text).unwrap();
    all["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| Case {
            name: c["name"].as_str().unwrap().to_string(),
            scores: serde_json::from_value(c["scores"].clone()).unwrap(),
            anomalous: c["labels"].as_array().unwrap().iter().map(|l| l == 1).collect(),
            expected: c.clone(),
        })
        .collect()
}

#[test]
fn every_value_equals_scikit_learns() {
    let cases = cases();
    assert_eq!(cases.len(), 7);
    for case in cases {
        let got = serde_json::to_value(evaluate(&case.scores, &case.anomalous).unwrap()).unwrap();
        for (key, got) in got.as_object().unwrap() {
            let (got, expected) = (got.as_f64().unwrap(), case.expected[key].as_f64().unwrap());
            assert!((got - expected).abs() < 1e-6, "{} {key}: {got} against {expected}", case.name);
        }
    }
}

/// Seeded pseudo-random cases with many ties.
fn random_case(seed: u64) -> (Vec<f64>, Vec<bool>) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let n = 2 + next(60) as usize;
    let values = 1 + next(20);
    let scores = (0..n).map(|_| next(values) as f64 - 5.0).collect();
    let mut anomalous: Vec<bool> = (0..n).map(|_| next(3) == 0).collect();
    (anomalous[0], anomalous[1]) = (true, false);
    (scores, anomalous)
}

fn pairwise(scores: &[f64], anomalous: &[bool]) -> f64 {
    let (mut wins, mut pairs) = (0.0, 0.0);
    for (a, _) in scores.iter().zip(anomalous).filter(|(_, l)| **l) {
        for (n, _) in scores.iter().zip(anomalous).filter(|(_, l)| !**l) {
            wins += if a > n {
                1.0
            } else if a == n {
                0.5
            } else {
                0.0
            };
            pairs += 1.0;
        }
    }
    wins / pairs
}

#[test]
fn auroc_keeps_its_laws() {
    for seed in 1..500 {
        let (scores, anomalous) = random_case(seed);
        let area = auroc(&scores, &anomalous).unwrap();
        assert!((area - pairwise(&scores, &anomalous)).abs() < 1e-12, "pairwise definition");
        let curve = roc_curve(&scores, &anomalous).unwrap();
        let trapezoids: f64 = (1..curve.fpr.len())
            .map(|i| (curve.fpr[i] - curve.fpr[i - 1]) * (curve.tpr[i] + curve.tpr[i - 1]) / 2.0)
            .sum();
        assert!((area - trapezoids).abs() < 1e-12, "area under the curve");
        let negated: Vec<f64> = scores.iter().map(|s| -s).collect();
        assert!((area + auroc(&negated, &anomalous).unwrap() - 1.0).abs() < 1e-12);
        let stretched: Vec<f64> = scores.iter().map(|s| (s / 3.0).exp() * 1e-13).collect();
        assert_eq!(area, auroc(&stretched, &anomalous).unwrap(), "only the order matters");
        let (mut s, mut a) = (scores.clone(), anomalous.clone());
        s.reverse();
        a.reverse();
        assert_eq!(evaluate(&scores, &anomalous), evaluate(&s, &a), "the order of images");
        let best = best_f1(&scores, &anomalous).unwrap();
        assert!((best.f1 - f1_at(&scores, &anomalous, best.threshold).unwrap()).abs() < 1e-12);
        for &t in &scores {
            assert!(f1_at(&scores, &anomalous, t).unwrap() <= best.f1 + 1e-12);
        }
    }
}

#[test]
fn bootstrap_is_seeded_holds_the_value_and_narrows_with_more_images() {
    let case = |copies: usize| {
        let (scores, anomalous) = random_case(7);
        (scores.repeat(copies), anomalous.repeat(copies))
    };
    let options = BootstrapOptions { seed: 3, ..BootstrapOptions::default() };
    let (scores, anomalous) = case(16);
    let interval = bootstrap_auroc(&scores, &anomalous, options).unwrap();
    assert_eq!(interval, bootstrap_auroc(&scores, &anomalous, options).unwrap());
    let other = BootstrapOptions { seed: 4, ..options };
    assert_ne!(interval, bootstrap_auroc(&scores, &anomalous, other).unwrap());
    let area = auroc(&scores, &anomalous).unwrap();
    assert!(interval.low < area && area < interval.high);
    let (scores, anomalous) = case(256);
    let narrow = bootstrap_auroc(&scores, &anomalous, options).unwrap();
    // Sixteen times as many images: about a quarter of the width.
    let ratio = (narrow.high - narrow.low) / (interval.high - interval.low);
    assert!((0.15..0.4).contains(&ratio), "{ratio}");
}

#[test]
fn averages() {
    let m = mean_std(&[1.0, 2.0, 4.0]).unwrap();
    assert!((m.mean - 7.0 / 3.0).abs() < 1e-12 && (m.std.unwrap() - 1.527_525_231_65).abs() < 1e-9);
    assert_eq!(mean_std(&[3.0]).unwrap().std, None);
    assert_eq!(min_max_scale(&[-1.0, 1.0, 0.0]).unwrap(), [0.0, 1.0, 0.5]);
    assert_eq!(min_max_scale(&[-1e308, 1e308]).unwrap(), [0.0, 1.0]);
}

#[test]
fn input_without_an_answer_is_an_error_that_says_so() {
    fn check<T: std::fmt::Debug>(result: Result<T>, expected: &str) {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
    let both = [true, false];
    check(auroc(&[], &[]), "there are no scores");
    check(auroc(&[1.0, f64::NAN], &both), "score 1 is NaN: scores must be finite");
    check(evaluate(&[f64::INFINITY, 0.0], &both), "score 0 is inf: scores must be finite");
    check(auroc(&[1.0], &both), "1 scores, but 2 labels");
    check(f1_at(&[1.0], &both, 0.0), "1 scores, but 2 labels");
    check(roc_curve(&[1.0, 2.0], &[true; 2]), "all 2 labels are anomalous: both kinds are needed");
    check(best_f1(&[1.0, 2.0], &[false; 2]), "all 2 labels are normal: both kinds are needed");
    check(min_max_scale(&[2.0, 2.0]), "all scores are equal (2): they cannot be scaled to [0, 1]");
    check(mean_std(&[]), "there are no scores");
    check(fpr_at_tpr(&[1.0, 2.0], &both, 1.5), "a rate of 1.5 was given: use a number in [0, 1]");
    let none = BootstrapOptions { resamples: 0, ..BootstrapOptions::default() };
    check(
        bootstrap_auroc(&[1.0, 2.0], &both, none),
        "0 resamples at level 0.95: use at least 1, and a level in (0, 1)",
    );
    // Equal scores have an AUROC: chance.
    assert_eq!(auroc(&[2.0, 2.0], &both).unwrap(), 0.5);
    assert_eq!(evaluate(&[2.0, 2.0], &both).unwrap().f1_at_0_2_of_minmax, None);
}
