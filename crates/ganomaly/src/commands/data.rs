//! `ganomaly data fetch|verify|list`.

use crate::args::code;
use crate::{Program, fetch};
use anyhow::Result;
use clap::{Args, Subcommand};
use ganomaly_data::{Dataset, FetchOptions, Verification};
use ganomaly_experiment::registry::Source;
use ganomaly_runner::interrupt::Cancel;
use ganomaly_runner::terminal::out;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
    /// The data folder; default: GANOMALY_DATA_DIR, else data.
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Download the missing files of the named data sets, or of all.
    Fetch {
        /// Names of data sets.
        datasets: Vec<String>,
        /// URL of a folder to take the files from.
        #[arg(long)]
        mirror: Option<String>,
    },
    /// Check whether the named data sets, or all, are the official ones.
    Verify {
        /// Names of data sets.
        datasets: Vec<String>,
    },
    /// List the data sets with origin and licence.
    List,
}

pub fn run(args: &DataArgs, program: &Program) -> Result<ExitCode> {
    let dir = ganomaly_data::data_dir(args.data_dir.as_deref());
    match &args.command {
        DataCommand::Fetch { datasets, mirror } => {
            let mut options = FetchOptions::default();
            if mirror.is_some() {
                options.mirror.clone_from(mirror);
            }
            let cancel = Cancel::of_signals()?;
            options.cancel = cancel.flag();
            for dataset in chosen(datasets, program)? {
                fetch::download(&*dataset, &dir, &options)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        DataCommand::Verify { datasets } => verify(&chosen(datasets, program)?, &dir),
        DataCommand::List => {
            for dataset in program.registry.datasets() {
                let about = dataset.about();
                out(&format!(
                    "{}: {}\n  from {}\n  licence: {}\n  cite: {}\n",
                    dataset.name(),
                    about.description,
                    about.homepage,
                    about.licence,
                    about.citation
                ))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn chosen(names: &[String], program: &Program) -> Result<Vec<Arc<dyn Dataset>>> {
    if names.is_empty() {
        return Ok(program.registry.datasets().to_vec());
    }
    names.iter().map(|name| program.registry.find_dataset(&Source::of(name))).collect()
}

fn verify(datasets: &[Arc<dyn Dataset>], dir: &Path) -> Result<ExitCode> {
    let mut good = true;
    for dataset in datasets {
        let line = match dataset.verify(dir) {
            Ok(Verification::Official) => "official".to_string(),
            Ok(Verification::Generated) => "drawn when needed".to_string(),
            Ok(Verification::Partial(how)) => {
                good = false;
                format!("NOT OFFICIAL: {how}")
            }
            Err(e) => {
                good = false;
                format!("ERROR: {e}")
            }
        };
        out(&format!("{}: {line}\n", dataset.name()))?;
    }
    Ok(code(good))
}
