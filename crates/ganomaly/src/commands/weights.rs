//! `ganomaly weights`.

use crate::Program;
use crate::args::{RunOptions, do_runs};
use anyhow::{Context, Result};
use clap::Args;
use ganomaly_report::weightings;
use ganomaly_runner::sweep::jobs::Jobs;
use ganomaly_runner::terminal::out;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct WeightsArgs {
    /// The experiment's TOML file, with a [design] of weights.
    #[arg(long, default_value = "experiments/weights.toml")]
    config: PathBuf,
    #[command(flatten)]
    options: RunOptions,
    /// Runs at once, sharing the threads; auto measures which number trains fastest.
    #[arg(long, default_value_t)]
    jobs: Jobs,
}

/// Does the missing runs of a design of weights, and compares its weightings.
pub fn run(args: &WeightsArgs, program: &Program) -> Result<ExitCode> {
    let WeightsArgs { config, options, jobs } = args;
    let (experiment, store, cancel) = options.prepare(config, program)?;
    weightings::check(&experiment).with_context(|| config.display().to_string())?;
    let (folder, code) = do_runs(&experiment, options, *jobs, &store, program, &cancel)?;
    out(&weightings::write(&weightings::weightings(&experiment, &folder)?, &folder)?)?;
    Ok(code)
}
