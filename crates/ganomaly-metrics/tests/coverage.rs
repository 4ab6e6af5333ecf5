//! How often a 95 % interval contains the true value, on scores whose true AUROC is known. Each
//! kind of interval is compared with its obvious alternative.
//!
//! The full table (otherwise only a few hundred repetitions are checked):
//! `GANOMALY_SLOW=1 cargo test --release -p ganomaly-metrics --test coverage -- --nocapture`

use ganomaly_metrics::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF, Normal};

/// Classes of the data set; each is the anomaly in some runs, where all others are normal.
const CLASSES: [&str; 4] = ["a", "b", "c", "d"];
const LEVEL: f64 = 0.95;

fn slow() -> bool {
    std::env::var_os("GANOMALY_SLOW").is_some_and(|v| !v.is_empty() && v != "0")
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let uniform = (f64::from(rng.random::<u32>()) + 0.5) / 2f64.powi(32);
    Normal::standard().inverse_cdf(uniform)
}

fn normals(rng: &mut ChaCha8Rng, count: usize) -> Vec<f64> {
    (0..count).map(|_| normal(rng)).collect()
}

fn mean_of_classes(of: impl Fn(usize) -> f64) -> f64 {
    (0..CLASSES.len()).map(of).sum::<f64>() / CLASSES.len() as f64
}

/// How far the anomalies of a class score above the normal images of another, in standard
/// deviations of a score.
fn shift(protocol: usize, anomaly: usize, other: usize) -> f64 {
    [1.8, 1.4, 2.6, 1.0][anomaly] - 0.3 * ((anomaly + other) % 3) as f64
        + [0.0, 0.3][protocol] * (anomaly as f64 - 1.0)
}

/// The true AUROC of a class: all classes are equally frequent.
fn truth(protocol: usize, anomaly: usize) -> f64 {
    let of = |other| Normal::standard().cdf(shift(protocol, anomaly, other) / 2f64.sqrt());
    (0..CLASSES.len()).filter(|&other| other != anomaly).map(of).sum::<f64>()
        / (CLASSES.len() - 1) as f64
}

/// A run's scores under each of two protocols.
struct Run {
    class: usize,
    seed: u64,
    scores: [Vec<f64>; 2],
    anomalous: Vec<bool>,
    images: Vec<u32>,
}

/// Runs of every class and seed on a new sample of images. An image's scores are correlated between
/// runs: one component is common to all runs, one to the seeds of a class, separately for each
/// protocol. A seed tests on all anomalies and on a random half of the normal images.
fn runs(images: usize, seeds: u64, rng: &mut ChaCha8Rng) -> Vec<Run> {
    let class: Vec<usize> = (0..images).map(|_| rng.random_range(0..CLASSES.len())).collect();
    let hard = normals(rng, images);
    let mut all = Vec::new();
    for anomaly in 0..CLASSES.len() {
        let own = [normals(rng, images), normals(rng, images)];
        for seed in 0..seeds {
            let (mut scores, mut anomalous, mut kept) = ([vec![], vec![]], vec![], vec![]);
            for image in 0..images {
                let is_anomaly = class[image] == anomaly;
                if !is_anomaly && rng.random::<bool>() {
                    continue;
                }
                kept.push(image as u32);
                anomalous.push(is_anomaly);
                for (protocol, scores) in scores.iter_mut().enumerate() {
                    let below = match is_anomaly {
                        true => 0.0,
                        false => shift(protocol, anomaly, class[image]),
                    };
                    let deviation = 0.6 * hard[image] + 0.6 * own[protocol][image];
                    scores.push(deviation + 0.28f64.sqrt() * normal(rng) - below);
                }
            }
            all.push(Run { class: anomaly, seed, scores, anomalous, images: kept });
        }
    }
    all
}

