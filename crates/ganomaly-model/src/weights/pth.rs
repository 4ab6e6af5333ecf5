//! PyTorch's `.pth` files: a zip file with a pickle, `data.pkl`, and a binary file for each
//! storage, `data/KEY`.

use super::{ReadLimits, measure::measure, read_file, tensor, wrong};
use crate::{Error, NamedTensors, Result};
use candle_core::pickle::{Object, Stack};
use candle_core::{DType, Tensor};
use std::cell::Cell;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;
use zip::{CompressionMethod, ZipArchive};

/// Reads the published code's pair of files, `netG.pth` and `netD.pth`: names get the prefixes
/// `netg.` and `netd.`.
pub fn read_pth(net_g: &Path, net_d: &Path) -> Result<NamedTensors> {
    let mut all = read_pth_file(net_g, "netg.")?;
    all.extend(read_pth_file(net_d, "netd.")?);
    Ok(all)
}

/// Reads one `.pth` file that contains a `state_dict` (as `Ganomaly.save_weights` writes it) or is
/// one itself. None of its code is run: see [the module](super).
pub fn read_pth_file(path: &Path, prefix: &str) -> Result<NamedTensors> {
    read_pth_file_within(path, prefix, &ReadLimits::from_env()?)
}

/// As [`read_pth_file`], with the given limits. Needs memory for the file, its tensors and its
/// largest storage.
pub fn read_pth_file_within(
    path: &Path,
    prefix: &str,
    limits: &ReadLimits,
) -> Result<NamedTensors> {
    let bytes = read_file(path, limits)?;
    let wrong = |problem: String| wrong(path, problem);
    let mut archive = Archive::open(&bytes, limits).map_err(wrong)?;
    let (folder, pickle) = archive.pickle().map_err(wrong)?;
    let most = limits.header_bytes.saturating_mul(16);
    measure(&pickle, most).map_err(|e| wrong(format!("its data.pkl: {e}")))?;
    let described = describe(&pickle).map_err(wrong)?;
    drop(pickle);
    let mut left = limits.bytes;
    let mut storage: (String, Vec<u8>) = Default::default();
    let mut tensors = NamedTensors::new();
    for info in described {
        // Sorted by storage, so that each is read once.
        if storage.0 != info.key {
            let data = archive.read(&format!("{folder}data/{}", info.key), limits.bytes);
            storage = (info.key.clone(), data.map_err(wrong)?);
        }
        let bytes = info.bytes_in(&storage.1).map_err(wrong)?;
        left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            wrong(format!("its tensors have more bytes than the file may; {}", limits.whole()))
        })?;
        let tensor = info.tensor(path, bytes)?;
        tensors.push((format!("{prefix}{}", info.name), tensor));
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    if tensors.is_empty() {
        return Err(Error::Weights(format!("{}: no tensors in it", super::shown(path))));
    }
    match tensors.windows(2).find(|two| two[0].0 == two[1].0) {
        None => Ok(tensors),
        Some(two) => Err(wrong(format!("tensor {:?} is in it twice", two[0].0))),
    }
}

/// A zip file in memory, and how many of its bytes may still be read.
struct Archive<'a> {
    zip: ZipArchive<Counted<'a>>,
    left: Rc<Cell<u64>>,
    header_bytes: u64,
}

