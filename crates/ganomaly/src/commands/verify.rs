//! `ganomaly verify`.

use crate::Program;
use crate::args::code;
use anyhow::Result;
use clap::Args;
use ganomaly_report::verify;
use ganomaly_runner::terminal::out;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Results folders of experiments, such as results/mnist, of all results, or of a single run.
    #[arg(default_value = "results")]
    results: Vec<PathBuf>,
    /// The data folder, whose files are compared with the recorded ones; default:
    /// GANOMALY_DATA_DIR, else data.
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

/// Prints every mismatch on its own line; the exit code is 1 if there are any.
pub fn run(args: &VerifyArgs, program: &Program) -> Result<ExitCode> {
    let store = program.store(args.data_dir.as_deref());
    let mut all_well = true;
    for path in &args.results {
        for folder in verify::folders(path)? {
            let found = verify::verify(&folder, &store)?;
            for line in found.wrong.iter().chain(&found.notes) {
                out(&format!("{line}\n"))?;
            }
            let (wrong, notes) = (found.wrong.len(), found.notes.len());
            let well = match wrong {
                0 => "all is as it was".to_string(),
                1 => "1 MISMATCH".to_string(),
                n => format!("{n} MISMATCHES"),
            };
            out(&format!(
                "{}: {} runs, {} checks, {notes} notes: {well}\n",
                folder.display(),
                found.runs,
                found.checks
            ))?;
            all_well &= wrong == 0;
        }
    }
    Ok(code(all_well))
}
