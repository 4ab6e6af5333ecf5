//! `ganomaly audit`.

use crate::Program;
use crate::args::{RunOptions, do_runs};
use anyhow::{Context, Result};
use clap::Args;
use ganomaly_report::audit;
use ganomaly_runner::sweep::jobs::Jobs;
use ganomaly_runner::terminal::{note, out};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct AuditArgs {
    /// The experiment's TOML file.
    #[arg(default_value = "experiments/audit.toml")]
    config: PathBuf,
    #[command(flatten)]
    options: RunOptions,
    /// Runs at once, sharing the threads; auto measures which number trains fastest.
    #[arg(long, default_value_t)]
    jobs: Jobs,
}

/// Does an experiment's missing runs, and evaluates all runs under every protocol.
pub fn run(args: &AuditArgs, program: &Program) -> Result<ExitCode> {
    let AuditArgs { config, options, jobs } = args;
    let (experiment, store, cancel) = options.prepare(config, program)?;
    let given = experiment.name.clone();
    let experiment = audit::prepare(experiment).with_context(|| config.display().to_string())?;
    if experiment.name != given {
        note(format!(
            "the runs get what an audit needs (every mode, every epoch's scores, a tenth held out for validation) and go to {}",
            options.results.join(&experiment.name).display()
        ));
    }
    let (folder, code) = do_runs(&experiment, options, *jobs, &store, program, &cancel)?;
    out(&audit::write(&audit::audit(&experiment, &folder)?, &folder)?)?;
    Ok(code)
}
