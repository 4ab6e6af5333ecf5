//! Splits: compared with the published code's, and their invariants.

use flate2::read::GzDecoder;
use ganomaly_data::{Purpose, Split, SplitKind, shuffled};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::io::Read;

/// The real labels of MNIST, training part first.
fn mnist_labels() -> Vec<u8> {
    let mut labels = Vec::new();
    let parts: [&[u8]; 2] = [
        include_bytes!("golden/train-labels-idx1-ubyte.gz"),
        include_bytes!("golden/t10k-labels-idx1-ubyte.gz"),
    ];
    for gz in parts {
        let mut bytes = Vec::new();
        GzDecoder::new(gz).read_to_end(&mut bytes).unwrap();
        labels.extend_from_slice(&bytes[8..]);
    }
    labels
}

fn digest(indices: &[u32]) -> String {
    let bytes: Vec<u8> = indices.iter().flat_map(|i| i.to_le_bytes()).collect();
    Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn leave_one_class_out_equals_the_published_code_in_every_row() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("golden/splits_mnist.json")).unwrap();
    let labels = mnist_labels();
    let rows = golden["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 30);
    for row in rows {
        let (seed, class) =
            (row["seed"].as_u64().unwrap(), row["abnormal_class"].as_u64().unwrap());
        let split = Split::leave_one_class_out(&labels, 60_000, class as u8, seed).unwrap();
        let anomalies = split.test_is_anomaly.iter().filter(|&&a| a).count() as u64;
        assert_eq!(split.train.len() as u64, row["train"].as_u64().unwrap());
        assert_eq!(anomalies, row["test_abnormal"].as_u64().unwrap());
        assert_eq!(digest(&split.train), row["train_sha256_le_u32"].as_str().unwrap());
        assert_eq!(digest(&split.test), row["test_sha256_le_u32"].as_str().unwrap());
    }
}

#[test]
fn splits_are_disjoint_and_complete() {
    let labels: Vec<u8> = (0..997u32).map(|i| (i * i % 7) as u8).collect();
    let official = 700;
    for kind in [SplitKind::LeaveOneClassOut, SplitKind::Official, SplitKind::OneClass] {
        assert_eq!(kind.to_string().parse::<SplitKind>().unwrap(), kind);
        for class in [0, 1, 2, 4] {
            let split = Split::new(kind, &labels, official, class, 5).unwrap();
            let mut all = [split.train.clone(), split.test.clone()].concat();
            all.sort_unstable();
            let complete = all.len();
            all.dedup();
            assert_eq!(all.len(), complete, "{kind}: an image is there twice");
            let is_anomaly =
                |i: u32| (labels[i as usize] == class) != (kind == SplitKind::OneClass);
            assert!(split.train.iter().all(|&i| !is_anomaly(i)), "{kind}: trains on anomalies");
            for (&i, &a) in split.test.iter().zip(&split.test_is_anomaly) {
                assert_eq!(is_anomaly(i), a);
            }
            assert!(split.test_is_anomaly.is_sorted(), "normal images come first");
            match kind {
                SplitKind::OneClass => {
                    assert!(split.train.iter().all(|&i| i < official as u32));
                    assert_eq!(split.test.len(), labels.len() - official);
                }
                SplitKind::Official => {
                    assert_eq!(complete, labels.len());
                    assert!(split.train.iter().all(|&i| i < official as u32));
                }
                SplitKind::Overlapping => unreachable!("its parts share images"),
                SplitKind::NormalOnly => unreachable!("it tests nothing"),
                SplitKind::LeaveOneClassOut => {
                    assert_eq!(complete, labels.len());
                    let normals =
                        split.train.len() + split.test_is_anomaly.iter().filter(|&&a| !a).count();
                    assert_eq!(split.train.len(), normals * 4 / 5);
                }
            }
        }
    }
}