/// Each run's AUROC under the first protocol, and its difference to the second, resampled jointly
/// or separately for each run.
fn values(runs: &[Run], joint: bool) -> [Vec<RunValue<'static>>; 2] {
    let resample = |(number, run): (usize, &Run)| {
        let seed = if joint { 0 } else { number as u64 };
        let options = BootstrapOptions { resamples: 400, level: LEVEL, seed };
        let lists: Vec<&[f64]> = run.scores.iter().map(Vec::as_slice).collect();
        resampled_aurocs(&lists, &run.anomalous, &run.images, options).unwrap()
    };
    let resampled: Vec<ResampledAurocs> = runs.iter().enumerate().map(resample).collect();
    let value = |of: fn(f64, f64) -> f64| {
        let value = |(run, got): (&Run, &ResampledAurocs)| RunValue {
            class: CLASSES[run.class],
            seed: run.seed,
            value: of(got.aurocs[0], got.aurocs[1]),
            resampled: got.resampled[0]
                .iter()
                .zip(&got.resampled[1])
                .map(|(&a, &b)| of(a, b))
                .collect(),
        };
        runs.iter().zip(&resampled).map(value).collect()
    };
    [value(|a, _| a), value(|a, b| a - b)]
}

fn holds(interval: Interval, truth: f64) -> bool {
    interval.low <= truth && truth <= interval.high
}

/// For each interval that `ask` computes, the share of repetitions in which it contains the truth.
fn shares(repetitions: u64, ask: impl Fn(&mut ChaCha8Rng) -> Vec<bool> + Sync) -> Vec<f64> {
    let threads = 2;
    let part = |thread: u64| -> Vec<Vec<bool>> {
        let own = (thread..repetitions).step_by(threads);
        own.map(|repetition| ask(&mut ChaCha8Rng::seed_from_u64(repetition))).collect()
    };
    let part = &part;
    let all: Vec<Vec<bool>> = std::thread::scope(|scope| {
        let started: Vec<_> =
            (0..threads as u64).map(|thread| scope.spawn(move || part(thread))).collect();
        started.into_iter().flat_map(|handle| handle.join().unwrap()).collect()
    });
    let count = |at: usize| all.iter().filter(|answers| answers[at]).count();
    (0..all[0].len()).map(|at| count(at) as f64 / repetitions as f64).collect()
}

/// Prints a row of the table and checks it: 93 to 97 %, widened by two standard errors of the
/// repetitions.
fn check(what: &str, other: &str, repetitions: u64, share: f64, other_share: f64) {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    println!("| {what} | {} | {other} | {} |", percent(share), percent(other_share));
    let error = 2.0 * (0.05f64 * 0.95 / repetitions as f64).sqrt();
    let error = if slow() { 0.0 } else { error };
    assert!((0.93 - error..=0.97 + error).contains(&share), "{what}: {share}");
}

#[test]
fn intervals_over_images_hold_the_truth() {
    for (images, repetitions) in
        if slow() { vec![(100, 4000), (400, 2000)] } else { vec![(160, 200)] }
    {
        let found = shares(repetitions, |rng| {
            let runs = runs(images, 3, rng);
            let [of_class, gap_of_class] = [truth(0, 1), truth(0, 1) - truth(1, 1)];
            let average = mean_of_classes(|class| truth(0, class));
            let gap = mean_of_classes(|class| truth(0, class) - truth(1, class));
            let mut answers = Vec::new();
            for [aurocs, gaps] in [values(&runs, true), values(&runs, false)] {
                // The runs of class b are at 3, 4 and 5.
                for (values, truth) in [
                    (&aurocs[3..4], of_class),
                    (&aurocs[3..6], of_class),
                    (&gaps[3..6], gap_of_class),
                    (&aurocs[..], average),
                    (&gaps[..], gap),
                ] {
                    let estimate = estimate(values, LEVEL).unwrap();
                    answers.push(holds(estimate.over_images.unwrap(), truth));
                }
            }
            answers
        });
        let names = [
            "AUROC of 1 run",
            "AUROC of a class, 3 seeds",
            "gap of two protocols, 1 class, 3 seeds",
            "average AUROC, 4 classes × 3 seeds",
            "average gap, 4 classes × 3 seeds",
        ];
        for (at, name) in names.iter().enumerate() {
            let what = format!("over test images: {name}; {} anomalies a run", images / 4);
            check(&what, "each run resampled by itself", repetitions, found[at], found[at + 5]);
        }
        // The point of this: without joint resampling, an average looks far more certain than it
        // is.
        assert!(found[6] < 0.9 && found[8] < 0.92, "{found:?}");
    }
}

