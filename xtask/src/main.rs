//! The project's chores. Light to compile: it holds no model code and runs the `ganomaly` binary.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod bench;
mod chaos;
mod ci;
mod ganomaly;
mod gpu;
mod print;
mod reproduce;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Chores of the ganomaly workspace.
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
    /// Do every run of an experiment: sweep EXPERIMENT.toml [--set KEY=VALUE ...].
    #[command(disable_help_flag = true)]
    Sweep(Rest),
    /// Show the progress of experiments: status [EXPERIMENT.toml ...].
    #[command(disable_help_flag = true)]
    Status(Rest),
    /// Rebuild an experiment's tables from its results alone: collect results/EXPERIMENT ...
    #[command(disable_help_flag = true)]
    Collect(Rest),
    /// Verify results: recompute every table, check every checksum: verify [RESULTS ...], else
    /// results.
    #[command(disable_help_flag = true)]
    Verify(Rest),
    /// Write experiments' reports: report [EXPERIMENT ...], or report --compare A B.
    #[command(disable_help_flag = true)]
    Report(Rest),
    /// Measure how much of an AUROC is due to the protocol: audit [EXPERIMENT.toml], else
    /// experiments/audit.toml.
    #[command(disable_help_flag = true)]
    Audit(Rest),
    /// Compare weightings of the losses: weights [--config EXPERIMENT.toml].
    #[command(disable_help_flag = true)]
    Weights(Rest),
    /// Compare two configurations, paired by class and seed: compare FOLDER FOLDER, or compare
    /// FOLDER KEY=VALUE KEY=VALUE.
    #[command(disable_help_flag = true)]
    Compare(Rest),
    /// Fetch, verify or list data sets: data fetch|verify|list [NAME ...].
    #[command(disable_help_flag = true)]
    Data(Rest),
    /// Compare with traces of the published implementation: parity TRACE ...
    #[command(disable_help_flag = true)]
    Parity(Rest),
    /// Time a training step and scoring, alone or beside PyTorch's.
    Bench(bench::Args),
    /// Kill sweeps at random moments and check that they result in the same bytes: chaos
    /// [EXPERIMENT.toml] [--kills N] [--seed S].
    #[command(disable_help_flag = true)]
    Chaos(Rest),
    /// Build for GPUs, or pack for a machine that has one: gpu build|pack.
    Gpu(gpu::Args),
    /// Run what every change must pass: formatting, lints, tests.
    Ci,
}

/// Arguments that are passed to the binary unchanged.
#[derive(Debug, clap::Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Reproduce(args) => reproduce::run(&args),
        Command::Sweep(rest) => ganomaly::run("sweep", &rest.args),
        Command::Status(rest) => ganomaly::run("status", &rest.args),
        Command::Collect(rest) => ganomaly::run("collect", &rest.args),
        Command::Verify(rest) => ganomaly::run("verify", &rest.args),
        Command::Report(rest) => ganomaly::run("report", &rest.args),
        Command::Audit(rest) => audit(rest.args),
        Command::Weights(rest) => ganomaly::run("weights", &rest.args),
        Command::Compare(rest) => ganomaly::run("compare", &rest.args),
        Command::Data(rest) => ganomaly::run("data", &rest.args),
        Command::Parity(rest) => ganomaly::run("parity", &rest.args),
        Command::Bench(args) => bench::run(&args),
        Command::Chaos(rest) => chaos::run(rest.args),
        Command::Gpu(args) => gpu::run(&args),
        Command::Ci => ci::run(),
    }
}

/// Without an experiment, uses the committed one.
fn audit(mut args: Vec<String>) -> Result<ExitCode> {
    if args.first().is_none_or(|arg| arg.starts_with('-')) && !args.iter().any(|a| a == "--help") {
        args.insert(0, "experiments/audit.toml".into());
    }
    ganomaly::run("audit", &args)
}
