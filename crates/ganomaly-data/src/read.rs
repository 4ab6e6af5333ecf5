//! Strict reading: nothing is allocated based on a header, and every byte must be accounted for.

use crate::{Error, Limits, Result};
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Opens a file for reading and returns its size. Symbolic links are followed. Anything that is not
/// a regular file (a folder, a pipe, a device) or is larger than `most` bytes is rejected before it
/// is opened.
pub fn open_file(path: &Path, most: u64) -> Result<(File, u64)> {
    open_within(path, most, "")
}

impl Limits {
    /// As [`open_file`], within these limits.
    pub fn open(&self, path: &Path) -> Result<(File, u64)> {
        open_within(path, self.file_bytes, "; GANOMALY_MAX_FILE_BYTES raises the limit")
    }
}

fn open_within(path: &Path, most: u64, raise: &str) -> Result<(File, u64)> {
    let io = |e| Error::io(path, e);
    // Checked before opening: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(|e| {
        if e.kind() == std::io::ErrorKind::NotFound && path.is_symlink() {
            Error::malformed(path, "a symbolic link to something that is not there")
        } else {
            io(e)
        }
    })?;
    regular(path, &metadata, most, raise)?;
    let file = File::open(path).map_err(io)?;
    // Checked again for the opened file, which may have replaced the other one.
    let metadata = file.metadata().map_err(io)?;
    regular(path, &metadata, most, raise)?;
    Ok((file, metadata.len()))
}

fn regular(path: &Path, metadata: &Metadata, most: u64, raise: &str) -> Result<()> {
    if metadata.is_dir() {
        return Err(Error::malformed(path, "a folder; name a file"));
    }
    if !metadata.is_file() {
        return Err(Error::malformed(path, "a pipe or a device; name a regular file"));
    }
    if metadata.len() > most {
        return Err(Error::malformed(
            path,
            format!("{} bytes, more than the {most} that are read{raise}", metadata.len()),
        ));
    }
    Ok(())
}

/// Reads a whole text file of at most `most` bytes.
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    String::from_utf8(read_bytes(path, most)?).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::malformed(path, format!("not a text in UTF-8: byte {at} does not belong to one"))
    })
}

/// Reads a whole file of at most `most` bytes.
pub fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>> {
    let (file, len) = open_file(path, most)?;
    let mut bytes = Vec::with_capacity(len as usize);
    // One more byte, so that a file that grew is noticed.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    if bytes.len() as u64 > most {
        return Err(Error::malformed(path, format!("more than the {most} bytes that are read")));
    }
    Ok(bytes)
}

/// DEFLATE packs at most 258 bytes into 2 bits.
const MOST_DENSE: u64 = 1032;

/// A file's bytes, unpacked.
pub(crate) struct Source {
    /// Fails beyond the limit on a file's bytes.
    pub reader: Box<dyn Read>,
    /// The file cannot contain more bytes than this.
    pub most: u64,
    /// Whether `most` is the exact size.
    pub exact: bool,
}

/// The bytes of a file: decompressed if the first two are those of gz, else as they are.
pub(crate) fn open(path: &Path, limits: &Limits) -> Result<Source> {
    let (file, len) = limits.open(path)?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let start = reader.fill_buf().map_err(|e| Error::io(path, e))?;
    let packed = start.starts_with(&[0x1f, 0x8b]);
    let capped = |reader| Box::new(Capped { reader, left: limits.file_bytes });
    Ok(if packed {
        // All gz members, as gzip and Python read them.
        let reader = capped(Box::new(MultiGzDecoder::new(reader)) as Box<dyn Read>);
        Source { reader, most: len.saturating_mul(MOST_DENSE), exact: false }
    } else {
        Source { reader: capped(Box::new(reader)), most: len, exact: true }
    })
}

/// A reader that fails after more than `left` bytes.
pub(crate) struct Capped {
    pub reader: Box<dyn Read>,
    pub left: u64,
}

impl Read for Capped {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            std::io::Error::other(
                "it unpacks to more bytes than are read; GANOMALY_MAX_FILE_BYTES raises the limit",
            )
        })?;
        Ok(n)
    }
}

/// Appends exactly `len` bytes to `buffer`, which grows only with what has been read.
pub(crate) fn append(
    reader: &mut dyn Read,
    len: usize,
    buffer: &mut Vec<u8>,
    path: &Path,
) -> Result<()> {
    let before = buffer.len();
    let result = reader.take(len as u64).read_to_end(buffer);
    let got = buffer.len() - before;
    match result {
        Ok(_) if got == len => Ok(()),
        Ok(_) => Err(Error::malformed(path, format!("the file ends after {got} of {len} bytes"))),
        Err(e) => Err(Error::malformed(
            path,
            format!("the file is damaged or cut off after {got} of {len} bytes: {e}"),
        )),
    }
}

/// Rejects bytes beyond the expected end (and, in a gz file, a wrong checksum).
pub(crate) fn expect_end(reader: &mut dyn Read, path: &Path) -> Result<()> {
    let mut byte = [0];
    match reader.read(&mut byte) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Error::malformed(path, "there are bytes after the expected end")),
        Err(e) => Err(Error::malformed(path, format!("the file is damaged at its end: {e}"))),
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 of everything a reader returns.
pub(crate) fn sha256(mut reader: impl Read, path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer).map_err(|e| Error::malformed(path, e.to_string()))? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}
