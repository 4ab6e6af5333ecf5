//! Weights files: reads and writes safetensors, and reads the published code's `.pth` files.
//!
//! Files are treated as untrusted: only regular files are opened, sizes are checked against the
//! file's before anything is allocated, at most [`ReadLimits`] is read, and values that are not finite
//! are rejected.
//!
//! # No code is run
//!
//! A safetensors file is a JSON header and bytes. A `.pth` file is a pickle with numbers, in a zip
//! file or an older stream. A pickle is a program for a stack machine, and Python's own reader lets
//! it call any function. Here candle's reader (`candle_core::pickle`) runs it, which has no Python
//! and nothing to call: its 33 operations build values of one plain enumeration (`Object`), a
//! function's name (`GLOBAL`) becomes a pair of strings (`Object::Class`), and a call (`REDUCE`,
//! `NEWOBJ`, `BUILD`) becomes a pair of the name and the arguments (`Object::Reduce`,
//! `Object::Build`), except that a call of `collections.OrderedDict` becomes an empty dictionary.
//! Any other operation is an error. But candle's reader trusts a file's lengths, copies memoised
//! values each time they are fetched, and panics on calls with too few arguments. So the pickle is
//! first measured (`measure`), which also rejects every name that tensors do not need, and the
//! tensors are extracted from the built values here (`pth`).

mod limits;
mod measure;
mod pth;

pub use limits::ReadLimits;
pub use pth::{read_pth, read_pth_file, read_pth_file_within};

use crate::{Error, NamedTensors, Result};
use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Maximum number of axes of a tensor.
const MAX_RANK: usize = 16;

/// A safetensors file's tensors, sorted by name, and its metadata strings.
pub type Contents = (NamedTensors, HashMap<String, String>);

/// Reads every tensor of a safetensors file, sorted by name.
pub fn read_safetensors(path: &Path) -> Result<NamedTensors> {
    read_safetensors_within(path, &ReadLimits::from_env()?).map(|(tensors, _)| tensors)
}

/// Reads every tensor and the metadata of a safetensors file. Needs memory for twice the file.
pub fn read_safetensors_within(path: &Path, limits: &ReadLimits) -> Result<Contents> {
    let bytes = read_file(path, limits)?;
    let header = bytes.first_chunk::<8>().map_or(0, |n| u64::from_le_bytes(*n));
    if header > (bytes.len() as u64).saturating_sub(8) {
        return Err(wrong(path, "not safetensors: it is shorter than its header".into()));
    }
    if header > limits.header_bytes {
        return Err(wrong(path, format!("its header has {header} bytes; {}", limits.header())));
    }
    let unreadable = |e: &dyn std::fmt::Display| wrong(path, format!("not safetensors: {e}"));
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| unreadable(&e))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| unreadable(&e))?;
    let mut tensors = NamedTensors::new();
    for (name, view) in file.iter() {
        let dtype = dtype(view.dtype()).ok_or_else(|| {
            wrong(path, format!("tensor {name:?} has the type {}, which is not read", view.dtype()))
        })?;
        tensors.push((name.into(), tensor(path, name, dtype, view.shape(), view.data())?));
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok((tensors, metadata.metadata().clone().unwrap_or_default()))
}

/// The bytes of a safetensors file with these tensors and string metadata. The same tensors give
/// the same bytes.
pub fn to_safetensors(
    tensors: &NamedTensors,
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>> {
    // Empty metadata without tensors would result in a header that is not JSON (safetensors 0.8.0).
    let metadata = metadata.filter(|metadata| !metadata.is_empty());
    safetensors::serialize(tensors.iter().map(|(n, t)| (n.as_str(), t)), metadata)
        .map_err(|e| Error::Weights(format!("the weights cannot be written: {e}")))
}

/// The tensor of that name, or an error that says it is missing.
pub fn named(tensors: &NamedTensors, name: &str) -> Result<Tensor> {
    tensors
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, t)| t.clone())
        .ok_or_else(|| Error::Weights(format!("no tensor named {name:?}")))
}

fn dtype(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::U8 => DType::U8,
        Dtype::U32 => DType::U32,
        Dtype::I16 => DType::I16,
        Dtype::I32 => DType::I32,
        Dtype::I64 => DType::I64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        _ => return None,
    })
}

/// A tensor of little-endian bytes, as many as its shape needs, all finite.
fn tensor(path: &Path, name: &str, dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<Tensor> {
    if shape.len() > MAX_RANK {
        let rank = shape.len();
        return Err(wrong(path, format!("tensor {name:?} has {rank} axes; {MAX_RANK} are read")));
    }
    if let Some(at) = not_finite(dtype, bytes) {
        return Err(wrong(
            path,
            format!(
                "tensor {name:?}: number {at} is infinite or not a number; these weights cannot be used; use an earlier file of them"
            ),
        ));
    }
    Tensor::from_raw_buffer(bytes, dtype, shape, &Device::Cpu)
        .map_err(|e| wrong(path, format!("tensor {name:?}: {e}")))
}

/// The first value whose exponent bits are all set.
fn not_finite(dtype: DType, bytes: &[u8]) -> Option<usize> {
    let exponent = |bits: u16| {
        bytes.chunks_exact(2).position(|b| u16::from_le_bytes([b[0], b[1]]) & bits == bits)
    };
    match dtype {
        DType::F16 => exponent(0x7c00),
        DType::BF16 => exponent(0x7f80),
        DType::F32 => bytes
            .chunks_exact(4)
            .position(|b| !f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_finite()),
        DType::F64 => {
            bytes.chunks_exact(8).position(|b| b[7] & 0x7f == 0x7f && b[6] & 0xf0 == 0xf0)
        }
        _ => None,
    }
}

/// A regular file's bytes. Symbolic links are followed.
fn read_file(path: &Path, limits: &ReadLimits) -> Result<Vec<u8>> {
    let io = |e: std::io::Error| wrong(path, format!("cannot be read: {e}"));
    // Checked before opening: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(wrong(path, "a folder, a pipe or a device; name a regular file".into()));
    }
    let len = metadata.len();
    if len > limits.bytes {
        return Err(wrong(path, format!("it has {len} bytes; {}", limits.whole())));
    }
    let mut bytes = Vec::with_capacity(len as usize);
    let file = File::open(path).map_err(io)?;
    // One byte more, so that a file that grew is noticed.
    file.take(len + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 != len {
        return Err(wrong(path, "it changed while it was read; try again".into()));
    }
    Ok(bytes)
}

fn wrong(path: &Path, problem: String) -> Error {
    Error::Weights(format!("{}: cannot be read as weights: {problem}", shown(path)))
}

/// The path with control characters escaped, since messages go to a terminal.
pub(crate) fn shown(path: &Path) -> String {
    let mut shown = String::new();
    for c in path.to_string_lossy().chars() {
        if c.is_control() { shown.extend(c.escape_debug()) } else { shown.push(c) }
    }
    shown
}
