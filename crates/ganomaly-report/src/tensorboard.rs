//! TensorBoard event files: losses, AUROCs and times of a finished run as scalars by epoch.
//!
//! The crates that write them are unmaintained or need a protobuf compiler, and the necessary part
//! of the format is small. A file is a sequence of TFRecords (length, its checksum, data, its
//! checksum; tensorflow/core/lib/io/record_writer.h), each with an `Event` message
//! (tensorboard/compat/proto/event.proto and summary.proto, whose field numbers are given below).

use anyhow::{Context, Result};
use ganomaly_experiment::files::PartialFolder;
use ganomaly_experiment::record::epochs::Epochs;
use ganomaly_experiment::record::provenance::Provenance;
use std::path::Path;

/// The folder of a run's event file.
pub const FOLDER: &str = "tensorboard";

/// Writes a finished run's event file into its folder, unless it exists. The same run gives the
/// same bytes.
pub fn write(run: &Path) -> Result<()> {
    let target = run.join(FOLDER);
    if target.exists() {
        return Ok(());
    }
    let epochs = Epochs::read(run)?;
    let at = |name: &str, row: usize| epochs.column(name).and_then(|c| c.get(row)).copied();
    let seconds = |row| at("train_s", row).unwrap_or(0.0) + at("score_s", row).unwrap_or(0.0);
    let rows = epochs.column("epoch").unwrap_or_default();
    let finished = Provenance::read(run)?.finished_unix_s;
    let finished = finished.with_context(|| format!("{}: no time", run.display()))? as f64;
    let started = finished - (0..rows.len()).map(seconds).sum::<f64>();

    let mut file = record(&version(started));
    let mut now = started;
    for (row, epoch) in rows.iter().enumerate() {
        now += seconds(row);
        let named = epochs.names().filter_map(|name| Some((tag(name)?, at(name, row)?)));
        let values: Vec<(String, f64)> = named.collect();
        file.extend(record(&scalars(now, *epoch as i64, &values)));
    }
    // Under another name first: TensorBoard may be watching.
    let partial = PartialFolder::create(&target)?;
    partial.write(&format!("events.out.tfevents.{finished:.0}.ganomaly"), file)?;
    partial.finish(&target)
}

/// The scalar name for a column of `epochs.csv`, grouped as in TensorBoard; none for a column that
/// is not shown.
fn tag(column: &str) -> Option<String> {
    match column {
        "epoch" => None,
        "train_s" | "score_s" | "images_per_s" => Some(format!("speed/{column}")),
        "validation_con" => Some("validation/con".into()),
        _ if column.ends_with("_best_on_test") => None,
        _ => Some(match column.strip_prefix("auroc_") {
            Some(mode) => format!("auroc/{mode}"),
            None => format!("loss/{column}"),
        }),
    }
}

/// The first event of a file: `Event { wall_time: 1, file_version: 3 }`.
fn version(wall_time: f64) -> Vec<u8> {
    let mut event = double(1, wall_time);
    event.extend(bytes(3, b"brain.Event:2"));
    event
}

/// `Event { wall_time: 1, step: 2, summary: 5 }` with a `Summary { value: 1 }` of `Value { tag: 1,
/// simple_value: 2 }`.
fn scalars(wall_time: f64, step: i64, values: &[(String, f64)]) -> Vec<u8> {
    let value = |(tag, value): &(String, f64)| {
        let mut message = bytes(1, tag.as_bytes());
        message.extend(float(2, *value as f32));
        bytes(1, &message)
    };
    let summary: Vec<u8> = values.iter().flat_map(value).collect();
    let mut event = double(1, wall_time);
    event.extend(key(2, 0));
    event.extend(varint(step as u64));
    event.extend(bytes(5, &summary));
    event
}

/// Protobuf's key of a field: its number and wire type (0 varint, 1 eight bytes, 2 a length and
/// bytes, 5 four bytes).
fn key(field: u64, wire_type: u64) -> Vec<u8> {
    varint(field << 3 | wire_type)
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut all = Vec::new();
    while value >= 0x80 {
        all.push(value as u8 | 0x80);
        value >>= 7;
    }
    all.push(value as u8);
    all
}

fn double(field: u64, value: f64) -> Vec<u8> {
    [key(field, 1), value.to_le_bytes().to_vec()].concat()
}

fn float(field: u64, value: f32) -> Vec<u8> {
    [key(field, 5), value.to_le_bytes().to_vec()].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [key(field, 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// A TFRecord.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let (of_length, of_data) = (masked_crc(&length), masked_crc(data));
    [&length[..], &of_length.to_le_bytes(), data, &of_data.to_le_bytes()].concat()
}

/// CRC-32C, rotated and offset as the format requires, so that a checksum of data that contains
/// checksums stays sound.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_framed_with_masked_checksums() {
        // RFC 3720, B.4: the CRC-32C of 32 zeros is 8a 91 36 aa, lowest byte first.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        let framed = record(&[0; 32]);
        assert_eq!(framed.len(), 8 + 4 + 32 + 4);
        assert_eq!(framed[..8], [32, 0, 0, 0, 0, 0, 0, 0]);
        let crc = u32::from_le_bytes(framed[44..].try_into().unwrap());
        let unmasked = crc.wrapping_sub(0xa282_ead8).rotate_left(15);
        assert_eq!(unmasked, 0x8a91_36aa);
    }

    #[test]
    fn messages_are_protobuf() {
        // protoc's encoding of 300 in the protobuf documentation.
        assert_eq!(varint(300), [0xac, 0x02]);
        let event = scalars(1.0, 300, &[("a".into(), 0.5)]);
        let mut expected = vec![0x09];
        expected.extend(1f64.to_le_bytes());
        expected.extend([0x10, 0xac, 0x02, 0x2a, 10, 0x0a, 8, 0x0a, 1, b'a', 0x15, 0, 0, 0, 0x3f]);
        assert_eq!(event, expected);
        assert!(version(1.0).ends_with(b"\x1a\x0dbrain.Event:2"));
    }

    #[test]
    fn columns_have_tags() {
        assert_eq!(tag("err_g_con").unwrap(), "loss/err_g_con");
        assert_eq!(tag("auroc_batch-shuffled").unwrap(), "auroc/batch-shuffled");
        assert_eq!(tag("validation_con").unwrap(), "validation/con");
        assert_eq!(tag("train_s").unwrap(), "speed/train_s");
        assert!(tag("epoch").is_none() && tag("auroc_running_best_on_test").is_none());
    }
}
