//! `ganomaly score`.

use crate::Program;
use crate::args::code;
use anyhow::Result;
use clap::Args;
use ganomaly_inference::scorer::Scorer;
use ganomaly_runner::terminal::{data, say};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// A run's folder, its weights.safetensors, or a model file (`import` makes one).
    model: PathBuf,
    /// PNG, JPEG or BMP files.
    #[arg(required = true)]
    images: Vec<PathBuf>,
}

pub fn run(args: &ScoreArgs, program: &Program) -> Result<ExitCode> {
    let scorer = Scorer::load(&args.model, &program.registry)?;
    let row = |row: Vec<String>| -> Result<()> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(row)?;
        data(&String::from_utf8(csv.into_inner()?)?)
    };
    let heading = ["picture"].iter().chain(scorer.names());
    row(heading.map(ToString::to_string).collect())?;
    let mut failed = false;
    for path in &args.images {
        match scorer.score(path) {
            // Quoted if necessary; bytes that are not text are escaped, so that the table is text.
            Ok(scores) => {
                let scores = scores.iter().map(ToString::to_string);
                row(std::iter::once(name(path)).chain(scores).collect())?;
            }
            Err(e) => {
                failed = true;
                say(format!("error: {e:#}"));
            }
        }
    }
    Ok(code(!failed))
}

/// A file's name unchanged, with bytes that are not UTF-8 as `\xff`.
fn name(path: &Path) -> String {
    path.to_str().map_or_else(|| ganomaly_data::shown(path), str::to_string)
}
