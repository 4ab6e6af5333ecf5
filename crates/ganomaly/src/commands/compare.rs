//! `ganomaly compare`.

use crate::Program;
use anyhow::{Result, bail};
use clap::Args;
use ganomaly_report::compare::{Side, compare};
use ganomaly_runner::terminal::{data, out};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// A results folder, such as results/weights.
    first: PathBuf,
    /// The other results folder; or, with a third argument, the settings that select the first
    /// side's runs: w_con=10,epochs=2.
    a: String,
    /// The settings that select the second side's runs in the same folder.
    b: Option<String>,
    /// Further settings that the runs of both sides must have.
    #[arg(long, value_name = "KEY=VALUE,...", default_value = "")]
    only: String,
    /// Print the comparison as JSON.
    #[arg(long)]
    json: bool,
}

/// Compares two folders, or two settings in one folder.
pub fn run(args: &CompareArgs, program: &Program) -> Result<ExitCode> {
    let read = |folder: &Path, selection: &str| Side::read(folder, selection, &program.registry);
    let also = |selection: &str| [selection, &args.only].join(",").trim_matches(',').to_string();
    let (a, b) = match &args.b {
        Some(b) => {
            if !args.a.contains('=') || !b.contains('=') {
                bail!(
                    "with a folder and two settings, each is KEY=VALUE; two folders are given alone"
                );
            }
            let mut sides = (read(&args.first, &also(&args.a))?, read(&args.first, &also(b))?);
            (sides.0.label, sides.1.label) = (args.a.clone(), b.clone());
            sides
        }
        None => (
            read(&args.first, &args.only)?.labelled(&args.first),
            read(Path::new(&args.a), &args.only)?.labelled(Path::new(&args.a)),
        ),
    };
    let comparison = compare(&a, &b)?;
    if args.json {
        data(&(serde_json::to_string_pretty(&comparison)? + "\n"))?;
    } else {
        out(&comparison.to_markdown())?;
    }
    Ok(ExitCode::SUCCESS)
}
