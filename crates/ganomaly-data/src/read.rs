//! Strict reading: nothing is allocated on the word of a header, and every byte must be accounted for.

use crate::{Error, Result};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// The decompressed stream of a file: through gz where its first two bytes say so, as it is otherwise.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read>> {
    let io = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(io)?;
    let mut magic = [0; 2];
    let gz = match file.read_exact(&mut magic) {
        Ok(()) => magic == [0x1f, 0x8b],
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => false,
        Err(e) => return Err(io(e)),
    };
    let file = File::open(path).map_err(io)?;
    let reader = BufReader::with_capacity(1 << 16, file);
    Ok(if gz { Box::new(GzDecoder::new(reader)) } else { Box::new(reader) })
}

/// Appends exactly `len` bytes to `buffer`, whose space grows with what has really been read.
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

/// Refuses bytes beyond the expected end (and, in a gz file, a wrong checksum).
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

/// SHA-256 of everything a reader gives.
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
