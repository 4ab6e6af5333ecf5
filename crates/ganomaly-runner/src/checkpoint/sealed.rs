//! A safetensors file with its own header in the metadata, and a SHA-256 over every byte.

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use ganomaly_experiment::sha256::hex;
use ganomaly_model::{NamedTensors, weights};
use safetensors::SafeTensors;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// The version of the checkpoint format.
pub const VERSION: u32 = 2;

/// The metadata's only key.
const KEY: &str = "checkpoint";

/// The text before the checksum: JSON inside JSON.
const BEFORE: &[u8] = br#"sha256\":\""#;

const HEX: usize = 64;

#[derive(Serialize, Deserialize)]
struct Sealed<T> {
    /// Checksum of the whole file, with zeros in place of this field.
    sha256: String,
    version: u32,
    #[serde(flatten)]
    header: T,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// The file's bytes.
pub(super) fn seal<T: Serialize>(header: T, tensors: &NamedTensors) -> Result<Vec<u8>> {
    let header = Sealed { sha256: "0".repeat(HEX), version: VERSION, header };
    let header = serde_json::to_string(&header).context("a checkpoint's header")?;
    let metadata = HashMap::from([(KEY.to_string(), header)]);
    let mut bytes = weights::to_safetensors(tensors, Some(metadata))?;
    let at = checksum_at(&bytes).context("a checkpoint without a place for its checksum")?;
    let digest = hex(&Sha256::digest(&bytes));
    bytes[at..at + HEX].copy_from_slice(digest.as_bytes());
    Ok(bytes)
}

/// The header and the tensors of a file, after checking that every byte is as written.
pub(super) fn open<T: DeserializeOwned>(
    bytes: &[u8],
) -> Result<(T, HashMap<String, candle_core::Tensor>)> {
    let at =
        checksum_at(bytes).context("damaged, or not a checkpoint: there is no checksum in it")?;
    let (before, rest) = bytes.split_at(at);
    let (checksum, after) = rest.split_at(HEX);
    let digest = Sha256::new().chain_update(before).chain_update([b'0'; HEX]).chain_update(after);
    ensure!(hex(&digest.finalize()).as_bytes() == checksum, "damaged: its checksum does not hold");
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let metadata = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
    let header = metadata.context("no checkpoint: it has no header")?;
    let Version { version } = serde_json::from_str(header).context("a header without a version")?;
    ensure!(
        version == VERSION,
        "its format is version {version}; this program reads version {VERSION}"
    );
    let header: Sealed<T> = serde_json::from_str(header).context("not a checkpoint's header")?;
    Ok((header.header, candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?))
}

/// The position of the checksum.
fn checksum_at(bytes: &[u8]) -> Option<usize> {
    // The metadata come first, so a megabyte is far more than enough.
    let head = &bytes[..bytes.len().min(1 << 20)];
    let at = head.windows(BEFORE.len()).position(|window| window == BEFORE)? + BEFORE.len();
    (at + HEX <= bytes.len()).then_some(at)
}
