//! What can go wrong with data.

use std::path::{Path, PathBuf};

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that names the file or value, what is wrong with it, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Files that are not there.
    #[error(
        "the files of {dataset} are missing: {}.\nLooked in {}.\nPut them there, or fetch them with: cargo xtask data fetch {dataset}",
        files.join(", "), display(folders)
    )]
    MissingFiles {
        /// The data set's name.
        dataset: String,
        /// The files wanted.
        files: Vec<String>,
        /// Where they were looked for.
        folders: Vec<PathBuf>,
    },
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's message.
        source: std::io::Error,
    },
    /// A file whose contents are not what they should be.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A download that failed from every address.
    #[error(
        "{file} could not be downloaded:\n{}\nDownload it by hand into {}, or name another mirror with --mirror or GANOMALY_DATA_MIRROR",
        attempts.join("\n"), folder.display()
    )]
    Download {
        /// The file wanted.
        file: String,
        /// Each address with what went wrong there.
        attempts: Vec<String>,
        /// Where the file belongs.
        folder: PathBuf,
    },
    /// A setting outside its range.
    #[error("{0}")]
    Invalid(String),
    /// An error of a tensor operation.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }

    pub(crate) fn malformed(path: &Path, problem: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_path_buf(), problem: problem.into() }
    }
}

fn display(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" and ")
}
