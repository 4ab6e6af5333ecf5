//! `cargo xtask reproduce`: the main job.

use crate::ganomaly;
use anyhow::Result;
use clap::ValueEnum;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Drawings instead of pictures and a small network: no download, a few minutes.
    #[arg(long, conflicts_with = "table")]
    quick: bool,
    /// Only this table; else both.
    #[arg(long)]
    table: Option<Table>,
    /// Further arguments for the sweep, such as --set seed=0 or --data-dir DIR.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Table {
    Mnist,
    Cifar10,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let experiments: &[&str] = match (args.quick, args.table) {
        (true, _) => &["quick"],
        (_, Some(Table::Mnist)) => &["mnist"],
        (_, Some(Table::Cifar10)) => &["cifar10"],
        (_, None) => &["mnist", "cifar10"],
    };
    let root = ganomaly::root()?;
    for name in experiments {
        let config = root.join("experiments").join(format!("{name}.toml"));
        let results = root.join("results");
        let mut all =
            vec![config.display().to_string(), "--results".into(), results.display().to_string()];
        all.extend(args.rest.iter().cloned());
        let code = ganomaly::run("sweep", &all)?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
        if args.rest.iter().any(|arg| arg == "--dry-run") {
            continue;
        }
        let mut report = vec![name.to_string(), "--results".into(), results.display().to_string()];
        report.extend(data_dir(&args.rest));
        println!("\nThe report, for any browser:");
        let code = ganomaly::run("report", &report)?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The data folder among a sweep's arguments, which its report reads pictures from.
fn data_dir(args: &[String]) -> Vec<String> {
    let Some(at) = args.iter().position(|arg| arg.starts_with("--data-dir")) else {
        return Vec::new();
    };
    let length = if args[at].contains('=') { 1 } else { 2 };
    args[at..].iter().take(length).cloned().collect()
}
