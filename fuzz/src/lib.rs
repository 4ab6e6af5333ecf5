//! The fuzz targets: each takes bytes for a file that a stranger made, and checks what must hold of whatever comes out.
//!
//! Used by libFuzzer (`fuzz_targets/`) and, with the corpus, by an ordinary test of `ganomaly` (`tests/replay.rs`).

use ganomaly_data::datasets::{Cifar10, Mnist};
use ganomaly_data::{Dataset, LabeledImages, read_image};
use ganomaly_experiment::config::{Experiment, RunConfig};
use ganomaly_experiment::registry::Registry;
use ganomaly_model::weights;
use ganomaly_runner::checkpoint::Checkpoint;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::Path;

/// A reader under test.
pub struct Target {
    /// The name of its corpus.
    pub name: &'static str,
    /// Reads an input; the folder is for the files it needs.
    pub run: fn(&Path, &[u8]),
    /// Most bytes that it may allocate above what was there before.
    pub most_bytes: usize,
}

/// Every target.
pub const TARGETS: [Target; 7] = [
    // 55 MB are made ready for the official images.
    Target { name: "idx", run: idx, most_bytes: 64 << 20 },
    Target { name: "cifar", run: cifar, most_bytes: 8 << 20 },
    Target { name: "config", run: config, most_bytes: 64 << 20 },
    Target { name: "safetensors", run: safetensors, most_bytes: 4 << 20 },
    Target { name: "pth", run: pth, most_bytes: 4 << 20 },
    Target { name: "image", run: image, most_bytes: 8 << 20 },
    // Tensors are copied out of the file, which may be as long as libFuzzer makes it.
    Target { name: "checkpoint", run: checkpoint, most_bytes: 16 << 20 },
];

/// The limits that the memory above follows from.
const DATA: ganomaly_data::Limits = ganomaly_data::Limits {
    file_bytes: 1 << 20,
    images: 1000,
    pixels: 1 << 16,
    kept_bytes: 1 << 20,
};
const WEIGHTS: weights::ReadLimits = weights::ReadLimits { bytes: 1 << 20, header_bytes: 1 << 15 };

/// The first byte chooses which of MNIST's four files the others are.
fn idx(dir: &Path, data: &[u8]) {
    let Some((&which, bytes)) = data.split_first() else { return };
    let header = |dims: &[u32]| {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        bytes.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
        bytes
    };
    let images = [header(&[1, 28, 28]), vec![7; 784]].concat();
    let labels = [header(&[1]), vec![3]].concat();
    let names = [
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ];
    for (i, name) in names.into_iter().enumerate() {
        let good = if i % 2 == 0 { &images } else { &labels };
        let contents = if i == usize::from(which) % 4 { bytes } else { good };
        fs::write(dir.join(name), contents).unwrap();
    }
    check_images(Mnist::digits().load_within(dir, &DATA), dir);
}

/// A file of records; after a byte t, an archive before it is packed; after the bytes of gz, the archive.
fn cifar(dir: &Path, data: &[u8]) {
    let (batch, test) = (dir.join("data_batch_1.bin"), dir.join("test_batch.bin"));
    let archive = dir.join("cifar-10-binary.tar.gz");
    for file in [&batch, &test, &archive] {
        let _ = fs::remove_file(file);
    }
    if data.starts_with(&[0x1f, 0x8b]) {
        fs::write(&archive, data).unwrap();
    } else if let Some(tar) = data.strip_prefix(b"t") {
        let file = fs::File::create(&archive).unwrap();
        let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::none());
        gz.write_all(tar).unwrap();
        gz.finish().unwrap();
    } else {
        fs::write(&batch, data).unwrap();
        fs::write(&test, [1; 3073]).unwrap();
    }
    check_images(Cifar10.load(dir), dir);
}

fn check_images(read: ganomaly_data::Result<LabeledImages>, dir: &Path) {
    match read {
        Ok(images) => {
            assert!(!images.is_empty() && images.official_train() <= images.len());
            assert!(
                images.image(images.len() - 1).is_some() && images.image(images.len()).is_none()
            );
        }
        Err(e) => named(&e.to_string(), dir),
    }
}

