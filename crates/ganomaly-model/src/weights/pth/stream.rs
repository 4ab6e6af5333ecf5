//! The stream that PyTorch wrote before version 1.6: five pickles (a magic number, the format's
//! version, the machine, the object, the storages' keys), then each storage in the order of the
//! keys: its number of values in 8 bytes, and the values.

use super::state_dict::storage_of;
use crate::weights::ReadLimits;
use crate::weights::measure::measured;
use candle_core::pickle::Object;
use std::collections::HashMap;

/// The first two pickles, which are always the same.
const START: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";

/// Whether a file is such a stream.
pub(super) fn is_stream(bytes: &[u8]) -> bool {
    bytes.starts_with(START)
}

/// The object and the storages by key.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    limits: &ReadLimits,
) -> Result<(Object, HashMap<String, &'a [u8]>), String> {
    let mut rest = &bytes[START.len()..];
    let mut next = |what: &str| {
        let within = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX).min(rest.len());
        let (value, len) = measured(&rest[..within], limits)
            .map_err(|e| format!("the pickle of {what}, of {within} bytes at most: {e}"))?;
        rest = &rest[len..];
        Ok::<_, String>(value)
    };
    let Object::Dict(machine) = next("its machine")? else {
        return Err("it does not say which machine wrote it".into());
    };
    let little = |(key, value): &(Object, Object)| {
        let (Object::Unicode(key), Object::Bool(little)) = (key, value) else { return false };
        key == "little_endian" && *little
    };
    if !machine.iter().any(little) {
        return Err("its numbers are not little-endian".into());
    }
    let object = next("its object")?;
    let Object::List(keys) = next("its storages' keys")? else {
        return Err("its storages have no list of keys".into());
    };
    let mut sizes = HashMap::new();
    find_storages(&object, &mut sizes);
    let mut storages = HashMap::new();
    for key in keys {
        let Object::Unicode(key) = key else { return Err("a storage's key is not text".into()) };
        let each = sizes.get(&key).copied().flatten();
        let each = each.ok_or_else(|| format!("the type of its storage {key:?} is not known"))?;
        let len = rest.split_first_chunk::<8>().and_then(|(numbers, after)| {
            rest = after;
            usize::try_from(u64::from_le_bytes(*numbers)).ok()?.checked_mul(each)
        });
        let parts = len.and_then(|len| rest.split_at_checked(len));
        let (values, after) =
            parts.ok_or_else(|| format!("it ends in the middle of its storage {key:?}"))?;
        rest = after;
        storages.insert(key, values);
    }
    match rest.len() {
        0 => Ok((object, storages)),
        more => Err(format!("{more} bytes follow its last storage")),
    }
}

/// Bytes of a value in each storage of an object; none if its type is not known.
fn find_storages(value: &Object, found: &mut HashMap<String, Option<usize>>) {
    match value {
        Object::PersistentLoad(storage) => {
            if let Some((key, kind, _)) = storage_of(storage) {
                found.insert(key.into(), size_of(kind));
            }
        }
        Object::Tuple(values) | Object::List(values) => {
            values.iter().for_each(|value| find_storages(value, found));
        }
        Object::Dict(entries) => {
            entries.iter().for_each(|(_, value)| find_storages(value, found));
        }
        Object::Reduce { callable, args } | Object::Build { callable, args } => {
            find_storages(callable, found);
            find_storages(args, found);
        }
        _ => {}
    }
}

fn size_of(kind: &str) -> Option<usize> {
    Some(match kind {
        "ByteStorage" | "CharStorage" | "BoolStorage" => 1,
        "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
        "FloatStorage" | "IntStorage" => 4,
        "DoubleStorage" | "LongStorage" => 8,
        _ => return None,
    })
}
