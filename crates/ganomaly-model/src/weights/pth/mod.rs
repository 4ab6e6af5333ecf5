//! PyTorch's `.pth` files: a pickle that describes tensors, and their storages, in a zip file or,
//! before version 1.6, in a stream.

mod archive;
mod state_dict;
mod stream;

use super::measure::measured;
use super::{ReadLimits, read_file, wrong};
use crate::{Error, NamedTensors, Result};
use archive::Archive;
use candle_core::pickle::Object;
use std::borrow::Cow;
use std::path::Path;

/// Reads the published code's pair of files, `netG.pth` and `netD.pth`: names get the prefixes
/// `netg.` and `netd.`.
pub fn read_pth(net_g: &Path, net_d: &Path) -> Result<NamedTensors> {
    let mut all = read_pth_file(net_g, "netg.")?;
    all.extend(read_pth_file(net_d, "netd.")?);
    Ok(all)
}

/// Reads one `.pth` file that contains a `state_dict` (as `Ganomaly.save_weights` writes it) or is
/// one itself; if every name in it begins with `module.`, as of a network inside a `DataParallel`,
/// that is dropped. None of its code is run: see [the module](super).
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
    let (object, mut storages) = open(&bytes, limits).map_err(wrong)?;
    let described = state_dict::describe(object).map_err(wrong)?;
    let wrapped = described.iter().all(|info| info.name.starts_with(WRAPPER));
    let mut left = limits.bytes;
    let mut storage: (String, Cow<'_, [u8]>) = Default::default();
    let mut tensors = NamedTensors::new();
    for info in described {
        // Sorted by storage, so that each is read once.
        if storage.0 != info.key {
            storage = (info.key.clone(), storages(&info.key).map_err(wrong)?);
        }
        let bytes = info.bytes_in(&storage.1).map_err(wrong)?;
        left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            wrong(format!("its tensors have more bytes than the file may; {}", limits.whole()))
        })?;
        let tensor = info.tensor(path, bytes)?;
        let name = if wrapped { &info.name[WRAPPER.len()..] } else { &info.name };
        tensors.push((format!("{prefix}{name}"), tensor));
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

/// What PyTorch's `DataParallel` adds to every name.
const WRAPPER: &str = "module.";

/// Gives the bytes of the storage with a key.
type Storages<'a> = Box<dyn FnMut(&str) -> Result<Cow<'a, [u8]>, String> + 'a>;

/// The object in a file, and its storages.
fn open<'a>(bytes: &'a [u8], limits: &ReadLimits) -> Result<(Object, Storages<'a>), String> {
    if stream::is_stream(bytes) {
        let (object, storages) = stream::read(bytes, limits)?;
        let find = move |key: &str| {
            let there = storages.get(key).copied().map(Cow::Borrowed);
            there.ok_or_else(|| format!("there is no storage {key:?} in it"))
        };
        return Ok((object, Box::new(find)));
    }
    let mut archive = Archive::open(bytes, limits)?;
    let (folder, pickle) = archive.pickle()?;
    let (object, len) = measured(&pickle, limits).map_err(|e| format!("its data.pkl: {e}"))?;
    if len < pickle.len() {
        return Err(format!("its data.pkl: {} bytes follow its end", pickle.len() - len));
    }
    let most = limits.bytes;
    let read = move |key: &str| archive.read(&format!("{folder}data/{key}"), most).map(Cow::Owned);
    Ok((object, Box::new(read)))
}
