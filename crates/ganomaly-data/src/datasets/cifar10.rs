//! CIFAR-10 in binary form: records of one label byte and 3·32·32 pixel bytes.

use crate::dataset::{folders, missing};
use crate::read::{Capped, append, expect_end, hex, open_file};
use crate::{
    About, Checksum, Dataset, Description, Error, LabeledImages, RemoteFile, Result, Verification,
};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

const PIXELS: usize = 3 * 32 * 32;
const RECORD: usize = 1 + PIXELS;
/// The official count of a file; no file may hold more.
const MAX_RECORDS: usize = 10_000;
/// The official archive is 170 MB, and 185 MB unpacked.
const MAX_ARCHIVE: u64 = 256 << 20;
const ARCHIVE: &str = "cifar-10-binary.tar.gz";
const FOLDER: &str = "cifar-10-batches-bin";
const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// SHA-256 over the sorted SHA-256 digests of a part's records, computed from the official files.
/// The check is independent of order, so files made from the lossless images also pass.
const TRAIN_RECORDS: &str = "55a61f79a40ece2ceda9fb5f9f7078f6ea2fc4952489cef56682bcf92cfcc260";
const TEST_RECORDS: &str = "325704b01eb92e1e2a6215ae6a916bb7db7de054af0c496be1c7be2e0fcfbf5f";

/// Small photographs: 50,000 + 10,000 colour images of 32×32.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cifar10;

/// The files in the order of their records: five training batches, one test batch.
fn part_names() -> Vec<String> {
    (1..=5).map(|i| format!("data_batch_{i}.bin")).chain(["test_batch.bin".to_string()]).collect()
}

impl Cifar10 {
    /// The loose files that exist, in the order of their records, or only the archive.
    fn paths(self, data_dir: &Path) -> Result<Vec<PathBuf>> {
        let bases = folders(data_dir, self.name());
        let places: Vec<PathBuf> = bases.iter().flat_map(|f| [f.clone(), f.join(FOLDER)]).collect();
        let complete = |dir: &&PathBuf| {
            let there = |name| dir.join(name).symlink_metadata().is_ok();
            there("data_batch_1.bin") && there("test_batch.bin")
        };
        if let Some(dir) = places.iter().find(complete) {
            let paths = part_names().into_iter().map(|name| dir.join(name));
            return Ok(paths.filter(|path| path.symlink_metadata().is_ok()).collect());
        }
        match bases.iter().map(|f| f.join(ARCHIVE)).find(|p| p.symlink_metadata().is_ok()) {
            Some(path) => Ok(vec![path]),
            None => {
                let files = vec![format!(
                    "data_batch_1.bin to data_batch_5.bin and test_batch.bin, or {ARCHIVE}"
                )];
                Err(missing(self.name(), files, places))
            }
        }
    }

    /// Each file's records, from loose files or from the archive.
    fn parts(self, data_dir: &Path) -> Result<Vec<Option<Vec<u8>>>> {
        let paths = self.paths(data_dir)?;
        if let [path] = paths.as_slice() {
            return read_archive(path);
        }
        let named = |name: &String| paths.iter().find(|path| path.ends_with(name));
        part_names()
            .iter()
            .map(|name| named(name).map(|path| read_file(path)).transpose())
            .collect()
    }
}

impl Dataset for Cifar10 {
    fn name(&self) -> &str {
        "cifar10"
    }

    fn describe(&self, _data_dir: &Path) -> Result<Description> {
        Ok(Description::new(CLASSES, [3, 32, 32]))
    }

    fn about(&self) -> About {
        About {
            description: "60,000 small photographs of ten kinds of things, 32×32 colour",
            homepage: "https://www.cs.toronto.edu/~kriz/cifar.html",
            licence: "none stated by its authors",
            citation: "Krizhevsky: Learning multiple layers of features from tiny images, 2009",
        }
    }

    fn files(&self) -> Vec<RemoteFile> {
        vec![RemoteFile {
            name: ARCHIVE.into(),
            mirrors: vec!["https://www.cs.toronto.edu/~kriz/".into()],
            max_bytes: 256 << 20,
            checksum: Checksum::Md5("c32a1d4ab5d03f1284b67883e8d87530"),
        }]
    }

