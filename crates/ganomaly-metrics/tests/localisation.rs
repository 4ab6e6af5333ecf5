//! Maps of scores: scikit-learn's values and the AUPRO by its definition
//! (tools/golden/localisation.py wrote tests/golden/localisation.json), and invariants.
//!
//! How long 100 large maps take (otherwise 4 small ones):
//! `GANOMALY_SLOW=1 cargo test --release -p ganomaly-metrics --test localisation -- --nocapture`

use ganomaly_metrics::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    maps: Vec<Rows>,
    auroc: f64,
    auprc: f64,
    /// Limits and areas.
    aupro: Vec<(f64, f64)>,
}

#[derive(Deserialize)]
struct Rows {
    scores: Vec<Vec<f32>>,
    mask: Vec<String>,
}

/// What a [`Map`] borrows.
#[derive(Clone)]
struct Image {
    scores: Vec<f32>,
    mask: Vec<bool>,
    height: usize,
}

impl Image {
    fn new(scores: &[f32], mask: &str) -> Self {
        let height = mask.split_whitespace().count();
        let mask = mask.split_whitespace().flat_map(str::chars).map(|c| c == '#').collect();
        Self { scores: scores.to_vec(), mask, height }
    }

    fn map(&self) -> Map<'_> {
        let Self { scores, mask, height } = self;
        Map { scores, mask, height: *height, width: mask.len() / (*height).max(1) }
    }
}

fn measure(images: &[Image], limit: f64) -> Result<Localisation> {
    let maps: Vec<Map<'_>> = images.iter().map(Image::map).collect();
    localisation(&maps, limit)
}

#[test]
fn every_value_equals_the_golden() {
    let golden: Golden = serde_json::from_str(include_str!("golden/localisation.json")).unwrap();
    assert_eq!(golden.cases.len(), 9);
    for case in golden.cases {
        let images: Vec<Image> =
            case.maps.iter().map(|m| Image::new(&m.scores.concat(), &m.mask.join(" "))).collect();
        for &(limit, aupro) in &case.aupro {
            let got = measure(&images, limit).unwrap();
            let pairs = [(got.auroc, case.auroc), (got.auprc, case.auprc), (got.aupro, aupro)];
            for (got, expected) in pairs {
                let name = &case.name;
                assert!((got - expected).abs() < 1e-12, "{name} {limit}: {got} against {expected}");
            }
        }
    }
}

/// A few small images with many ties; at least one has a defective pixel and a defect-free one.
fn random_images(seed: u64) -> Vec<Image> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let steps = [2, 5, 1000][seed as usize % 3];
    let mut images: Vec<Image> = (0..rng.random_range(1..4))
        .map(|_| {
            let (height, width) = (rng.random_range(1..7), rng.random_range(2..7));
            let defects = rng.random_range(0..3);
            let mask = (0..height * width).map(|_| rng.random_range(0..5) < defects).collect();
            let score = |_| (rng.random_range(0..steps) - steps / 2) as f32 / 4.0;
            Image { scores: (0..height * width).map(score).collect(), mask, height }
        })
        .collect();
    (images[0].mask[0], images[0].mask[1]) = (true, false);
    images
}

/// The AUPRO by its definition, with regions found by spreading the lowest number to neighbours.
fn by_definition(images: &[Image], limit: f64) -> f64 {
    let mut regions: Vec<Vec<f32>> = Vec::new();
    for image in images {
        let width = image.mask.len() / image.height;
        let near = |a: usize, b: usize| {
            (a / width).abs_diff(b / width) <= 1 && (a % width).abs_diff(b % width) <= 1
        };
        let defects: Vec<usize> = (0..image.mask.len()).filter(|&i| image.mask[i]).collect();
        let mut number = defects.clone();
        for _ in 0..defects.len() {
            for (a, b) in (0..defects.len()).flat_map(|a| (0..defects.len()).map(move |b| (a, b))) {
                if near(defects[a], defects[b]) {
                    number[a] = number[a].min(number[b]);
                }
            }
        }
        for &first in &defects {
            let of = defects.iter().zip(&number).filter(|(_, n)| **n == first);
            let region: Vec<f32> = of.map(|(&i, _)| image.scores[i]).collect();
            if !region.is_empty() {
                regions.push(region);
            }
        }
    }
    let pixels = images.iter().flat_map(|i| i.scores.iter().zip(&i.mask));
    let normal: Vec<f32> = pixels.clone().filter(|(_, d)| !**d).map(|(&s, _)| s).collect();
    let mut thresholds: Vec<f32> = pixels.map(|(&s, _)| s).collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    let share =
        |of: &[f32], t: f32| of.iter().filter(|&&s| s >= t).count() as f64 / of.len() as f64;
    let (mut area, mut x, mut y) = (0.0, 0.0, 0.0);
    for t in thresholds {
        let next = share(&normal, t);
        let overlap = regions.iter().map(|r| share(r, t)).sum::<f64>() / regions.len() as f64;
        let reached = next.min(limit);
        if reached > x {
            let there = y + (overlap - y) * (reached - x) / (next - x);
            area += (reached - x) * (y + there) / 2.0;
        }
        (x, y) = (next, overlap);
    }
    area / limit
}

