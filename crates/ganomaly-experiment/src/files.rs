//! Files that are never seen half-written.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A word that is unique across processes and machines, and never returned twice.
pub fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Host names distinguish two machines that start a process with the same id in the same
    // nanosecond.
    format!("{}-{}-{:x}-{next}", crate::host::name(), std::process::id(), since.as_nanos())
}

/// Writes a file under a temporary name and then renames it; several processes may do so at once. A
/// file written without an error survives a power failure, and in any case the name holds either
/// the old contents or the new, complete.
pub fn write_whole(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", unique()));
    let written =
        write_new(&temporary, contents.as_ref()).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
        .and_then(|()| sync_folder(path.parent()))
        .with_context(|| format!("{}: cannot write", path.display()))
}

/// Maximum size of a file written by a run or an experiment, in bytes; checkpoints have their own
/// limit.
const MOST_BYTES: u64 = 1 << 31;

/// Reads a file of results. Only regular files are opened: reading a pipe could block forever.
pub fn read(path: &Path) -> ganomaly_data::Result<Vec<u8>> {
    ganomaly_data::read_bytes(path, MOST_BYTES)
}

/// Like [`read`], for text.
pub fn read_text(path: &Path) -> ganomaly_data::Result<String> {
    ganomaly_data::read_text(path, MOST_BYTES)
}

/// Files by their paths inside a folder, with their contents.
pub type Contents = Vec<(String, Vec<u8>)>;

/// Writes files by their paths inside `folder`, each whole.
pub fn write_all(folder: &Path, files: Contents) -> Result<()> {
    for (name, contents) in files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .with_context(|| format!("{}: cannot create", parent.display()))?;
        write_whole(&path, contents)?;
        // Left behind by writers of the same file that were killed.
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        remove_temporary(parent, ABANDONED, |target| Ok(target != stem))?;
    }
    Ok(())
}

/// A temporary file that has not changed for this long no longer has a writer.
const ABANDONED: Duration = Duration::from_secs(60);

/// Writes a new file and syncs it to disk.
fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

/// Syncs a folder's entries to disk.
fn sync_folder(folder: Option<&Path>) -> io::Result<()> {
    // The parent of a bare name is the empty path.
    let folder = folder.filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // On other systems a folder cannot be opened as a file, and renaming is as durable as the
    // system makes it.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// A folder under a temporary name. It gets its own name when it is complete, and is removed
/// otherwise.
pub struct PartialFolder {
    path: PathBuf,
    done: bool,
}

impl PartialFolder {
    /// Creates one for a folder that is to be named `target`.
    pub fn create(target: &Path) -> Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}.partial", unique()));
        fs::create_dir_all(&path)
            .with_context(|| format!("{}: cannot create the results folder", path.display()))?;
        Ok(Self { path, done: false })
    }

    /// Where it is until then, for many files that need not be synced one by one.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one file and syncs it to disk.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path.join(name);
        write_new(&path, contents.as_ref())
            .with_context(|| format!("{}: cannot write", path.display()))
    }

    /// Gives the folder its name, which must be free.
    pub fn finish(mut self, target: &Path) -> Result<()> {
        sync_folder(Some(&self.path))
            .and_then(|()| fs::rename(&self.path, target))
            .with_context(|| format!("{}: cannot name the results folder", target.display()))?;
        let synced = sync_folder(target.parent());
        // A folder that a power failure may lose is not done: it gets its temporary name back and
        // is removed with it.
        self.done = synced.is_ok() || fs::rename(target, &self.path).is_err();
        synced.with_context(|| format!("{}: the name cannot be kept", target.display()))
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The current time by the clock of the folder's file system. Machines that share it may have
/// different clocks.
pub fn now_in(folder: &Path) -> Result<SystemTime> {
    let probe = folder.join(format!(".clock.{}.tmp", unique()));
    let time = fs::write(&probe, "t").and_then(|()| fs::metadata(&probe)?.modified());
    let _ = fs::remove_file(&probe);
    time.with_context(|| format!("{}: cannot write", probe.display()))
}

/// Removes files and folders with temporary names that have not changed for `age`, unless `keep` is
/// true for their intended name.
pub fn remove_temporary(
    folder: &Path,
    age: Duration,
    keep: impl Fn(&str) -> Result<bool>,
) -> Result<()> {
    let left = temporary(folder)?;
    if left.is_empty() {
        // Asking the clock would write a file.
        return Ok(());
    }
    let now = now_in(folder)?;
    for (name, target) in left {
        let path = folder.join(&name);
        // If this fails, the owner has just removed or renamed it.
        let Ok(changed) = fs::metadata(&path).and_then(|m| m.modified()) else { continue };
        if now.duration_since(changed).unwrap_or_default() > age && !keep(&target)? {
            remove(&path);
        }
    }
    Ok(())
}

/// Removes the folders with temporary names that were to be named `target`.
pub fn remove_partial(folder: &Path, target: &str) -> Result<()> {
    for (name, of) in temporary(folder)? {
        if of == target {
            remove(&folder.join(name));
        }
    }
    Ok(())
}

fn remove(path: &Path) {
    // Another process may do the same; the next sweep finds what is left.
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

/// Temporary names in the folder, each with its intended name: `.NAME.UNIQUE.partial` or
/// `.NAME.UNIQUE.tmp`.
fn temporary(folder: &Path) -> Result<Vec<(String, String)>> {
    let names = names_in(folder)?;
    let parse = |name: String| {
        let inner = name.strip_prefix('.')?;
        let inner = inner.strip_suffix(".partial").or_else(|| inner.strip_suffix(".tmp"))?;
        let target = inner.split_once('.').map_or(inner, |(target, _)| target).to_string();
        Some((name, target))
    };
    Ok(names.into_iter().filter_map(parse).collect())
}

/// The names in a folder, sorted; empty if there is no folder.
pub fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("{}: cannot read", folder.display()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("{}: cannot read", folder.display()))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
