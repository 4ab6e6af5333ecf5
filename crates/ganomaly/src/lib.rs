//! The program `ganomaly` as a library, so that a crate with data sets or detectors of its own is a
//! whole program in a few lines:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     ganomaly::main(ganomaly::Registry::builtin()) // .dataset(MyData)
//! }
//! ```

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod args;
mod commands;
pub mod dev;
mod fetch;
mod following;
mod live_events;
mod mlflow;

pub use ganomaly_experiment::registry::Registry;

use clap::Parser;
use ganomaly_runner::device;
use ganomaly_runner::interrupt::{EXIT_CODE, Interrupted};
use ganomaly_runner::terminal::{be_quiet, quoted, say};
use std::process::ExitCode;

// Training allocates and frees the same large buffers in every step; mimalloc keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// GANomaly anomaly detection: train, score, sweep, verify.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
    /// Print one line per epoch even with many runs; sweep.log in the results always has them.
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Print only results and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

/// What every command gets.
struct Program {
    registry: Registry,
    /// Whether to print one line per epoch even with many runs.
    verbose: bool,
}

/// Runs the command that the process was started with. The exit codes are those of
/// docs/exit-codes.md.
pub fn main(registry: Registry) -> ExitCode {
    let cli = Cli::parse();
    if cli.quiet {
        be_quiet();
    }
    let registry = registry.auto_device(device::auto);
    match cli.command.run(&Program { registry, verbose: cli.verbose }) {
        Ok(code) => code,
        Err(e) if e.is::<Interrupted>() => {
            say(format!("{e:#}\nto resume: {}", command_line()));
            ExitCode::from(EXIT_CODE)
        }
        Err(e) => {
            say(format!("error: {e:#}"));
            ExitCode::FAILURE
        }
    }
}

/// This process's command line, quoted for a shell.
fn command_line() -> String {
    let args = std::env::args_os().map(|arg| quoted(&arg.to_string_lossy()));
    args.collect::<Vec<_>>().join(" ")
}
