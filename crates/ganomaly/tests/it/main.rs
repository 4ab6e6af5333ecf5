//! The real binary in temporary folders, and what it is made of, in one program: linking takes
//! longer than most of these tests.

mod common;

mod browser;
#[cfg(unix)]
mod careless;
#[cfg(unix)]
mod chaos;
mod cli;
mod detectors;
mod evaluation;
mod event_files;
#[cfg(target_os = "linux")]
mod faults;
mod folders;
mod further;
#[cfg(unix)]
mod hostile;
mod identity;
mod import;
#[cfg(unix)]
mod mlflow;
mod own_detector;
mod own_images;
mod parity;
mod report;
mod resume;
#[cfg(unix)]
mod serve;
#[cfg(unix)]
mod slurm;
#[cfg(target_os = "linux")]
mod soak;
#[cfg(unix)]
mod sweep;
mod verify;
