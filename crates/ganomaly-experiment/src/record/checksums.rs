//! `SHA256SUMS` of a run's folder: the checksum of each of its files when the run ended, in the
//! format that `sha256sum -c` reads.

use super::folder::{SHA256SUMS, is_run};
use crate::files;
use crate::sha256::sha256;
use anyhow::{Context, Result, anyhow, bail, ensure};
use ganomaly_data::{read_text, shown};
use std::collections::BTreeMap;
use std::path::Path;

/// Maximum size of the list, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Checksums by file name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checksums(pub BTreeMap<String, String>);

impl Checksums {
    /// Adds a file.
    pub fn add(&mut self, name: &str, contents: &[u8]) {
        self.0.insert(name.to_string(), sha256(contents));
    }

    /// The file's contents.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect()
    }

    /// Reads the checksums of a run's folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(SHA256SUMS);
        let text = read_text(&path, MAX_BYTES).context("cannot read a run's checksums")?;
        Self::parse(&text).with_context(|| format!("{}: not a list of checksums", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut sums = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let pair = line.split_once("  ").filter(|(sum, name)| {
                sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit()) && !name.is_empty()
            });
            let Some((sum, name)) = pair else { bail!("line {}: {line:?}", number + 1) };
            sums.insert(name.to_string(), sum.to_string());
        }
        ensure!(text.ends_with('\n'), "it is cut off");
        Ok(Self(sums))
    }
}

/// Reads a file of a run's folder. Fails if it differs from what the run wrote, so that no damaged
/// result is accepted.
pub fn read(folder: &Path, name: &str) -> Result<Vec<u8>> {
    let path = folder.join(name);
    let bytes = files::read(&path).map_err(|e| {
        if path.exists() {
            return anyhow!(e);
        }
        let why = match is_run(folder) {
            true => {
                "of this run the records are kept alone. To have it, do the run in another folder \
                 (--results)"
            }
            false => "its folder is not a run's",
        };
        anyhow!("{}: not here; {why}", shown(&path))
    })?;
    check(folder, name, &bytes)?;
    Ok(bytes)
}

/// Like [`read`], for bytes already read.
pub fn check(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let sums = Checksums::read(folder)?;
    let found = sha256(bytes);
    ensure!(
        sums.0.get(name) == Some(&found),
        "{}: damaged or changed since the run ended: SHA-256 is {found}, not {} as in {SHA256SUMS}. `ganomaly verify` tells what else is; \
         remove the run's folder and sweep again",
        folder.join(name).display(),
        sums.0.get(name).map_or("any", String::as_str)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn checksums_are_read_as_written_and_nothing_else_passes() {
        let mut sums = Checksums::default();
        sums.add("b", b"");
        sums.add("a", b"abc");
        let text = sums.to_text();
        // FIPS 180-2, appendix B.1.
        assert!(
            text.starts_with(
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n"
            )
        );
        assert_eq!(Checksums::parse(&text).unwrap(), sums);
        for broken in [text.trim_end(), &text[1..], "x\n"] {
            assert!(Checksums::parse(broken).is_err(), "{broken}");
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "abc").unwrap();
        assert!(read(folder.path(), "a").is_err(), "without checksums");
        fs::write(folder.path().join(SHA256SUMS), &text).unwrap();
        assert_eq!(read(folder.path(), "a").unwrap(), b"abc");
        fs::write(folder.path().join("a"), "abd").unwrap();
        let error = format!("{:#}", read(folder.path(), "a").unwrap_err());
        assert!(error.contains("damaged or changed since the run ended"), "{error}");
    }
}
