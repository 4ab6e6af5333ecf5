//! The binary `ganomaly`: glue over the library.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod cli;

use clap::Parser;
use ganomaly_runner::interrupt::{EXIT_CODE, Interrupted};
use ganomaly_runner::terminal::say;
use std::process::ExitCode;

// Training allocates and frees the same large buffers in every step; mimalloc keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(e) if e.is::<Interrupted>() => {
            say(format!("{e:#}\nto resume: {}", cli::command_line()));
            ExitCode::from(EXIT_CODE)
        }
        Err(e) => {
            say(format!("error: {e:#}"));
            ExitCode::FAILURE
        }
    }
}
