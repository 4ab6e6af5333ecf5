//! Data files: plain, compressed, in several locations, and broken in various ways.

#[path = "../../../tests/skip.rs"]
mod skip;

use flate2::{Compression, write::GzEncoder};
use ganomaly_data::datasets::{Cifar10, Mnist, Synthetic};
use ganomaly_data::{Dataset, Description, Error, LabeledImages, Verification};
use std::fs;
use std::io::Write;
use std::path::Path;

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn idx(dims: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
    bytes.extend(body);
    bytes
}

fn drawn(n: u32) -> Vec<u8> {
    let body: Vec<u8> = (0..n * 784).map(|i| (i % 251) as u8).collect();
    idx(&[n, 28, 28], &body)
}

fn labels(n: u32) -> Vec<u8> {
    idx(&[n], &(0..n).map(|i| (i % 10) as u8).collect::<Vec<_>>())
}

/// A small MNIST: 20 + 10 images.
fn write_mnist(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("train-images-idx3-ubyte"), drawn(20)).unwrap();
    fs::write(dir.join("train-labels-idx1-ubyte.gz"), gz(&labels(20))).unwrap();
    fs::write(dir.join("t10k-images.idx3-ubyte.gz"), gz(&drawn(10))).unwrap();
    fs::write(dir.join("t10k-labels.idx1-ubyte"), labels(10)).unwrap();
}

fn record(label: u8) -> Vec<u8> {
    let mut bytes = vec![label];
    bytes.extend((0..3072u32).map(|i| (i % 256) as u8));
    bytes
}

fn write_cifar(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("data_batch_1.bin"), [record(0), record(9)].concat()).unwrap();
    fs::write(dir.join("test_batch.bin"), record(3)).unwrap();
}

fn tar_gz(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        // Written directly, because the builder rejects paths that lead outside.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    gz(&tar.into_inner().unwrap())
}

#[test]
fn mnist_is_found_plain_packed_dotted_and_in_either_folder() {
    for inside in ["", "mnist"] {
        let dir = tempfile::tempdir().unwrap();
        write_mnist(&dir.path().join(inside));
        let images = Mnist::digits().load(dir.path()).unwrap();
        assert_eq!((images.len(), images.official_train(), images.shape()), (30, 20, [1, 28, 28]));
        assert_eq!(images.image(21).unwrap()[..3], [31, 32, 33]);
        assert_eq!(images.labels()[20..23], [0, 1, 2]);
        assert!(images.image(30).is_none());
        assert!(matches!(Mnist::digits().verify(dir.path()).unwrap(), Verification::Partial(_)));
    }
}

#[test]
fn mnist_and_fashion_mnist_are_not_mistaken_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    // The data folder itself is MNIST's.
    write_mnist(dir.path());
    let message = Mnist::fashion().load(dir.path()).unwrap_err().to_string();
    let there = dir.path().join("fashion-mnist");
    for words in ["fashion-mnist are missing", &format!("Looked in {}.\n", there.display())] {
        assert!(message.contains(words), "{message:?} should contain {words:?}");
    }
    write_mnist(&there);
    fs::write(there.join("t10k-labels.idx1-ubyte"), idx(&[10], &[9; 10])).unwrap();
    let fashion = Mnist::fashion().load(dir.path()).unwrap();
    assert_eq!((fashion.len(), fashion.official_train()), (30, 20));
    assert_eq!(fashion.labels()[20..], [9; 10]);
    assert_eq!(fashion.class_names()[9], "ankle-boot");
    assert_eq!(Mnist::digits().load(dir.path()).unwrap().labels()[20], 0);
    assert!(matches!(Mnist::fashion().verify(dir.path()).unwrap(), Verification::Partial(_)));
    for path in Mnist::fashion().local_files(dir.path()).unwrap() {
        assert_eq!(path.parent().unwrap(), there);
    }
}

#[test]
fn cifar10_is_found_loose_in_its_folder_and_in_the_archive() {
    for inside in ["", "cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"] {
        let dir = tempfile::tempdir().unwrap();
        write_cifar(&dir.path().join(inside));
        check_cifar(dir.path());
    }
    let dir = tempfile::tempdir().unwrap();
    let train = [record(0), record(9)].concat();
    let archive = tar_gz(&[
        ("cifar-10-batches-bin/readme.html", b"hello"),
        ("cifar-10-batches-bin/data_batch_1.bin", &train),
        ("../data_batch_2.bin", &record(1)),
        ("cifar-10-batches-bin/test_batch.bin", &record(3)),
    ]);
    fs::write(dir.path().join("cifar-10-binary.tar.gz"), archive).unwrap();
    check_cifar(dir.path());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is unpacked");
    assert!(!dir.path().parent().unwrap().join("data_batch_2.bin").exists());
}

