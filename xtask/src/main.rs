//! The project's chores. Light to compile: it holds no model code and runs the `ganomaly` binary.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod bench;
mod ci;
mod ganomaly;
mod gpu;
mod new_dataset;
mod print;
mod reproduce;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Chores of the ganomaly workspace. Any other command is one of the program `ganomaly`, which is
/// built first, such as cargo xtask sweep EXPERIMENT.toml; `ganomaly --help` lists them.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reproduce the paper's tables or, with --quick, show the whole chain on drawings.
    Reproduce(reproduce::Args),
    /// Time a training step and scoring, alone or beside PyTorch's.
    Bench(bench::Args),
    /// Build for GPUs, or pack for a machine that has one: gpu build|pack.
    Gpu(gpu::Args),
    /// Write a crate with a data set of its own, to begin from.
    NewDataset(new_dataset::Args),
    /// Run what every change must pass: formatting, lints, tests.
    Ci,
    #[command(external_subcommand)]
    Ganomaly(Vec<String>),
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Reproduce(args) => reproduce::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Gpu(args) => gpu::run(&args),
        Command::NewDataset(args) => new_dataset::run(&args),
        Command::Ci => ci::run(),
        Command::Ganomaly(args) => ganomaly::run(&args),
    }
}
