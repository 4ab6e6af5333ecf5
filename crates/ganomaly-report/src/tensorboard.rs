//! TensorBoard event files: losses, AUROCs and times of a run as scalars by epoch.
//!
//! The crates that write them are unmaintained, and the necessary part of the format is small. A
//! file is a sequence of TFRecords (length, its checksum, data, its checksum;
//! tensorflow/core/lib/io/record_writer.h), each with an `Event` message
//! (tensorboard/compat/proto/event.proto and summary.proto, whose field numbers are given below).

use anyhow::{Context, Result};
use ganomaly_data::shown;
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::files::PartialFolder;
use ganomaly_experiment::protobuf::Message;
use ganomaly_experiment::record::Epoch;
use ganomaly_experiment::record::epochs::{Epochs, to_csv};
use ganomaly_experiment::record::provenance::Provenance;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

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
    let finished = Provenance::read(run)?.finished_unix_s;
    let finished = finished.with_context(|| format!("{}: no time", run.display()))? as f64;
    let started = finished - seconds(&epochs).iter().sum::<f64>();
    let file = [version(started), events(&epochs, started, 0)].concat();
    // Under another name first: TensorBoard may be watching.
    let partial = PartialFolder::create(&target)?;
    partial.write(&format!("events.out.tfevents.{finished:.0}.ganomaly"), file)?;
    partial.finish(&target)
}

/// The event file of a run in progress. It grows with every epoch, as TensorBoard expects.
#[derive(Debug)]
pub struct Growing {
    file: File,
    /// Epochs that are in it.
    rows: usize,
    /// When the first began, in seconds of Unix time.
    started: f64,
}

impl Growing {
    /// Begins a file of the run's epochs so far, in a folder of its own; an older one goes away.
    pub fn begin(folder: &Path, config: &RunConfig, epochs: &[Epoch]) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| shown(folder))?;
        }
        fs::create_dir_all(folder).with_context(|| shown(folder))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let path = folder.join(format!("events.out.tfevents.{now:.0}.ganomaly"));
        let mut file = File::create_new(&path).with_context(|| shown(&path))?;
        let read = Epochs::parse(&to_csv(config, epochs)?)?;
        let started = now - seconds(&read).iter().sum::<f64>();
        file.write_all(&version(started)).with_context(|| shown(&path))?;
        let mut growing = Self { file, rows: 0, started };
        growing.add(config, epochs)?;
        Ok(growing)
    }

    /// Adds the epochs that are not in it.
    pub fn add(&mut self, config: &RunConfig, epochs: &[Epoch]) -> Result<()> {
        let read = Epochs::parse(&to_csv(config, epochs)?)?;
        self.file.write_all(&events(&read, self.started, self.rows)).context("an event file")?;
        self.rows = epochs.len();
        Ok(())
    }
}

/// How long each epoch took.
fn seconds(epochs: &Epochs) -> Vec<f64> {
    let of = |name| epochs.column(name).unwrap_or_default().iter();
    of("train_s").zip(of("score_s")).map(|(train, score)| train + score).collect()
}

/// An event for each epoch after the first `done`.
fn events(epochs: &Epochs, started: f64, done: usize) -> Vec<u8> {
    let rows = epochs.column("epoch").unwrap_or_default();
    let (mut now, mut all) = (started, Vec::new());
    for (row, (epoch, seconds)) in rows.iter().zip(seconds(epochs)).enumerate() {
        now += seconds;
        let at = |name: &str| epochs.column(name).and_then(|column| column.get(row)).copied();
        let named = epochs.names().filter_map(|name| Some((tag(name)?, at(name)?)));
        if row >= done {
            all.extend(scalars(now, *epoch as i64, &named.collect::<Vec<_>>()));
        }
    }
    all
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
    record(&Message::default().double(1, wall_time).text(3, "brain.Event:2").finish())
}

/// `Event { wall_time: 1, step: 2, summary: 5 }` with a `Summary { value: 1 }` of `Value { tag: 1,
/// simple_value: 2 }`.
fn scalars(wall_time: f64, step: i64, values: &[(String, f64)]) -> Vec<u8> {
    let summary = Message::default().each(values, |summary, (tag, value)| {
        summary.message(1, &Message::default().text(1, tag).float(2, *value as f32))
    });
    record(&Message::default().double(1, wall_time).int(2, step).message(5, &summary).finish())
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
    fn columns_have_tags() {
        assert_eq!(tag("err_g_con").unwrap(), "loss/err_g_con");
        assert_eq!(tag("auroc_batch-shuffled").unwrap(), "auroc/batch-shuffled");
        assert_eq!(tag("validation_con").unwrap(), "validation/con");
        assert_eq!(tag("train_s").unwrap(), "speed/train_s");
        assert!(tag("epoch").is_none() && tag("auroc_running_best_on_test").is_none());
    }
}
