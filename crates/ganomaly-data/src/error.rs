//! The crate's errors.

use std::path::{Path, PathBuf};

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that names the file or value, what is wrong with it, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Missing files.
    #[error(
        "the files of {dataset} are missing: {}.\nLooked in {}.\nPut them there, or fetch the data set",
        files.join(", "), display(folders)
    )]
    MissingFiles {
        /// The data set's name.
        dataset: String,
        /// The required files.
        files: Vec<String>,
        /// Where they were looked for.
        folders: Vec<PathBuf>,
    },
    /// A file that cannot be read or written.
    #[error("{}: {cause}", shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's message.
        cause: std::io::Error,
    },
    /// A file whose contents are not what they should be.
    #[error("{}: {problem}", shown(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A download that failed from every address.
    #[error(
        "{file} could not be downloaded:\n{}\nDownload it by hand into {}, or name another mirror with --mirror or GANOMALY_DATA_MIRROR",
        attempts.join("\n"), shown(folder)
    )]
    Download {
        /// The requested file.
        file: String,
        /// Each address and what went wrong there.
        attempts: Vec<String>,
        /// Where the file belongs.
        folder: PathBuf,
    },
    /// A download that was cancelled.
    #[error("interrupted")]
    Interrupted,
    /// A setting outside its range.
    #[error("{0}")]
    Invalid(String),
    /// An error from a tensor operation.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl Error {
    /// What is wrong with a file, without its name.
    pub fn problem(&self) -> String {
        match self {
            Self::Io { cause, .. } => cause.to_string(),
            Self::Malformed { problem, .. } => problem.clone(),
            other => other.to_string(),
        }
    }

    pub(crate) fn io(path: &Path, cause: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), cause }
    }

    pub(crate) fn malformed(path: &Path, problem: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_path_buf(), problem: problem.into() }
    }
}

fn display(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| shown(p)).collect::<Vec<_>>().join(" and ")
}

/// Text for display: characters that would move a terminal's cursor, colour its text or reverse it
/// (escape sequences, direction marks) are escaped, as in `\u{1b}`. Newlines and tabs are kept.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if turns || c.is_control() && !matches!(c, '\n' | '\t') {
            printable.extend(c.escape_debug());
        } else {
            printable.push(c);
        }
    }
    printable
}

/// A path for display: as [`printable`], but newlines and tabs are escaped too, and bytes that are
/// not UTF-8 are shown as `\xff`.
pub fn shown(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text += &printable(chunk.valid()).replace('\n', "\\n").replace('\t', "\\t");
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