struct Counted<'a> {
    bytes: Cursor<&'a [u8]>,
    left: Rc<Cell<u64>>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.bytes.read(buffer)?;
        let left = self.left.get().checked_sub(n as u64);
        let left =
            left.ok_or_else(|| std::io::Error::other("it is read further than its limit"))?;
        self.left.set(left);
        Ok(n)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.bytes.seek(to)
    }
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8], limits: &ReadLimits) -> Result<Self, String> {
        // Only the table of contents is read now; what is kept of it in memory is a few times as
        // large.
        let left = Rc::new(Cell::new(limits.header_bytes));
        let reader = Counted { bytes: Cursor::new(bytes), left: left.clone() };
        let zip = ZipArchive::new(reader).map_err(|e| {
            format!(
                "not a zip file as PyTorch writes it since version 1.6: {e}. Load it in PyTorch and save it again"
            )
        })?;
        // Each storage is read once, so more than the file's size is read only if entries overlap.
        left.set(limits.bytes.saturating_add(limits.header_bytes));
        Ok(Self { zip, left, header_bytes: limits.header_bytes })
    }

    /// The pickle, and the folder it is in.
    fn pickle(&mut self) -> Result<(String, Vec<u8>), String> {
        let names = self.zip.file_names().collect::<Result<Vec<_>, _>>();
        let names = names.map_err(|e| format!("a name in its table of contents: {e}"))?;
        let mut pickles = names.iter().filter_map(|name| {
            let folder = name.strip_suffix("data.pkl")?;
            (folder.is_empty() || folder.ends_with('/')).then(|| folder.to_string())
        });
        let folder = match (pickles.next(), pickles.next()) {
            (Some(folder), None) => folder,
            (None, _) => return Err("there is no data.pkl in it".into()),
            (Some(_), Some(_)) => return Err("there is more than one data.pkl in it".into()),
        };
        drop(names);
        let order = format!("{folder}byteorder");
        if self.zip.index_for_name(&order).is_some() && self.read(&order, 64)? != b"little" {
            return Err("its numbers are not little-endian".into());
        }
        let pickle = self.read(&format!("{folder}data.pkl"), self.header_bytes)?;
        Ok((folder, pickle))
    }

    /// The bytes of an entry of at most `most` bytes, with the checksum verified.
    fn read(&mut self, name: &str, most: u64) -> Result<Vec<u8>, String> {
        let broken = |e: &dyn std::fmt::Display| format!("its {name:?}: {e}");
        let entry = self.zip.by_name(name).map_err(|e| broken(&e))?;
        let size = entry.size();
        // PyTorch stores entries uncompressed; nothing that could unpack to more than the file is
        // read.
        if entry.compression() != CompressionMethod::Stored || entry.compressed_size() != size {
            return Err(format!("its {name:?} is compressed, which PyTorch does not do"));
        }
        if size > most.min(self.left.get()) {
            return Err(format!("its {name:?} has {size} bytes; {most} are read at most"));
        }
        let mut bytes = Vec::new();
        // One byte more: the checksum is verified when the end is reached.
        entry.take(size + 1).read_to_end(&mut bytes).map_err(|e| broken(&e))?;
        match bytes.len() as u64 == size {
            true => Ok(bytes),
            false => Err(format!("its {name:?} ends after {} of {size} bytes", bytes.len())),
        }
    }
}

/// Where a tensor is in its storage.
struct Described {
    name: String,
    /// The storage's key.
    key: String,
    dtype: DType,
    shape: Vec<usize>,
    /// Offset of the first value and length of all values, in bytes.
    start: usize,
    len: usize,
    /// Whether the first axis changes fastest.
    reversed: bool,
}

/// The tensors of a state dict, sorted by storage.
fn describe(pickle: &[u8]) -> Result<Vec<Described>, String> {
    let broken = |e: candle_core::Error| format!("its data.pkl: {e}");
    let mut stack = Stack::empty();
    stack.read_loop(&mut &pickle[..]).map_err(broken)?;
    let Object::Dict(mut entries) = stack.finalize().map_err(broken)? else {
        return Err("its data.pkl holds no dictionary: save a state dict".into());
    };
    let is_state =
        |(key, _): &(Object, Object)| matches!(key, Object::Unicode(k) if k == "state_dict");
    if let Some(at) = entries.iter().position(is_state) {
        let Object::Dict(state) = entries.swap_remove(at).1 else {
            return Err("its \"state_dict\" is not a dictionary".into());
        };
        entries = state;
    }
    let mut all = Vec::new();
    for (name, value) in &entries {
        let Object::Unicode(name) = name else { continue };
        if let Some(arguments) = rebuilt(value) {
            let described = Described::new(name, arguments);
            all.push(described.ok_or_else(|| {
                format!(
                    "tensor {name:?}: its description is not understood. Sizes, strides and offsets must fit its storage, and its numbers lie \
                     without gaps: make it contiguous and save it again"
                )
            })?);
        }
    }
    all.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(all)
}

