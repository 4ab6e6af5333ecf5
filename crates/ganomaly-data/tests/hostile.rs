//! Malicious files, and paths that are not files at all.

#![cfg(unix)]

use flate2::{Compression, write::GzEncoder};
use ganomaly_data::datasets::{Cifar10, Mnist};
use ganomaly_data::{Dataset, Limits, open_file, read_text, shown};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

const IMAGES: &str = "train-images-idx3-ubyte";

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn idx(dims: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
    bytes.extend(body);
    bytes
}

/// A small MNIST without its training images.
fn rest_of_mnist(dir: &Path) {
    fs::write(dir.join("train-labels-idx1-ubyte"), idx(&[2], &[1, 2])).unwrap();
    fs::write(dir.join("t10k-images-idx3-ubyte"), idx(&[1, 28, 28], &[7; 784])).unwrap();
    fs::write(dir.join("t10k-labels-idx1-ubyte"), idx(&[1], &[3])).unwrap();
}

fn images() -> Vec<u8> {
    idx(&[2, 28, 28], &[9; 2 * 784])
}

fn refused(dir: &Path, limits: &Limits, words: &[&str]) {
    let message = Mnist::digits().load_within(dir, limits).unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "{message:?} should contain {word:?}");
    }
}

#[test]
fn what_is_no_regular_file_is_refused_before_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(IMAGES);
    rest_of_mnist(dir.path());
    let limits = Limits::default();
    fs::create_dir(&path).unwrap();
    refused(dir.path(), &limits, &[IMAGES, "a folder; name a file"]);
    fs::remove_dir(&path).unwrap();
    // Opening a pipe without a writer would block forever.
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    refused(dir.path(), &limits, &[IMAGES, "a pipe or a device"]);
    fs::remove_file(&path).unwrap();
    symlink("/dev/zero", &path).unwrap();
    refused(dir.path(), &limits, &[IMAGES, "a pipe or a device"]);
    fs::remove_file(&path).unwrap();
    symlink("nowhere", &path).unwrap();
    refused(dir.path(), &limits, &[IMAGES, "a symbolic link to something that is not there"]);
    fs::remove_file(&path).unwrap();
    symlink(&path, &path).unwrap();
    refused(dir.path(), &limits, &[IMAGES]);
    // A folder of that name, as some unpackers create it, does not hide a file with the other
    // spelling.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(dir.path().join("train-images.idx3-ubyte"), images()).unwrap();
    assert_eq!(Mnist::digits().load(dir.path()).unwrap().len(), 3);
    let cifar = tempfile::tempdir().unwrap();
    fs::create_dir(cifar.path().join("cifar-10-binary.tar.gz")).unwrap();
    let message = Cifar10.load(cifar.path()).unwrap_err().to_string();
    assert!(message.contains("cifar-10-binary.tar.gz: a folder"), "{message}");
}

#[test]
fn symbolic_links_are_followed_out_of_the_folder_and_never_written_through() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    rest_of_mnist(dir.path());
    let real = elsewhere.path().join("images");
    fs::write(&real, images()).unwrap();
    symlink(&real, dir.path().join(IMAGES)).unwrap();
    assert_eq!(Mnist::digits().load(dir.path()).unwrap().len(), 3);
    assert_eq!(fs::read(&real).unwrap(), images());
}

#[test]
fn links_and_devices_in_an_archive_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, [1; 3073]).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    for (name, kind) in [
        ("cifar-10-batches-bin/data_batch_1.bin", tar::EntryType::Symlink),
        ("cifar-10-batches-bin/test_batch.bin", tar::EntryType::Link),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        tar.append_link(&mut header, name, &secret).unwrap();
    }
    fs::write(dir.path().join("cifar-10-binary.tar.gz"), gz(&tar.into_inner().unwrap())).unwrap();
    let message = Cifar10.load(dir.path()).unwrap_err().to_string();
    assert!(message.contains("test_batch.bin is not in it"), "{message}");
}