fn check_cifar(dir: &Path) {
    let images = Cifar10.load(dir).unwrap();
    assert_eq!((images.len(), images.official_train(), images.shape()), (3, 2, [3, 32, 32]));
    assert_eq!(images.labels(), [0, 9, 3]);
    assert_eq!(images.image(2).unwrap(), &record(3)[1..]);
    let Verification::Partial(how) = Cifar10.verify(dir).unwrap() else { panic!("not official") };
    assert_eq!(how, "2 training and 1 test images, not the official 50,000 and 10,000 ones");
}

#[test]
fn broken_mnist_files_are_named_with_what_is_wrong() {
    let check = |file: &str, bytes: Vec<u8>, expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        write_mnist(dir.path());
        let stem = file.trim_end_matches(".gz");
        for old in [stem.to_string(), stem.replace("-idx", ".idx")] {
            let _ = fs::remove_file(dir.path().join(&old));
            let _ = fs::remove_file(dir.path().join(format!("{old}.gz")));
        }
        fs::write(dir.path().join(file), bytes).unwrap();
        let message = Mnist::digits().load(dir.path()).unwrap_err().to_string();
        assert!(
            message.contains(file) && message.contains(expected),
            "{message:?} should contain {expected:?}"
        );
    };
    let images = "train-images-idx3-ubyte";
    let packed = gz(&drawn(20));
    check(
        "train-images-idx3-ubyte.gz",
        packed[..packed.len() / 2].to_vec(),
        "damaged or cut off after",
    );
    let mut flipped = packed.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 1; // the checksum at the end
    check("train-images-idx3-ubyte.gz", flipped, "damaged");
    check(images, drawn(20)[..9_000].to_vec(), "the file ends after 8984 of 15680 bytes");
    check(images, [drawn(20), vec![0]].concat(), "bytes after the expected end");
    check(images, b"hello world, this is no image".to_vec(), "not an IDX file of the kind wanted");
    check(images, labels(20), "its magic number is 0x00000801, expected 0x00000803");
    check(images, vec![], "the file ends after 0 of 16 bytes");
    check(images, idx(&[u32::MAX, 28, 28], &[]), "its header promises 4294967295 entries");
    check(images, idx(&[0, 28, 28], &[]), "promises 0 entries");
    check(images, idx(&[900_000, 28, 28], &[1, 2]), "the file ends after 2 of 705600000 bytes");
    check(
        images,
        idx(&[1, 40_000, 40_000], &[]),
        "its images are [40000, 40000], expected [28, 28]",
    );
    check("train-labels-idx1-ubyte", labels(19), "19 labels, but");
    check(
        "t10k-labels-idx1-ubyte",
        idx(&[10], &[0, 1, 2, 12, 4, 5, 6, 7, 8, 9]),
        "entry 3 has label 12, expected 0 to 9",
    );
}

#[test]
fn broken_cifar10_files_are_named_with_what_is_wrong() {
    let check = |file: &str, bytes: Vec<u8>, expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        if file.ends_with(".bin") {
            write_cifar(dir.path());
        }
        fs::write(dir.path().join(file), bytes).unwrap();
        let message = Cifar10.load(dir.path()).unwrap_err().to_string();
        assert!(
            message.contains(file) && message.contains(expected),
            "{message:?} should contain {expected:?}"
        );
    };
    check("data_batch_1.bin", vec![0; 3074], "3074 bytes are not 1 to 10000 records of 3073 bytes");
    check("data_batch_1.bin", vec![], "0 bytes are not");
    check("data_batch_3.bin", vec![0; 3073 * 10_001], "are not 1 to 10000 records");
    check(
        "test_batch.bin",
        [record(1), record(10)].concat(),
        "record 1 has label 10, expected 0 to 9",
    );
    let archive = "cifar-10-binary.tar.gz";
    check(archive, b"no archive".to_vec(), "not a readable tar.gz");
    let one = tar_gz(&[("cifar-10-batches-bin/data_batch_1.bin", &record(0))]);
    check(archive, one.clone(), "test_batch.bin is not in it");
    check(archive, one[..one.len() / 2].to_vec(), archive);
    check(
        archive,
        tar_gz(&[("cifar-10-batches-bin/data_batch_1.bin", &[0; 100])]),
        "100 bytes are not",
    );
}

