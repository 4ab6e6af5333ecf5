//! `ganomaly collect`.

use crate::Program;
use anyhow::Result;
use clap::Args;
use ganomaly_report::plot;
use ganomaly_report::tables::collect;
use ganomaly_runner::terminal::{note, out};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct CollectArgs {
    /// Results folders of experiments, such as results/mnist.
    #[arg(required = true)]
    folders: Vec<PathBuf>,
}

pub fn run(args: &CollectArgs, program: &Program) -> Result<ExitCode> {
    let store = program.store(None);
    for folder in &args.folders {
        let collected = collect(folder, &program.registry)?;
        plot::run::write(&collected.plan, folder, &store)?;
        out(&collected.table)?;
        let runs = collected.plan.runs.len();
        let whose = if collected.planned { "the last sweep" } else { "what is there" };
        note(format!(
            "\n{}: tables of {} runs rebuilt; the plan is that of {whose} and has {runs}",
            folder.display(),
            runs - collected.missing.len()
        ));
        for (names, what) in [
            (&collected.missing, "not done"),
            (&collected.others, "of other configs or generations, not in the plan and the tables"),
        ] {
            if !names.is_empty() {
                note(format!("{what}: {}", names.join(", ")));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
