//! Downloads a data set's files: verified, limited in size, and never half-written.

use crate::read::{hex, open, sha256};
use crate::{Checksum, Dataset, Error, FetchOptions, Limits, Progress, RemoteFile, Result};
use md5::{Digest, Md5};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Downloads the missing files of a data set into `data_dir/<name>/` and returns that folder.
pub fn fetch(
    dataset: &dyn Dataset,
    data_dir: &Path,
    options: &FetchOptions,
    report: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf> {
    let folder = data_dir.join(dataset.name());
    match dataset.fetch_into(&folder, options, report) {
        Some(fetched) => fetched?,
        None => files(&dataset.files(), &folder, options, report)?,
    }
    Ok(folder)
}

/// Downloads those of `files` that are not in `folder`.
fn files(
    files: &[RemoteFile],
    folder: &Path,
    options: &FetchOptions,
    report: &mut dyn FnMut(Progress<'_>),
) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    for file in files {
        let path = folder.join(&file.name);
        if path.is_file() && check(&path, file.checksum).is_ok() {
            report(Progress::Present(&file.name));
            continue;
        }
        let mirrors = options.mirror.as_ref().map_or(file.mirrors.clone(), |m| vec![m.clone()]);
        let mut attempts = Vec::new();
        for mirror in &mirrors {
            let url = format!("{}/{}", mirror.trim_end_matches('/'), file.name);
            match download(&url, file, &path, options, report) {
                Ok(()) => break,
                Err(_) if options.cancel.load(Ordering::Relaxed) => return Err(Error::Interrupted),
                Err(problem) => attempts.push(format!("  {url}: {problem}")),
            }
        }
        if attempts.len() == mirrors.len() {
            let folder = folder.to_path_buf();
            return Err(Error::Download { file: file.name.clone(), attempts, folder });
        }
        report(Progress::Done(&file.name));
    }
    Ok(())
}

/// One attempt at one address. The file appears under its name only when it is complete and
/// correct.
fn download(
    url: &str,
    file: &RemoteFile,
    path: &Path,
    options: &FetchOptions,
    report: &mut dyn FnMut(Progress<'_>),
) -> Result<(), String> {
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(options.patience))
        .timeout_recv_response(Some(options.patience))
        .build();
    let agent = ureq::Agent::new_with_config(config);
    let parts = parts(agent, url.to_string());
    // Connection and response each have this time, so twice as much together.
    let total = match next(&parts, 2 * options.patience, options)? {
        Some(Part::Begins(total)) => total,
        Some(Part::Failed(problem)) => return Err(problem),
        Some(Part::Bytes(_)) | None => return Err("no answer".into()),
    };
    if total.is_some_and(|t| t > file.max_bytes) {
        return Err(format!(
            "it offers {} bytes, more than the {} expected",
            total.unwrap_or(0),
            file.max_bytes
        ));
    }
    let partial = Partial(path.with_added_extension(format!("{}.partial", std::process::id())));
    let mut out = File::create(&partial.0).map_err(|e| format!("{}: {e}", partial.0.display()))?;
    remove_left(&partial.0, options.stall);
    let mut rate = Rate::new(options);
    let mut done = 0u64;
    loop {
        let chunk = match next(&parts, options.stall, options)? {
            Some(Part::Bytes(chunk)) => chunk,
            Some(Part::Failed(e)) => return Err(format!("broken off after {done} bytes: {e}")),
            Some(Part::Begins(_)) | None => break,
        };
        let n = chunk.len();
        done += n as u64;
        if done > file.max_bytes {
            return Err(format!("it sends more than the {} bytes expected", file.max_bytes));
        }
        out.write_all(&chunk).map_err(|e| format!("{}: {e}", partial.0.display()))?;
        rate.check(n as u64)?;
        report(Progress::Bytes(&file.name, done, total));
    }
    if total.is_some_and(|t| t != done) {
        return Err(format!("broken off after {done} of {} bytes", total.unwrap_or(0)));
    }
    out.sync_all().map_err(|e| format!("{}: {e}", partial.0.display()))?;
    check(&partial.0, file.checksum)?;
    std::fs::rename(&partial.0, path).map_err(|e| format!("{}: {e}", path.display()))
}

/// What a server sends.
enum Part {
    /// The response begins; its size in bytes, if the server states it.
    Begins(Option<u64>),
    Bytes(Vec<u8>),
    Failed(String),
}

/// Sends the request and reads the response on a separate thread, because a blocking read could not
/// be cancelled. The channel closes at the end of the stream.
fn parts(agent: ureq::Agent, url: String) -> Receiver<Part> {
    let (sender, receiver) = sync_channel(4);
    std::thread::spawn(move || {
        let body = match agent.get(&url).call() {
            Ok(response) => response.into_body(),
            Err(e) => {
                // The receiver may be gone, here and below.
                let _ = sender.send(Part::Failed(e.to_string()));
                return;
            }
        };
        let mut going = sender.send(Part::Begins(body.content_length())).is_ok();
        let (mut reader, mut buffer) = (body.into_reader(), vec![0; 1 << 16]);
        while going {
            going = match reader.read(&mut buffer) {
                Ok(0) => false,
                Ok(n) => sender.send(Part::Bytes(buffer[..n].to_vec())).is_ok(),
                Err(e) => {
                    let _ = sender.send(Part::Failed(e.to_string()));
                    false
                }
            };
        }
    });
    receiver
}

/// The next part, `None` at the end; an error if it takes longer than `most` or the download is
/// cancelled.
fn next(
    parts: &Receiver<Part>,
    most: Duration,
    options: &FetchOptions,
) -> Result<Option<Part>, String> {
    let since = Instant::now();
    loop {
        if options.cancel.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        let left = most.saturating_sub(since.elapsed());
        match parts.recv_timeout(left.min(Duration::from_millis(50))) {
            Ok(part) => return Ok(Some(part)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                return Err(format!("nothing came for {:.0} s", most.as_secs_f64()));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Removes what killed downloads of the same file left: files not written to for longer than a
/// download may stall.
fn remove_left(partial: &Path, stall: Duration) {
    let left = || -> std::io::Result<()> {
        // The file system's clock, because other machines may share the file system.
        let now = std::fs::metadata(partial)?.modified()?;
        let name = partial.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let of = name.rsplit_once('.').map_or("", |(of, _)| of);
        for entry in std::fs::read_dir(partial.parent().unwrap_or(Path::new(".")))? {
            let path = entry?.path();
            let theirs = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let theirs = theirs.strip_prefix(of).and_then(|rest| rest.strip_prefix('.'));
            let pid = theirs.and_then(|rest| rest.strip_suffix(".partial"));
            if pid.is_none_or(|pid| pid.parse::<u32>().is_err()) || path == partial {
                continue;
            }
            let age = now.duration_since(path.metadata()?.modified()?).unwrap_or_default();
            if age > 2 * stall {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    };
    // Another download may do the same at the same time; what remains is removed by the next.
    let _ = left();
}

/// A file under a temporary name, removed unless it has been renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Detects servers that are too slow: each period must bring its share of bytes.
struct Rate<'a> {
    options: &'a FetchOptions,
    since: Instant,
    bytes: u64,
}

impl<'a> Rate<'a> {
    fn new(options: &'a FetchOptions) -> Self {
        Self { options, since: Instant::now(), bytes: 0 }
    }

    fn check(&mut self, more: u64) -> Result<(), String> {
        self.bytes += more;
        let elapsed = self.since.elapsed();
        if elapsed < self.options.stall {
            return Ok(());
        }
        let rate = self.bytes as f64 / elapsed.as_secs_f64();
        if rate < self.options.min_bytes_per_s as f64 {
            return Err(format!(
                "too slow: {rate:.0} bytes a second over {:.0} s",
                elapsed.as_secs_f64()
            ));
        }
        (self.since, self.bytes) = (Instant::now(), 0);
        Ok(())
    }
}

fn check(path: &Path, checksum: Checksum) -> Result<(), String> {
    let file = || File::open(path).map_err(|e| e.to_string());
    let (kind, wanted, got) = match checksum {
        Checksum::Sha256(wanted) => {
            ("SHA-256", wanted, sha256(file()?, path).map_err(|e| e.to_string())?)
        }
        Checksum::UnpackedSha256(wanted) => {
            let unpacked = Limits::from_env()
                .and_then(|limits| open(path, &limits))
                .and_then(|source| sha256(source.reader, path));
            (
                "SHA-256 of the unpacked file",
                wanted,
                unpacked.map_err(|_| "not a whole gz file".to_string())?,
            )
        }
        Checksum::Md5(wanted) => {
            let mut hash = Md5::new();
            let mut file = file()?;
            let mut buffer = vec![0; 1 << 16];
            loop {
                match file.read(&mut buffer).map_err(|e| e.to_string())? {
                    0 => break,
                    n => hash.update(&buffer[..n]),
                }
            }
            ("MD5", wanted, hex(&hash.finalize()))
        }
    };
    if got == wanted {
        Ok(())
    } else {
        Err(format!("wrong contents: {kind} is {got}, expected {wanted}"))
    }
}
