//! The binary `ganomaly`: glue over the library.

mod cli;

use clap::Parser;
use ganomaly_runner::progress::Interrupted;
use std::process::ExitCode;

// Training allocates and frees the same large buffers in every step; mimalloc keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(e) if e.is::<Interrupted>() => {
            eprintln!("{e:#}\nto go on: {}", cli::command_line());
            ExitCode::from(130)
        }
        Err(e) => {
            eprintln!("error: {}", cli::printable(&format!("{e:#}")));
            ExitCode::FAILURE
        }
    }
}