/// The arguments of `torch._utils._rebuild_tensor_v2`, if the value is a call of it, possibly
/// inside that of a parameter or a subclass.
fn rebuilt(mut value: &Object) -> Option<&[Object]> {
    // The pickle was measured, so the nesting is finite.
    loop {
        let Object::Reduce { callable, args } = value else { return None };
        let (Object::Class { module_name, class_name }, Object::Tuple(args)) =
            (&**callable, &**args)
        else {
            return None;
        };
        match (module_name.as_str(), class_name.as_str(), args.as_slice()) {
            ("torch._utils", "_rebuild_tensor_v2", args) => return Some(args),
            ("torch._utils", "_rebuild_parameter", [inner, ..]) => value = inner,
            (
                "torch._tensor",
                "_rebuild_from_type_v2",
                [Object::Class { module_name, class_name }, _, Object::Tuple(args), ..],
            ) if module_name == "torch._utils" && class_name == "_rebuild_tensor_v2" => {
                return Some(args);
            }
            _ => return None,
        }
    }
}

impl Described {
    /// From `(storage, offset, size, stride, ...)`, as `torch._utils._rebuild_tensor_v2` takes
    /// them; `None` if they do not fit.
    fn new(name: &str, arguments: &[Object]) -> Option<Self> {
        let [
            Object::PersistentLoad(storage),
            offset,
            Object::Tuple(size),
            Object::Tuple(stride),
            ..,
        ] = arguments
        else {
            return None;
        };
        let Object::Tuple(storage) = &**storage else { return None };
        let [_, Object::Class { class_name, .. }, Object::Unicode(key), _, numbers, ..] =
            storage.as_slice()
        else {
            return None;
        };
        let dtype = match class_name.as_str() {
            "FloatStorage" => DType::F32,
            "DoubleStorage" => DType::F64,
            "HalfStorage" => DType::F16,
            "BFloat16Storage" => DType::BF16,
            "ByteStorage" => DType::U8,
            "LongStorage" => DType::I64,
            _ => return None,
        };
        let shape = size.iter().map(number).collect::<Option<Vec<_>>>()?;
        let stride = stride.iter().map(number).collect::<Option<Vec<_>>>()?;
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        let reversed = if dense(shape.iter().zip(&stride).rev()) {
            false
        } else if dense(shape.iter().zip(&stride)) {
            true
        } else {
            return None;
        };
        let (start, each) = (number(offset)?, dtype.size_in_bytes());
        let fits = shape.len() == stride.len() && start.checked_add(count)? <= number(numbers)?;
        let (start, len) = (start.checked_mul(each)?, count.checked_mul(each)?);
        fits.then(|| Self {
            name: name.into(),
            key: key.clone(),
            dtype,
            shape,
            start,
            len,
            reversed,
        })
    }

    fn bytes_in<'a>(&self, storage: &'a [u8]) -> Result<&'a [u8], String> {
        let end = self.start.checked_add(self.len);
        end.and_then(|end| storage.get(self.start..end)).ok_or_else(|| {
            let Self { name, key, start, len, .. } = self;
            let there = storage.len();
            format!("tensor {name:?}: {len} bytes from byte {start} are not in storage {key:?}, which has {there}")
        })
    }

    fn tensor(&self, path: &Path, bytes: &[u8]) -> Result<Tensor> {
        if !self.reversed {
            return tensor(path, &self.name, self.dtype, &self.shape, bytes);
        }
        let shape: Vec<usize> = self.shape.iter().rev().copied().collect();
        let axes: Vec<usize> = (0..shape.len()).rev().collect();
        Ok(tensor(path, &self.name, self.dtype, &shape, bytes)?.permute(axes)?.contiguous()?)
    }
}

fn number(value: &Object) -> Option<usize> {
    match value {
        Object::Int(n) => usize::try_from(*n).ok(),
        Object::Long(n) => usize::try_from(*n).ok(),
        _ => None,
    }
}

/// Whether the values have no gaps, given each axis's size and stride, fastest first. The stride of
/// an axis of size 1 does not matter.
fn dense<'a>(axes: impl Iterator<Item = (&'a usize, &'a usize)>) -> bool {
    let mut expected = Some(1usize);
    for (&size, &stride) in axes {
        if size > 1 && Some(stride) != expected {
            return false;
        }
        expected = expected.and_then(|e| e.checked_mul(size.max(1)));
    }
    true
}