    fn load(&self, data_dir: &Path) -> Result<LabeledImages> {
        let mut parts = self.parts(data_dir)?;
        let total: usize = parts.iter().flatten().map(|p| p.len() / RECORD).sum();
        let mut pixels = Vec::with_capacity(total * PIXELS);
        let mut labels = Vec::with_capacity(total);
        let mut official_train = 0;
        for (index, part) in parts.iter_mut().enumerate() {
            // Taken, so that each part is freed once it has been copied.
            for record in part.take().unwrap_or_default().chunks_exact(RECORD) {
                labels.push(record[0]);
                pixels.extend_from_slice(&record[1..]);
            }
            if index < 5 {
                official_train = labels.len();
            }
        }
        LabeledImages::new(pixels, labels, self.describe(data_dir)?, official_train)
    }

    fn local_files(&self, data_dir: &Path) -> Result<Vec<PathBuf>> {
        self.paths(data_dir)
    }

    fn verify(&self, data_dir: &Path) -> Result<Verification> {
        let parts: Vec<Vec<u8>> =
            self.parts(data_dir)?.into_iter().map(Option::unwrap_or_default).collect();
        let count = |parts: &[Vec<u8>]| parts.iter().map(|p| p.len() / RECORD).sum::<usize>();
        let (train, test) = parts.split_at(5);
        if records_digest(train) == TRAIN_RECORDS && records_digest(test) == TEST_RECORDS {
            return Ok(Verification::Official);
        }
        let (train, test) = (count(train), count(test));
        Ok(Verification::Partial(format!(
            "{train} training and {test} test images, not the official 50,000 and 10,000 ones"
        )))
    }
}

fn records_digest(parts: &[Vec<u8>]) -> String {
    let records = parts.iter().flat_map(|p| p.chunks_exact(RECORD));
    let mut digests: Vec<_> = records.map(Sha256::digest).collect();
    digests.sort();
    let mut all = Sha256::new();
    for digest in &digests {
        all.update(digest);
    }
    hex(&all.finalize())
}

/// A whole number of records, 1 to 10,000.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    // `read_records` rejects larger files, and its message gives the number of records that a file
    // may have.
    let (file, len) = open_file(path, u64::MAX)?;
    read_records(&mut BufReader::new(file), len, path)
}

fn read_records(reader: &mut dyn Read, len: u64, path: &Path) -> Result<Vec<u8>> {
    let record = RECORD as u64;
    if len == 0 || !len.is_multiple_of(record) || len > record * MAX_RECORDS as u64 {
        return Err(Error::malformed(
            path,
            format!("{len} bytes are not 1 to {MAX_RECORDS} records of {RECORD} bytes"),
        ));
    }
    let mut bytes = Vec::with_capacity(len as usize);
    append(reader, len as usize, &mut bytes, path)?;
    expect_end(reader, path)?;
    match bytes.chunks_exact(RECORD).position(|r| r[0] > 9) {
        None => Ok(bytes),
        Some(at) => Err(Error::malformed(
            path,
            format!("record {at} has label {}, expected 0 to 9", bytes[at * RECORD]),
        )),
    }
}

/// Reads the batches from the archive in memory: nothing is unpacked to disk, so paths in the
/// archive cannot cause harm.
fn read_archive(path: &Path) -> Result<Vec<Option<Vec<u8>>>> {
    let broken = |e: std::io::Error| Error::malformed(path, format!("not a readable tar.gz: {e}"));
    let (file, _) = open_file(path, MAX_ARCHIVE)?;
    let reader = Box::new(GzDecoder::new(BufReader::new(file)));
    let mut archive = tar::Archive::new(Capped { reader, left: MAX_ARCHIVE });
    let names = part_names();
    let mut parts = vec![None; names.len()];
    // Raw: otherwise an entry that holds a long name for the next one would be read into memory
    // completely, and the official archive has none.
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        let inside = entry.path().map_err(broken)?.into_owned();
        let wanted = names.iter().position(|n| inside == Path::new(FOLDER).join(n));
        if let (Some(index), true) = (wanted, entry.header().entry_type().is_file()) {
            let len = entry.size();
            let whole = path.join(&inside);
            if parts[index].is_some() {
                return Err(Error::malformed(&whole, "it is there twice"));
            }
            parts[index] = Some(read_records(&mut entry, len, &whole)?);
        }
    }
    if parts[0].is_none() || parts[5].is_none() {
        return Err(Error::malformed(
            path,
            format!("{FOLDER}/data_batch_1.bin or {FOLDER}/test_batch.bin is not in it"),
        ));
    }
    Ok(parts)
}
