//! The tensors that a pickle describes.

use crate::Result as ModelResult;
use crate::weights::tensor;
use candle_core::pickle::Object;
use candle_core::{DType, Tensor};
use std::path::Path;

/// Where a tensor is in its storage.
pub(super) struct Described {
    pub(super) name: String,
    /// The storage's key.
    pub(super) key: String,
    dtype: DType,
    shape: Vec<usize>,
    /// Offset of the first value and length of all values, in bytes.
    start: usize,
    len: usize,
    /// Whether the first axis changes fastest.
    reversed: bool,
}

/// The tensors of a state dict, sorted by storage.
pub(super) fn describe(file: Object) -> Result<Vec<Described>, String> {
    let Object::Dict(mut entries) = file else {
        return Err("it holds no dictionary: save a state dict".into());
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
        let (key, kind, numbers) = storage_of(storage)?;
        let dtype = match kind {
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
        let fits = shape.len() == stride.len() && start.checked_add(count)? <= numbers;
        let (start, len) = (start.checked_mul(each)?, count.checked_mul(each)?);
        fits.then(|| Self {
            name: name.into(),
            key: key.into(),
            dtype,
            shape,
            start,
            len,
            reversed,
        })
    }

    pub(super) fn bytes_in<'a>(&self, storage: &'a [u8]) -> Result<&'a [u8], String> {
        let end = self.start.checked_add(self.len);
        end.and_then(|end| storage.get(self.start..end)).ok_or_else(|| {
            let Self { name, key, start, len, .. } = self;
            let there = storage.len();
            format!("tensor {name:?}: {len} bytes from byte {start} are not in storage {key:?}, which has {there}")
        })
    }

    pub(super) fn tensor(&self, path: &Path, bytes: &[u8]) -> ModelResult<Tensor> {
        if !self.reversed {
            return tensor(path, &self.name, self.dtype, &self.shape, bytes);
        }
        let shape: Vec<usize> = self.shape.iter().rev().copied().collect();
        let axes: Vec<usize> = (0..shape.len()).rev().collect();
        Ok(tensor(path, &self.name, self.dtype, &shape, bytes)?.permute(axes)?.contiguous()?)
    }
}

/// Key, type and number of values of a storage, from `("storage", type, key, device, numbers)`.
/// Older files add the part that is seen of another storage; only None, the whole, is read.
pub(super) fn storage_of(storage: &Object) -> Option<(&str, &str, usize)> {
    let Object::Tuple(storage) = storage else { return None };
    match storage.as_slice() {
        [_, Object::Class { class_name, .. }, Object::Unicode(key), _, numbers, view @ ..]
            if view.iter().all(|part| matches!(part, Object::None)) =>
        {
            Some((key, class_name, number(numbers)?))
        }
        _ => None,
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
