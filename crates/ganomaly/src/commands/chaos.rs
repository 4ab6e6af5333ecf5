//! `ganomaly chaos`.

use crate::Program;
use crate::dev::chaos;
use anyhow::{Context, Result};
use clap::Args;
use ganomaly_runner::terminal::{note, out};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct ChaosArgs {
    /// The experiment's TOML file.
    #[arg(default_value = "experiments/quick.toml")]
    config: PathBuf,
    /// Replace a setting, or sweep it with a list; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The data folder; default: GANOMALY_DATA_DIR, else data.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Number of kills.
    #[arg(long, value_name = "N", default_value_t = 50)]
    kills: usize,
    /// Seed of the random moments of the kills.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Training steps between checkpoints.
    #[arg(long, value_name = "N", default_value_t = 10)]
    checkpoint_steps: u64,
    /// Temporary folder for the results; it must not exist yet.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// Kills sweeps of an experiment, and checks that they result in the same bytes.
pub fn run(args: &ChaosArgs, program: &Program) -> Result<ExitCode> {
    let binary = std::env::current_exe().context("this program cannot be found")?;
    let options = chaos::Options {
        binary,
        config: args.config.clone(),
        set: args.set.clone(),
        data_dir: args.data_dir.clone(),
        kills: args.kills,
        seed: args.seed,
        checkpoint_steps: args.checkpoint_steps,
    };
    let folder = args.folder.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("ganomaly-chaos-{}", std::process::id()))
    });
    std::fs::create_dir(&folder).with_context(|| format!("{}: cannot create", folder.display()))?;
    let report = chaos::run(&options, &folder, &program.registry, &|line| note(line));
    // Differing results are kept for inspection.
    let report = report.with_context(|| format!("{}", folder.display()))?;
    std::fs::remove_dir_all(&folder)
        .with_context(|| format!("{}: cannot remove", folder.display()))?;
    out(&format!("{report}\n"))?;
    Ok(ExitCode::SUCCESS)
}