#[test]
fn intervals_over_trainings_hold_the_truth() {
    let repetitions = if slow() { 20_000 } else { 600 };
    // The images are fixed; a training shifts the anomalies of its class by a random amount per
    // seed and per run.
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let images = runs(160, 1, &mut rng);
    let after = |setting: usize, class: usize, moved: f64| {
        let run = &images[class];
        let above = |(score, &anomaly): (&f64, &bool)| score + if anomaly { moved } else { 0.0 };
        let scores: Vec<f64> = run.scores[setting].iter().zip(&run.anomalous).map(above).collect();
        auroc(&scores, &run.anomalous).unwrap()
    };
    let (by_seed, by_run) = (0.3, 0.2);
    // The mean over all trainings, at the centres of 1000 equal parts of a training's distribution.
    let expected = |setting: usize| {
        let deviation = f64::hypot(by_seed, by_run);
        let quantile = |part: u32| Normal::standard().inverse_cdf((f64::from(part) + 0.5) / 1000.0);
        let of = |class| {
            (0..1000).map(|part| after(setting, class, deviation * quantile(part))).sum::<f64>()
        };
        mean_of_classes(of) / 1000.0
    };
    let (expected, other) = (expected(0), expected(1));
    for seeds in [3, 5] {
        let found = shares(repetitions, |rng| {
            let mut aurocs: Vec<RunValue<'_>> = Vec::new();
            let mut differences: Vec<RunValue<'_>> = Vec::new();
            for seed in 0..seeds {
                let common = normals(rng, 2);
                for (class, name) in CLASSES.iter().enumerate() {
                    let mut of = |setting: usize| {
                        let moved = by_seed * common[setting] + by_run * normal(rng);
                        after(setting, class, moved)
                    };
                    let (a, b) = (of(0), of(1));
                    let value =
                        |value| RunValue { class: name, seed, value, resampled: Vec::new() };
                    aurocs.push(value(a));
                    differences.push(value(a - b));
                }
            }
            let mut answers = Vec::new();
            for (values, truth) in [(&aurocs, expected), (&differences, expected - other)] {
                let estimate = estimate(values, LEVEL).unwrap();
                answers.push(holds(estimate.over_trainings.interval.unwrap(), truth));
                let drawn = |_| {
                    let one = |_| values[rng.random_range(0..values.len())].value;
                    (0..values.len()).map(one).sum::<f64>() / values.len() as f64
                };
                let means: Vec<f64> = (0..400).map(drawn).collect();
                answers.push(holds(percentile_interval(&means, LEVEL).unwrap(), truth));
            }
            answers
        });
        for (at, name) in ["average AUROC", "difference of two settings"].iter().enumerate() {
            let what = format!("over trainings: {name}, 4 classes × {seeds} seeds");
            let other = "runs drawn as if independent";
            check(&what, other, repetitions, found[2 * at], found[2 * at + 1]);
        }
        assert!(found[3] < 0.9, "{found:?}");
    }
}

/// The average precision's interval, at a few sizes; the true value is that of 400,000 images.
#[test]
fn average_precisions_contain_the_truth() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut sample = |normal_images: usize, anomalies: usize, apart: f64| -> f64 {
        let scores: Vec<f64> = normals(&mut rng, normal_images + anomalies)
            .into_iter()
            .enumerate()
            .map(|(at, score)| if at < anomalies { score + apart } else { score })
            .collect();
        let anomalous: Vec<bool> = (0..scores.len()).map(|at| at < anomalies).collect();
        average_precision(&scores, &anomalous).unwrap()
    };
    let repetitions = if slow() { 2000 } else { 300 };
    for (anomalies, apart) in [(50, 0.3), (50, 1.5), (200, 0.3), (200, 1.5), (200, 2.5)] {
        // Two normal images for each anomaly.
        let truth = sample(2 * 133_000, 133_000, apart);
        let holds = (0..repetitions).filter(|_| {
            let found = sample(2 * anomalies, anomalies, apart);
            let Interval { low, high } =
                average_precision_interval(found, anomalies, LEVEL).unwrap();
            low <= truth && truth <= high
        });
        let share = holds.count() as f64 / f64::from(repetitions);
        println!("{anomalies} anomalies, {apart} apart, truth {truth:.3}: {share:.3}");
        assert!(share > 0.92, "{anomalies} anomalies, {apart} apart: {share}");
    }
}
