//! Thresholds with a promised rate of false alarms: cases by hand, simulations, and SciPy's
//! intervals.

use ganomaly_metrics::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn refused<T: std::fmt::Debug>(result: Result<T>, expected: &str) {
    assert_eq!(result.unwrap_err().to_string(), expected);
}

fn close(got: Interval, low: f64, high: f64) {
    assert!((got.low - low).abs() < 1e-9 && (got.high - high).abs() < 1e-9, "{got:?}");
}

#[test]
fn thresholds_by_hand() {
    let nine = Calibration::new(&[3.0, 9.0, 1.0, 7.0, 5.0, 2.0, 8.0, 4.0, 6.0]).unwrap();
    assert_eq!(nine.scores(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    // ⌈10 · 0.9⌉ = 9, ⌈10 · 0.75⌉ = 8, ⌈10 · 0.5⌉ = 5, ⌈10 · 0.01⌉ = 1.
    for (rate, rank, expected) in [(0.1, 9, 0.1), (0.25, 8, 0.2), (0.5, 5, 0.5), (0.99, 1, 0.9)] {
        let threshold = nine.threshold(rate).unwrap();
        let value = rank as f64;
        assert_eq!(threshold, Threshold { value, promised: rate, images: 9, rank });
        assert_eq!(threshold.expected(), expected);
    }
    let one = Calibration::new(&[2.5]).unwrap();
    let threshold = one.threshold(0.5).unwrap();
    assert_eq!((threshold.value, threshold.rank, threshold.expected()), (2.5, 1, 0.5));
    // The rate of a threshold from one image can be anything.
    close(threshold.band(0.95).unwrap(), 0.025, 0.975);
    let hundred = Calibration::new(&(1..100).map(f64::from).collect::<Vec<_>>()).unwrap();
    let threshold = hundred.threshold(0.05).unwrap();
    assert_eq!((threshold.value, threshold.expected()), (95.0, 0.05));
    // scipy.stats.beta.ppf([0.025, 0.975], 5, 95)
    close(threshold.band(0.95).unwrap(), 0.016_599_911_33, 0.100_227_906_569);
}

#[test]
fn p_values_by_hand() {
    let ties = Calibration::new(&[2.0, 1.0, 2.0, 3.0]).unwrap();
    let scores = [f64::NEG_INFINITY, 1.0, 1.5, 2.0, 3.0, 3.5, f64::INFINITY];
    let expected = [1.0, 1.0, 0.8, 0.8, 0.4, 0.2, 0.2];
    assert_eq!(scores.map(|s| ties.p_value(s)), expected);
    assert!(ties.p_value(f64::NAN).is_nan());
    // A score is above the threshold of a rate exactly if its p-value is at most that rate.
    for rate in [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] {
        let threshold = ties.threshold(rate).unwrap();
        for score in scores {
            assert_eq!(score > threshold.value, ties.p_value(score) <= rate, "{rate} {score}");
        }
    }
}

#[test]
fn a_promise_that_cannot_be_made_is_refused() {
    let fifty = Calibration::new(&(0..50).map(f64::from).collect::<Vec<_>>()).unwrap();
    refused(
        fifty.threshold(0.001),
        "a false-alarm rate of 0.001 takes at least 999 normal images: 50 can promise no less than \
         1/51",
    );
    for rate in [0.0, 1.0, -0.1, f64::NAN] {
        refused(
            fifty.threshold(rate),
            &format!("a rate of {rate} was given: use a number in (0, 1)"),
        );
    }
    assert!(fifty.threshold(f64::MIN_POSITIVE).is_err());
    assert_eq!(fifty.threshold(1.0 - f64::EPSILON).unwrap().rank, 1);
    // The number of images that is named suffices, one fewer does not.
    for images in 1..600 {
        let few = Calibration::new(&vec![0.0; images]).unwrap();
        let lowest = 1.0 / (images + 1) as f64;
        assert_eq!(few.threshold(lowest).unwrap().rank, images, "{images}");
        let message = few.threshold(1.0 / (images + 2) as f64).unwrap_err().to_string();
        let named = format!(" takes at least {} normal images: {images} can ", images + 1);
        assert!(message.contains(&named), "{message}");
    }
    refused(Calibration::new(&[]), "there are no scores");
    refused(Calibration::new(&[1.0, f64::NAN]), "score 1 is NaN: scores must be finite");
}

/// Uniform scores, or with `steps` equally likely values: the rate above a threshold is known.
fn scores(rng: &mut ChaCha8Rng, count: usize, steps: Option<f64>) -> Vec<f64> {
    let uniform = |rng: &mut ChaCha8Rng| (f64::from(rng.random::<u32>()) + 0.5) / 2f64.powi(32);
    (0..count)
        .map(|_| steps.map_or(uniform(rng), |steps| (uniform(rng) * steps).ceil() / steps))
        .collect()
}

#[test]
fn the_promise_is_kept_and_the_band_contains_the_rate() {
    const REPETITIONS: usize = 2000;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (images, promised) in [(19, 0.05), (50, 0.1), (80, 0.3), (200, 0.01)] {
        for steps in [None, Some(30.0), Some(3.0)] {
            let of = |normal: Vec<f64>| Calibration::new(&normal).unwrap().threshold(promised);
            // Both depend on the rank alone.
            let any = of(vec![0.0; images]).unwrap();
            let (expected, band) = (any.expected(), any.band(0.95).unwrap());
            let (mut rate, mut inside, mut below, mut alarms) = (0.0, 0, 0, 0);
            for _ in 0..REPETITIONS {
                let threshold = of(scores(&mut rng, images, steps)).unwrap();
                let actual = 1.0 - threshold.value;
                rate += actual / REPETITIONS as f64;
                inside += usize::from(band.low <= actual && actual <= band.high);
                below += usize::from(actual <= band.high);
                let unseen = scores(&mut rng, 1, steps)[0];
                alarms += usize::from(unseen > threshold.value);
            }
            let share = |count: usize| count as f64 / REPETITIONS as f64;
            let what = format!("{images} images, {promised}, steps {steps:?}: {rate}, {inside}");
            // Four standard errors.
            let noise = 4.0 * (promised / REPETITIONS as f64).sqrt();
            assert!(share(alarms) < promised + noise, "{what}, {alarms} alarms");
            assert!(share(below) > 0.96, "{what}, {below}");
            if steps.is_none() {
                assert!((rate - expected).abs() < noise / 2.0, "{what}, expected {expected}");
                assert!((share(inside) - 0.95).abs() < 0.02, "{what}");
            } else {
                assert!(rate < promised + noise / 2.0, "{what}");
            }
        }
    }
}

#[test]
fn p_values_of_normal_images_are_not_too_small() {
    const REPETITIONS: usize = 2000;
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for steps in [None, Some(10.0)] {
        let p_values: Vec<f64> = (0..REPETITIONS)
            .map(|_| {
                let normal = Calibration::new(&scores(&mut rng, 39, steps)).unwrap();
                normal.p_value(scores(&mut rng, 1, steps)[0])
            })
            .collect();
        for level in (1..40).map(|i| f64::from(i) / 40.0) {
            let share = p_values.iter().filter(|&&p| p <= level).count() as f64 / 2000.0;
            let noise = 4.0 * (level * (1.0 - level) / REPETITIONS as f64).sqrt();
            assert!(share < level + noise, "{steps:?}: {share} at {level}");
            assert!(steps.is_some() || share > level - noise, "{share} at {level}");
        }
    }
}

#[test]
fn intervals_of_shares_equal_scipys() {
    // scipy.stats.binomtest(detected, of).proportion_ci(level, "exact")
    for (detected, of, level, low, high) in [
        (0, 10, 0.95, 0.0, 0.308_497_107_819),
        (10, 10, 0.95, 0.691_502_892_181, 1.0),
        (1, 1, 0.9, 0.05, 1.0),
        (7, 10, 0.95, 0.347_547_149_94, 0.933_260_488_822),
        (81, 263, 0.95, 0.252_736_745_585, 0.367_621_922_601),
        (1, 1_000, 0.99, 0.000_005_012_529, 0.007_406_286_938),
        (990, 1_000, 0.999, 0.974_936_566_858, 0.997_292_424_401),
        (3, 1_000_000, 0.95, 0.000_000_618_673, 0.000_008_767_248),
    ] {
        let got = recall_interval(detected, of, level).unwrap();
        close(got, low, high);
        let misses = recall_interval(of - detected, of, level).unwrap();
        close(misses, 1.0 - high, 1.0 - low);
    }
    assert_eq!(recall_interval(0, 10, 0.95).unwrap().low, 0.0);
    assert_eq!(recall_interval(10, 10, 0.95).unwrap().high, 1.0);
    refused(recall_interval(3, 2, 0.95), "3 of 2 images is not a share");
    refused(recall_interval(0, 0, 0.95), "0 of 0 images is not a share");
    refused(recall_interval(1, 2, 1.0), "a level of 1 was given: use a number in (0, 1)");
    let threshold = Calibration::new(&[1.0]).unwrap().threshold(0.5).unwrap();
    refused(threshold.band(f64::NAN), "a level of NaN was given: use a number in (0, 1)");
    assert!(Threshold { rank: 5, ..threshold }.band(0.95).is_err());
}