/// NumPy's draws for 23 normal images and 4 anomalies; and on MNIST without the digit 0, how many
/// of the published code's normal test images are training images.
#[test]
fn overlapping_draws_as_the_published_code() {
    let labels: Vec<u8> = (0..27).map(|i| u8::from(i >= 23)).collect();
    let kind: SplitKind = "overlapping".parse().unwrap();
    assert_eq!(kind.to_string(), "overlapping");
    let split = Split::new(kind, &labels, 20, 1, 42).unwrap();
    let train = [15, 9, 0, 8, 17, 12, 1, 13, 5, 2, 11, 20, 3, 4, 18, 16, 21, 22];
    assert_eq!(split.train, train);
    assert_eq!(split.test, [18, 20, 14, 15, 9, 23, 24, 25, 26]);
    let split = Split::overlapping(&mnist_labels(), 60_000, 0, 42).unwrap();
    let train: HashSet<u32> = split.train.iter().copied().collect();
    let normal: Vec<u32> = split.test.iter().copied().take(12_620).collect();
    assert!(!split.test_is_anomaly[12_619] && split.test_is_anomaly[12_620]);
    assert_eq!(normal.iter().filter(|i| train.contains(i)).count(), 10_120);
}

#[test]
fn limits_keep_both_kinds_and_the_order() {
    let labels: Vec<u8> = (0..1000u32).map(|i| (i % 10) as u8).collect();
    let whole = Split::leave_one_class_out(&labels, 800, 3, 0).unwrap();
    let split = whole.clone().limit(Some(50), Some(30), 1);
    assert_eq!(split.train, whole.train[..50]);
    assert_eq!((split.test.len(), split.test_is_anomaly.len()), (30, 30));
    let anomalies = split.test_is_anomaly.iter().filter(|&&a| a).count();
    assert_eq!(anomalies, 30 * 100 / whole.test.len());
    let place = |i: &u32| whole.test.iter().position(|t| t == i).unwrap();
    assert!(split.test.iter().map(place).is_sorted());
    assert_eq!(split, whole.clone().limit(Some(50), Some(30), 1), "drawn by the seed alone");
    assert_ne!(split.test, whole.clone().limit(Some(50), Some(30), 2).test);
    let least = whole.clone().limit(None, Some(1), 1);
    assert_eq!(least.test_is_anomaly, [false, true], "a test needs both kinds");
    assert_eq!(whole.clone().limit(None, None, 1), whole);
}

#[test]
fn shuffles_are_permutations_that_differ_by_seed_purpose_and_number() {
    let items: Vec<u32> = (0..500).collect();
    let order = shuffled(&items, 1, Purpose::EPOCH, 2);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, items);
    assert_eq!(order, shuffled(&items, 1, Purpose::EPOCH, 2));
    assert_ne!(order, shuffled(&items, 1, Purpose::EPOCH, 3));
    assert_ne!(order, shuffled(&items, 1, Purpose::VALIDATION, 2));
    assert_ne!(order, shuffled(&items, 2, Purpose::EPOCH, 2));
    assert!(shuffled(&[], 0, Purpose::EPOCH, 0).is_empty());
}

#[test]
fn impossible_splits_say_why() {
    let check = |result: ganomaly_data::Result<Split>, expected: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    };
    let labels = [0, 1, 0, 1, 0, 1];
    check(
        Split::leave_one_class_out(&labels, 4, 0, 1 << 32),
        "seed = 4294967296: NumPy's generator",
    );
    check(Split::leave_one_class_out(&labels, 4, 7, 0), "there are no anomalous images to test on");
    check(Split::official(&labels, 6, 0), "no normal images are left to test on");
    check(Split::one_class(&labels, 4, 7, 0), "no normal images are left to train on");
    check(Split::official(&labels, 7, 0), "7 training images of 6 in all");
    assert!("half".parse::<SplitKind>().unwrap_err().contains("unknown split \"half\""));
}