/// Errors name the file.
fn named(message: &str, path: &Path) {
    let path = path.display().to_string();
    assert!(message.contains(&path), "{message:?} does not name {path}");
}

/// The text of an experiment, then, after a zero byte each, what follows `--set`.
fn config(_: &Path, data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split('\0');
    let text = parts.next().unwrap_or_default();
    let registry = Registry::builtin();
    let sets: Vec<String> = parts.take(4).map(String::from).collect();
    if let Ok(experiment) = Experiment::parse("fuzz", text, &sets, &registry) {
        for run in experiment.runs.iter().take(20) {
            let again = RunConfig::from_toml(&run.to_toml().unwrap(), &registry).unwrap();
            assert_eq!(&again, run);
            assert_eq!(again.run_name().unwrap(), run.run_name().unwrap());
        }
    }
    let _ = RunConfig::from_toml(text, &registry);
}

fn safetensors(dir: &Path, data: &[u8]) {
    let path = dir.join("weights.safetensors");
    fs::write(&path, data).unwrap();
    match weights::read_safetensors_within(&path, &WEIGHTS) {
        Ok((tensors, metadata)) => {
            let bytes = weights::to_safetensors(&tensors, Some(metadata)).unwrap();
            fs::write(&path, bytes).unwrap();
            let (again, _) = weights::read_safetensors_within(&path, &WEIGHTS).unwrap();
            assert_eq!(tensors.len(), again.len());
        }
        Err(e) => named(&e.to_string(), &path),
    }
}

/// A zip file or an older stream where it begins like one, else the pickle in a zip file.
fn pth(dir: &Path, data: &[u8]) {
    let path = dir.join("netG.pth");
    if data.starts_with(b"PK") || data.starts_with(b"\x80\x02\x8a\x0a") {
        fs::write(&path, data).unwrap();
    } else {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let stored = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        for (name, bytes) in [("a/data.pkl", data), ("a/data/0", &[0x3f; 64])] {
            zip.start_file(name, stored).unwrap();
            zip.write_all(bytes).unwrap();
        }
        fs::write(&path, zip.finish().unwrap().into_inner()).unwrap();
    }
    match weights::read_pth_file_within(&path, "netg.", &WEIGHTS) {
        Ok(tensors) => {
            assert!(!tensors.is_empty() && tensors.iter().all(|(n, _)| n.starts_with("netg.")));
            let bytes: usize =
                tensors.iter().map(|(_, t)| t.elem_count() * t.dtype().size_in_bytes()).sum();
            assert!(bytes as u64 <= WEIGHTS.bytes);
        }
        Err(e) => named(&e.to_string(), &path),
    }
}

/// The first byte chooses grey or colour.
fn image(dir: &Path, data: &[u8]) {
    let Some((&colour, bytes)) = data.split_first() else { return };
    let path = dir.join("image");
    fs::write(&path, bytes).unwrap();
    let channels = if colour % 2 == 0 { 1 } else { 3 };
    match read_image(&path, channels, &DATA) {
        Ok((pixels, [c, h, w])) => {
            assert!(c == channels && pixels.len() == c * h * w && h * w > 0);
            assert!((h * w) as u64 <= DATA.pixels);
        }
        Err(e) => named(&format!("{e:#}"), &path),
    }
}

/// As it is, and with the checksum that it would need, so that the bytes after the checksum are
/// tested as well.
fn checkpoint(_: &Path, data: &[u8]) {
    let _ = Checkpoint::from_bytes(data, None);
    const BEFORE: &[u8] = br#"sha256\":\""#;
    const HEX: usize = 64;
    let Some(at) = data.windows(BEFORE.len()).position(|window| window == BEFORE) else { return };
    let mut sealed = data.to_vec();
    let Some(place) = sealed.get_mut(at + BEFORE.len()..).and_then(|s| s.get_mut(..HEX)) else {
        return;
    };
    place.fill(b'0');
    let digest = Sha256::digest(&sealed);
    let text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    sealed[at + BEFORE.len()..][..HEX].copy_from_slice(text.as_bytes());
    if let Err(e) = Checkpoint::from_bytes(&sealed, None) {
        assert!(!format!("{e:#}").contains("checksum does not hold"), "{e:#}");
    }
}
