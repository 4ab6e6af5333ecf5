//! `cargo xtask reproduce`: the main job. It writes into its own folder, so that the committed
//! results stay as they are, and compares the two.

use crate::ganomaly;
use crate::print::out;
use anyhow::Result;
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Use generated drawings and a small network: no download, a few minutes.
    #[arg(long, conflicts_with = "table")]
    quick: bool,
    /// Do only this table; default: both.
    #[arg(long)]
    table: Option<Table>,
    /// Folder for results; the committed ones in results/ stay unchanged.
    #[arg(long, default_value = "reproduced")]
    results: PathBuf,
    /// Further arguments for the sweep, such as --only abnormal_class=2,seed=0 or --data-dir DIR.
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
        let results = root.join(&args.results);
        let mut all = vec![
            "sweep".into(),
            config.display().to_string(),
            "--results".into(),
            results.display().to_string(),
        ];
        all.extend(args.rest.iter().cloned());
        let code = ganomaly::run(&all)?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
        // With --set or --name it is another experiment, under another name.
        let other = |arg: &String| ["--set", "--name"].iter().any(|flag| arg.starts_with(flag));
        if args.rest.iter().any(|arg| arg == "--dry-run" || other(arg)) {
            continue;
        }
        compare(&root.join("results").join(name), &results.join(name));
        let mut report = vec![
            "report".into(),
            name.to_string(),
            "--results".into(),
            results.display().to_string(),
        ];
        report.extend(data_dir(&args.rest));
        out("\nThe report, for any browser:");
        let code = ganomaly::run(&report)?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reports how many runs have the same numbers as the committed ones. CPUs with other instructions
/// round differently, so a difference is reported but is not a failure.
fn compare(committed: &Path, ours: &Path) {
    let rows = |folder: &Path| -> Option<Vec<String>> {
        let text = std::fs::read_to_string(folder.join("runs.csv")).ok()?;
        Some(text.lines().skip(1).map(String::from).collect())
    };
    let (Some(committed_rows), Some(our_rows)) = (rows(committed), rows(ours)) else { return };
    let (same, other): (Vec<_>, Vec<_>) =
        our_rows.iter().partition(|row| committed_rows.contains(row));
    out(format!(
        "\n{} of {} runs have the very numbers of {}",
        same.len(),
        our_rows.len(),
        committed.join("runs.csv").display()
    ));
    let run = |row: &str| row.split(',').next().unwrap_or_default().to_string();
    for row in other {
        match committed_rows.iter().find(|committed| run(committed) == run(row)) {
            Some(committed) => out(format!("  here   {row}\n  there  {committed}")),
            None => out(format!("  {}: not among the committed ones", run(row))),
        }
    }
}

/// The data folder from a sweep's arguments; its report reads images from it.
fn data_dir(args: &[String]) -> Vec<String> {
    let Some(at) = args.iter().position(|arg| arg.starts_with("--data-dir")) else {
        return Vec::new();
    };
    let length = if args[at].contains('=') { 1 } else { 2 };
    args[at..].iter().take(length).cloned().collect()
}