#[test]
fn values_keep_their_laws() {
    for seed in 0..400 {
        let images = random_images(seed);
        let limit = [0.05, PRO_LIMIT, 1.0][seed as usize / 3 % 3];
        let got = measure(&images, limit).unwrap();
        for value in [got.auroc, got.auprc, got.aupro] {
            assert!((0.0..=1.0).contains(&value), "{seed}: {got:?}");
        }
        let scores: Vec<f64> =
            images.iter().flat_map(|i| &i.scores).map(|&s| f64::from(s)).collect();
        let mask: Vec<bool> = images.iter().flat_map(|i| i.mask.clone()).collect();
        assert_eq!(got.auroc, auroc(&scores, &mask).unwrap());
        assert!((got.auprc - average_precision(&scores, &mask).unwrap()).abs() < 1e-12);
        assert!((got.aupro - by_definition(&images, limit)).abs() < 1e-12, "{seed}");
        let mut others = images.clone();
        others.reverse();
        assert_eq!(got, measure(&others, limit).unwrap(), "the order of images");
        for score in others.iter_mut().flat_map(|i| &mut i.scores) {
            *score = (*score / 50.0).exp() * 1e-30 - 2e-30;
        }
        assert_eq!(got, measure(&others, limit).unwrap(), "only the order of scores matters");
        for image in &mut others {
            // Noise outside the defects, below them.
            image
                .scores
                .iter_mut()
                .zip(&image.mask)
                .filter(|(_, d)| **d)
                .for_each(|(s, _)| *s += 1.0);
        }
        let perfect = Localisation { auroc: 1.0, auprc: 1.0, aupro: 1.0 };
        assert_eq!(measure(&others, limit).unwrap(), perfect, "{seed}");
        for score in others.iter_mut().flat_map(|i| &mut i.scores) {
            // Equal to 0, of either sign.
            *score *= 0.0;
        }
        let constant = measure(&others, limit).unwrap();
        assert_eq!(constant.auroc, 0.5);
        assert!((constant.aupro - limit / 2.0).abs() < 1e-12, "{constant:?}");
    }
}

#[test]
fn maps_without_an_answer_are_refused() {
    let refused = |images: &[Image], expected: &str| {
        assert_eq!(measure(images, 0.3).unwrap_err().to_string(), expected);
    };
    let good = Image::new(&[1.0, 2.0, 3.0, 4.0], ".. .#");
    let normal = Image::new(&[0.0; 3], "...");
    measure(&[normal.clone(), good.clone()], 0.3).unwrap();
    refused(&[], "there are no scores");
    refused(&[Image::new(&[], "")], "there are no scores");
    refused(std::slice::from_ref(&normal), "all 3 labels are normal: both kinds are needed");
    refused(&[Image::new(&[0.0; 2], "##")], "all 2 labels are anomalous: both kinds are needed");
    refused(
        &[good.clone(), Image::new(&[0.0; 3], ".. .#")],
        "map 1: 3 scores and a mask of 4 pixels for an image of 2 × 2",
    );
    refused(
        &[Image::new(&[0.0; 3], ".. .")],
        "map 0: 3 scores and a mask of 3 pixels for an image of 2 × 1",
    );
    for (value, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let message =
            format!("map 1: the score in row 1, column 0 is {name}: scores must be finite");
        refused(&[good.clone(), Image::new(&[0.0, 0.0, value, 0.0], ".. ..")], &message);
    }
    let huge = Map { scores: &[0.0], mask: &[true], height: usize::MAX, width: 3 };
    assert!(localisation(&[huge], 0.3).is_err());
    for limit in [0.0, -0.1, 1.1, f64::NAN] {
        let expected = format!("a limit of {limit} was given: use a number in (0, 1]");
        assert_eq!(localisation(&[good.map()], limit).unwrap_err().to_string(), expected);
    }
}

#[test]
fn large_maps_take_seconds() {
    let slow = std::env::var_os("GANOMALY_SLOW").is_some_and(|v| !v.is_empty() && v != "0");
    let (count, side) = if slow { (100, 1024) } else { (4, 100) };
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let images: Vec<Image> = (0..count)
        .map(|i| {
            // A fifth of the height and the width of three images of four.
            let fifth = |at: usize| at * 5 / side;
            let defect = |p: usize| i % 4 != 0 && fifth(p % side) == 2 && fifth(p / side) == 1;
            let mask: Vec<bool> = (0..side * side).map(defect).collect();
            let score = |d: &bool| rng.random::<f32>() + if *d { 0.5 } else { 0.0 };
            Image { scores: mask.iter().map(score).collect(), mask, height: side }
        })
        .collect();
    let start = std::time::Instant::now();
    let got = measure(&images, 1.0).unwrap();
    println!("{count} maps of {side} × {side}: {:.1?}", start.elapsed());
    // P(u + 0.5 > v) of two uniform numbers is 7/8, for regions as for pixels.
    assert!((got.auroc - 0.875).abs() < 0.01 && (got.aupro - 0.875).abs() < 0.01, "{got:?}");
}