#[test]
fn bombs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let packed = dir.path().join(format!("{IMAGES}.gz"));
    rest_of_mnist(dir.path());
    // More than its header says: noticed at the first extra byte, although many more follow.
    let bomb = gz(&vec![0; 4 << 20]);
    let members = [gz(&images()), bomb.repeat(64)].concat();
    fs::write(&packed, members).unwrap();
    refused(dir.path(), &Limits::default(), &[".gz", "bytes after the expected end"]);
    // A header that promises more than the file could unpack to.
    fs::write(&packed, gz(&idx(&[900_000, 28, 28], &[0; 100]))).unwrap();
    refused(dir.path(), &Limits::default(), &["promises 705600000 bytes", "can be packed into it"]);
    // The file limit also applies to the unpacked size.
    fs::write(&packed, gz(&images())).unwrap();
    let small = Limits { file_bytes: 1000, ..Limits::default() };
    refused(
        dir.path(),
        &small,
        &["unpacks to more bytes than are read", "GANOMALY_MAX_FILE_BYTES"],
    );
    fs::remove_file(&packed).unwrap();
    fs::write(dir.path().join(IMAGES), images()).unwrap();
    refused(dir.path(), &small, &["1584 bytes, more than the 1000", "GANOMALY_MAX_FILE_BYTES"]);
    let one = Limits { images: 1, ..Limits::default() };
    refused(dir.path(), &one, &["promises 2 entries; 1 to 1 are taken", "GANOMALY_MAX_PICTURES"]);
}

#[test]
fn an_archive_with_an_endless_name_costs_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    // A GNU tar entry that holds the next entry's name, of 300 MB.
    let mut header = tar::Header::new_gnu();
    header.set_path("././@LongLink").unwrap();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(300 << 20);
    header.set_cksum();
    gz.write_all(header.as_bytes()).unwrap();
    for _ in 0..300 {
        gz.write_all(&vec![b'a'; 1 << 20]).unwrap();
    }
    fs::write(dir.path().join("cifar-10-binary.tar.gz"), gz.finish().unwrap()).unwrap();
    let message = Cifar10.load(dir.path()).unwrap_err().to_string();
    assert!(message.contains("unpacks to more bytes"), "{message}");
    #[cfg(target_os = "linux")]
    {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
        let kilobytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
        // Includes the other tests in this process, with their large buffers.
        assert!(kilobytes < 200_000, "{kilobytes} kB");
    }
}

#[test]
fn every_member_of_a_gz_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    rest_of_mnist(dir.path());
    let bytes = images();
    let two = [gz(&bytes[..500]), gz(&bytes[500..])].concat();
    fs::write(dir.path().join(format!("{IMAGES}.gz")), two).unwrap();
    assert_eq!(Mnist::digits().load(dir.path()).unwrap().len(), 3);
    fs::write(dir.path().join(format!("{IMAGES}.gz")), [gz(&bytes), b"rubbish".to_vec()].concat())
        .unwrap();
    refused(dir.path(), &Limits::default(), &["damaged at its end"]);
}

#[test]
fn paths_are_shown_without_moving_the_terminal() {
    let name = OsStr::from_bytes(b"a\nb\x1b[31m\xff\xe2\x80\xaec d");
    assert_eq!(shown(Path::new(name)), "a\\nb\\u{1b}[31m\\xff\\u{202e}c d");
    assert_eq!(shown(Path::new("Bilder/Grüße 'x'.png")), "Bilder/Grüße 'x'.png");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("two\nlines");
    let message = open_file(&path, 1).unwrap_err().to_string();
    assert!(message.contains("two\\nlines: ") && !message.contains('\n'), "{message:?}");
    fs::write(&path, b"ab\xffc").unwrap();
    let message = read_text(&path, 10).unwrap_err().to_string();
    assert!(message.contains("not a text in UTF-8: byte 2"), "{message:?}");
    assert!(read_text(&path, 3).unwrap_err().to_string().contains("4 bytes, more than the 3"));
}