#[test]
fn missing_files_are_named_with_where_and_how() {
    let dir = tempfile::tempdir().unwrap();
    for (dataset, file) in [
        (&Mnist::digits() as &dyn Dataset, "t10k-labels-idx1-ubyte"),
        (&Mnist::fashion(), "t10k-labels-idx1-ubyte"),
        (&Cifar10, "test_batch.bin"),
    ] {
        let error = dataset.load(dir.path()).unwrap_err();
        assert!(matches!(error, Error::MissingFiles { .. }));
        let message = error.to_string();
        let name = dataset.name();
        for words in [file, &dir.path().join(name).display().to_string(), "or fetch the data set"] {
            assert!(message.contains(words), "{message:?} should contain {words:?}");
        }
    }
    let error = Mnist::digits().load(Path::new("/dev/null")).unwrap_err();
    assert!(matches!(error, Error::MissingFiles { .. }), "{error}");
}

#[test]
fn synthetic_sets_are_the_same_every_time() {
    for dataset in [Synthetic::grey(), Synthetic::colour()] {
        let images = dataset.load(Path::new("")).unwrap();
        assert_eq!(images, dataset.load(Path::new("anywhere")).unwrap());
        assert_eq!((images.len(), images.official_train()), (4000, 3000));
        assert_eq!(images.class_names().len(), 10);
        let side = images.shape()[1];
        let plane = &images.image(0).unwrap()[..side * side];
        let bright = plane.iter().filter(|&&p| p > 128).count();
        let ink = bright.min(plane.len() - bright);
        assert!((20..plane.len() / 2).contains(&ink), "a glyph is drawn: {ink} pixels");
        assert_eq!(dataset.verify(Path::new("")).unwrap(), Verification::Generated);
    }
}

#[test]
fn images_check_their_parts() {
    let names = vec!["a".to_string(), "b".to_string()];
    let check = |pixels: usize, shape, labels: &[u8], train, expected: &str| {
        let made = LabeledImages::new(
            vec![0; pixels],
            labels.to_vec(),
            Description::new(names.clone(), shape),
            train,
        );
        let message = made.unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    };
    check(5, [1, 2, 2], &[0], 1, "5 bytes are not 1 images");
    check(0, [0, 2, 2], &[], 0, "are not 0 images");
    check(4, [1, 2, 2], &[2], 1, "image 0 has label 2, but there are 2 classes");
    check(4, [1, 2, 2], &[1], 2, "2 training images of 1 in all");
}

#[test]
fn the_real_mnist_is_official_and_the_cifar_sample_is_not() {
    let Some(data) = skip::shared().map(|s| s.join("data")) else { return };
    assert_eq!(Mnist::digits().verify(&data).unwrap(), Verification::Official);
    let images = Cifar10.load(&data.join("cifar-10-sample")).unwrap();
    assert_eq!((images.len(), images.official_train()), (2000, 1500));
    assert!(matches!(
        Cifar10.verify(&data.join("cifar-10-sample")).unwrap(),
        Verification::Partial(_)
    ));
}

#[test]
fn digits_in_the_place_of_clothing_are_named() {
    let Some(data) = skip::shared().map(|s| s.join("data/mnist")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let there = dir.path().join("fashion-mnist");
    fs::create_dir(&there).unwrap();
    for path in Mnist::digits().local_files(&data).unwrap() {
        fs::copy(&path, there.join(path.file_name().unwrap())).unwrap();
    }
    let Verification::Partial(how) = Mnist::fashion().verify(dir.path()).unwrap() else {
        panic!("not official")
    };
    assert_eq!(how.matches("(it is of mnist; the official one has ").count(), 4, "{how}");
}

#[test]
fn the_real_fashion_mnist_is_official() {
    let Some(data) = skip::shared().map(|s| s.join("data")) else { return };
    if !data.join("fashion-mnist").is_dir() {
        return skip::allowed("the real Fashion-MNIST is not there");
    }
    assert_eq!(Mnist::fashion().verify(&data).unwrap(), Verification::Official);
    let images = Mnist::fashion().load(&data).unwrap();
    assert_eq!((images.len(), images.official_train()), (70_000, 60_000));
    // The reference normalisation is that of the training images.
    let (mut sum, mut squares) = (0.0, 0.0);
    for value in (0..60_000).flat_map(|i| images.image(i).unwrap()).map(|&v| f64::from(v) / 255.0) {
        sum += value;
        squares += value * value;
    }
    let mean = sum / 47_040_000.0;
    let std = (squares / 47_040_000.0 - mean * mean).sqrt();
    assert_eq!((format!("{mean:.4}"), format!("{std:.4}")), ("0.2860".into(), "0.3530".into()));
}
