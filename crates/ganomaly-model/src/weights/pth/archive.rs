//! The zip file that PyTorch writes since version 1.6: a pickle, `data.pkl`, and a binary file for
//! each storage, `data/KEY`.

use crate::weights::ReadLimits;
use std::cell::Cell;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::rc::Rc;
use zip::{CompressionMethod, ZipArchive};

/// A zip file in memory, and how many of its bytes may still be read.
pub(super) struct Archive<'a> {
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
    pub(super) fn open(bytes: &'a [u8], limits: &ReadLimits) -> Result<Self, String> {
        // Only the table of contents is read now; what is kept of it in memory is a few times as
        // large.
        let left = Rc::new(Cell::new(limits.header_bytes));
        let reader = Counted { bytes: Cursor::new(bytes), left: left.clone() };
        let zip = ZipArchive::new(reader).map_err(|e| {
            format!(
                "neither a zip file, as PyTorch writes it since version 1.6 ({e}), nor the older stream. \
                 Load it in PyTorch and save it again"
            )
        })?;
        // Each storage is read once, so more than the file's size is read only if entries overlap.
        left.set(limits.bytes.saturating_add(limits.header_bytes));
        Ok(Self { zip, left, header_bytes: limits.header_bytes })
    }

    /// The pickle, and the folder it is in.
    pub(super) fn pickle(&mut self) -> Result<(String, Vec<u8>), String> {
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
    pub(super) fn read(&mut self, name: &str, most: u64) -> Result<Vec<u8>, String> {
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
