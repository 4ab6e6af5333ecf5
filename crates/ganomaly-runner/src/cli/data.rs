//! `ganomaly data fetch|verify|list`, and fetching before a run.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use ganomaly_data::{Dataset, FetchOptions, Progress, Verification, fetch};
use ganomaly_runner::data::DataStore;
use ganomaly_runner::registry;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
    /// The data folder; else GANOMALY_DATA_DIR, else data.
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Download what is missing of the named data sets, else of all.
    Fetch {
        /// Names of data sets.
        datasets: Vec<String>,
        /// The address of a folder to take the files from.
        #[arg(long)]
        mirror: Option<String>,
    },
    /// Tell whether the named data sets, else all, are the official ones.
    Verify {
        /// Names of data sets.
        datasets: Vec<String>,
    },
    /// List the data sets, with origin and licence.
    List,
}

pub fn run(args: &DataArgs) -> Result<ExitCode> {
    let dir = ganomaly_data::data_dir(args.data_dir.as_deref());
    match &args.command {
        DataCommand::Fetch { datasets, mirror } => {
            let mut options = FetchOptions::default();
            if mirror.is_some() {
                options.mirror.clone_from(mirror);
            }
            for dataset in chosen(datasets)? {
                download(&*dataset, &dir, &options)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        DataCommand::Verify { datasets } => verify(&chosen(datasets)?, &dir),
        DataCommand::List => {
            for dataset in registry::datasets() {
                let about = dataset.about();
                super::out(&format!(
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

fn chosen(names: &[String]) -> Result<Vec<Box<dyn Dataset>>> {
    if names.is_empty() {
        return Ok(registry::datasets());
    }
    names.iter().map(|name| registry::dataset(name)).collect()
}

fn verify(datasets: &[Box<dyn Dataset>], dir: &Path) -> Result<ExitCode> {
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
        super::out(&format!("{}: {line}\n", dataset.name()))?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the data set; where its files are missing, downloads them first.
pub fn fetch_if_missing(store: &DataStore, name: &str) -> Result<()> {
    let Err(error) = store.images(name) else { return Ok(()) };
    match error.downcast_ref::<ganomaly_data::Error>() {
        Some(ganomaly_data::Error::MissingFiles { .. }) => {}
        _ => return Err(error),
    }
    eprintln!("the files of {name} are not in {}; downloading", store.dir().display());
    let dataset = registry::dataset(name)?;
    if let Err(download) = download(&*dataset, store.dir(), &FetchOptions::default()) {
        bail!("{error}\n{download:#}");
    }
    store.images(name).map(drop)
}

fn download(dataset: &dyn Dataset, dir: &Path, options: &FetchOptions) -> Result<()> {
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bar:24} {bytes}/{total_bytes}, {eta} left")
    {
        bar.set_style(style);
    }
    let folder = fetch(dataset, dir, options, &mut |event| match event {
        Progress::Present(file) => bar.suspend(|| eprintln!("{file}: there already")),
        Progress::Done(file) => bar.suspend(|| eprintln!("{file}: downloaded and checked")),
        Progress::Bytes(file, done, total) => {
            bar.set_message(file.to_string());
            bar.set_length(total.unwrap_or(done));
            bar.set_position(done);
        }
    })?;
    bar.finish_and_clear();
    if !dataset.files().is_empty() {
        eprintln!("{} is in {}", dataset.name(), folder.display());
    }
    Ok(())
}
