//! Weights in files: safetensors both ways, and the published code's `.pth` files for reading.

use crate::{Error, NamedTensors, Result};
use candle_core::{Device, Tensor};
use std::collections::HashMap;
use std::path::Path;

/// Reads every tensor of a safetensors file, sorted by name.
pub fn read_safetensors(path: &Path) -> Result<NamedTensors> {
    let tensors =
        candle_core::safetensors::load(path, &Device::Cpu).map_err(|e| unreadable(path, &e))?;
    let mut tensors: NamedTensors = tensors.into_iter().collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(tensors)
}

/// The bytes of a safetensors file with these tensors and string metadata. The same tensors give the same bytes.
pub fn to_safetensors(
    tensors: &NamedTensors,
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>> {
    safetensors::serialize(tensors.iter().map(|(n, t)| (n.as_str(), t)), metadata)
        .map_err(|e| Error::Weights(format!("the weights cannot be written: {e}")))
}

/// Reads the published code's pair of files, `netG.pth` and `netD.pth`: names get the prefixes `netg.` and `netd.`.
pub fn read_pth(net_g: &Path, net_d: &Path) -> Result<NamedTensors> {
    let mut all = read_pth_file(net_g, "netg.")?;
    all.extend(read_pth_file(net_d, "netd.")?);
    Ok(all)
}

/// Reads one `.pth` file with a `state_dict` inside (as `Ganomaly.save_weights` writes it) or that is one itself.
/// candle's reader interprets the few pickle operations that tensors need and runs no code.
pub fn read_pth_file(path: &Path, prefix: &str) -> Result<NamedTensors> {
    let mut tensors = candle_core::pickle::read_all_with_key(path, Some("state_dict"))
        .or_else(|_| candle_core::pickle::read_all(path))
        .map_err(|e| unreadable(path, &e))?;
    if tensors.is_empty() {
        return Err(Error::Weights(format!("{}: no tensors in it", path.display())));
    }
    for (name, _) in &mut tensors {
        *name = format!("{prefix}{name}");
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(tensors)
}

fn unreadable(path: &Path, error: &candle_core::Error) -> Error {
    Error::Weights(format!("{}: cannot be read as weights: {error}", path.display()))
}

/// The tensor of that name, or an error that says it is missing.
pub fn named(tensors: &NamedTensors, name: &str) -> Result<Tensor> {
    tensors
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, t)| t.clone())
        .ok_or_else(|| Error::Weights(format!("no tensor named {name:?}")))
}
