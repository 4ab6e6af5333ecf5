//! Files in the data folder: candle-datasets' readers against ganomaly-data's, and broken files.

#[path = "../../../tests/skip.rs"]
mod skip;

use flate2::read::GzDecoder;
use ganomaly_data::datasets::{Cifar10, Mnist};
use ganomaly_data::{Dataset, Error, LabeledImages, Verification};
use std::fs;
use std::io::Read;
use std::path::Path;

const RECORD: usize = 1 + 3 * 32 * 32;

fn hub(name: &str) -> Box<dyn Dataset> {
    let all = ganomaly_data_hub::datasets();
    let found = all.into_iter().find(|dataset| dataset.name() == name);
    Box::new(found.unwrap())
}

fn check_same(ours: &LabeledImages, theirs: &LabeledImages) {
    assert_eq!((ours.len(), ours.shape()), (theirs.len(), theirs.shape()));
    assert_eq!(ours.official_train(), theirs.official_train());
    assert_eq!(ours.class_names(), theirs.class_names());
    for index in 0..ours.len() {
        assert_eq!(ours.labels()[index], theirs.labels()[index], "label {index}");
        assert_eq!(ours.image(index), theirs.image(index), "image {index}");
    }
}

fn idx(dims: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
    bytes.extend(body);
    bytes
}

/// A small MNIST: 20 + 10 images with every value of a byte.
fn write_mnist(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for (part, n) in [("train", 20u32), ("t10k", 10)] {
        let pixels: Vec<u8> = (0..n * 784).map(|i| (i % 256) as u8).collect();
        let labels: Vec<u8> = (0..n).map(|i| (i % 10) as u8).collect();
        let file = |what: &str| dir.join(format!("{part}-{what}-ubyte"));
        fs::write(file("images-idx3"), idx(&[n, 28, 28], &pixels)).unwrap();
        fs::write(file("labels-idx1"), idx(&[n], &labels)).unwrap();
    }
}

#[test]
fn small_sets_are_found_in_either_folder() {
    for (name, strict) in [("hub-mnist", Mnist::digits()), ("hub-fashion-mnist", Mnist::fashion())]
    {
        for place in ["", name] {
            let dir = tempfile::tempdir().unwrap();
            let place = dir.path().join(place);
            write_mnist(&place.join(strict.name()));
            let (hub, strict_images) = (hub(name), strict.load(&place).unwrap());
            check_same(&hub.load(dir.path()).unwrap(), &strict_images);
            let files = hub.local_files(dir.path()).unwrap();
            assert_eq!(files, strict.local_files(&place).unwrap());
            assert!(matches!(hub.verify(dir.path()).unwrap(), Verification::Partial(_)));
            assert_eq!(hub.reference_normalization(1), strict.reference_normalization(1));
        }
    }
}

#[test]
fn the_real_sets_are_the_same_image_by_image() {
    let Some(data) = skip::shared().map(|s| s.join("data")) else { return };
    for strict in [Mnist::digits(), Mnist::fashion()] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(strict.name());
        fs::create_dir(&folder).unwrap();
        let Ok(paths) = strict.local_files(&data) else {
            skip::allowed(&format!("the real {} is not there", strict.name()));
            continue;
        };
        for path in paths {
            let mut bytes = Vec::new();
            GzDecoder::new(fs::File::open(&path).unwrap()).read_to_end(&mut bytes).unwrap();
            fs::write(folder.join(path.file_stem().unwrap()), bytes).unwrap();
        }
        let hub = hub(&format!("hub-{}", strict.name()));
        check_same(&hub.load(dir.path()).unwrap(), &strict.load(&data).unwrap());
        assert_eq!(hub.verify(dir.path()).unwrap(), Verification::Official);
    }
}

/// candle-datasets takes only files of 10,000 images, so the sample is repeated.
#[test]
fn cifar10_is_the_same_image_by_image() {
    let Some(sample) = skip::shared().map(|s| s.join("data/cifar-10-sample")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("cifar10");
    fs::create_dir(&folder).unwrap();
    let mut records = fs::read(sample.join("data_batch_1.bin")).unwrap();
    records.extend(fs::read(sample.join("test_batch.bin")).unwrap());
    for i in 1..=6 {
        // Each file begins with another image.
        records.rotate_left(RECORD * 7);
        let mut bytes = records.repeat(10_000 * RECORD / records.len() + 1);
        bytes.truncate(10_000 * RECORD);
        let name = if i < 6 { format!("data_batch_{i}.bin") } else { "test_batch.bin".into() };
        fs::write(folder.join(name), bytes).unwrap();
    }
    let (hub, strict) = (hub("hub-cifar10"), Cifar10.load(dir.path()).unwrap());
    assert_eq!((strict.len(), strict.official_train()), (60_000, 50_000));
    check_same(&hub.load(dir.path()).unwrap(), &strict);

    fs::write(folder.join("data_batch_2.bin"), &records[..RECORD * 9_999 % records.len()]).unwrap();
    let message = hub.load(dir.path()).unwrap_err().to_string();
    for words in ["cifar10: ", "candle-datasets cannot read it", "only files of 10,000 images"] {
        assert!(message.contains(words), "{message:?} should contain {words:?}");
    }
}

#[test]
fn broken_files_are_named_with_what_is_wrong() {
    let images = "train-images-idx3-ubyte";
    for (file, bytes, expected) in [
        // candle-datasets would allocate what these promise.
        (images, idx(&[u32::MAX, 28, 28], &[]), "promises 4294967295 entries"),
        (images, idx(&[900_000, 28, 28], &[1, 2]), "the file ends after 2 of 705600000 bytes"),
        (images, idx(&[20, u32::MAX, u32::MAX], &[]), "its images are [4294967295, 4294967295]"),
        (images, idx(&[20, 28, 28], &[7; 100]), "the file ends after 100 of 15680 bytes"),
        (images, idx(&[20, 28, 28], &[7; 15_681]), "bytes after the expected end"),
        (images, b"hello".to_vec(), "the file ends after 5 of 16 bytes"),
        ("t10k-labels-idx1-ubyte", idx(&[10], &[11; 10]), "entry 0 has label 11"),
        ("t10k-labels-idx1-ubyte", idx(&[9], &[1; 9]), "9 labels, but"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write_mnist(&dir.path().join("mnist"));
        fs::write(dir.path().join("mnist").join(file), bytes).unwrap();
        let message = hub("hub-mnist").load(dir.path()).unwrap_err().to_string();
        for words in [file, expected] {
            assert!(message.contains(words), "{message:?} should contain {words:?}");
        }
    }
}

#[test]
fn missing_and_packed_files_are_named_with_where_and_how() {
    let dir = tempfile::tempdir().unwrap();
    write_mnist(&dir.path().join("mnist"));
    let packed = dir.path().join("mnist/t10k-labels-idx1-ubyte");
    fs::rename(&packed, packed.with_extension("gz")).unwrap();
    for (name, file) in [("hub-mnist", "t10k-labels-idx1-ubyte"), ("hub-cifar10", "test_batch.bin")]
    {
        let error = hub(name).load(dir.path()).unwrap_err();
        assert!(matches!(error, Error::MissingFiles { .. }));
        let message = error.to_string();
        let set = name.trim_start_matches("hub-");
        for words in [
            &format!("{file} (unpacked)"),
            &format!("{} and ", dir.path().join(name).join(set).display()),
            &format!("{}.\n", dir.path().join(set).display()),
        ] {
            assert!(message.contains(words), "{message:?} should contain {words:?}");
        }
    }
}
