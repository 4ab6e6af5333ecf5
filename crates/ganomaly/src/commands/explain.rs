//! `ganomaly explain`.

use crate::Program;
use anyhow::Result;
use ganomaly_inference::model_file::ModelFile;
use ganomaly_runner::terminal::out;
use std::path::Path;
use std::process::ExitCode;

pub fn run(model: &Path, program: &Program) -> Result<ExitCode> {
    out(&ModelFile::read(model, &program.registry)?.0.explain()?)?;
    Ok(ExitCode::SUCCESS)
}
