//! `ganomaly data fetch|verify|list`, and the download before a run.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use ganomaly_data::{Dataset, FetchOptions, Progress, Verification, fetch};
use ganomaly_runner::data::DataStore;
use ganomaly_runner::interrupt::{Cancel, Interrupted};
use ganomaly_runner::progress::shows_bars;
use ganomaly_runner::registry;
use ganomaly_runner::terminal::{note, out};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

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

pub fn run(args: &DataArgs) -> Result<ExitCode> {
    let dir = ganomaly_data::data_dir(args.data_dir.as_deref());
    match &args.command {
        DataCommand::Fetch { datasets, mirror } => {
            let mut options = FetchOptions::default();
            if mirror.is_some() {
                options.mirror.clone_from(mirror);
            }
            let cancel = Cancel::of_signals()?;
            options.cancel = cancel.flag();
            for dataset in chosen(datasets)? {
                download(&*dataset, &dir, &options)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        DataCommand::Verify { datasets } => verify(&chosen(datasets)?, &dir),
        DataCommand::List => {
            for dataset in registry::datasets() {
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
        out(&format!("{}: {line}\n", dataset.name()))?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the data set; downloads its files first if they are missing.
pub fn fetch_if_missing(store: &DataStore, name: &str, cancel: &Cancel) -> Result<()> {
    let Err(error) = store.images(name) else { return Ok(()) };
    match error.downcast_ref::<ganomaly_data::Error>() {
        Some(ganomaly_data::Error::MissingFiles { .. }) => {}
        _ => return Err(error),
    }
    note(format!("the files of {name} are not in {}; downloading", store.dir().display()));
    let dataset = registry::dataset(name)?;
    let options = FetchOptions { cancel: cancel.flag(), ..FetchOptions::default() };
    match download(&*dataset, store.dir(), &options) {
        Err(e) if e.is::<Interrupted>() => return Err(e),
        Err(e) => bail!("{error}\n{e:#}"),
        Ok(()) => {}
    }
    store.images(name).map(drop)
}

fn download(dataset: &dyn Dataset, dir: &Path, options: &FetchOptions) -> Result<()> {
    let bar = if shows_bars() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bar:24} {bytes}/{total_bytes}, {eta} left")
    {
        bar.set_style(style);
    }
    let line = |line: &str| if bar.is_hidden() { note(line) } else { bar.println(line) };
    let folder = fetch(dataset, dir, options, &mut |event| match event {
        Progress::Present(file) => line(&format!("{file}: there already")),
        Progress::Done(file) => line(&format!("{file}: downloaded and checked")),
        Progress::Bytes(file, done, total) => {
            bar.set_message(file.to_string());
            bar.set_length(total.unwrap_or(done));
            bar.set_position(done);
        }
    });
    bar.finish_and_clear();
    let folder = folder.map_err(|e| match e {
        ganomaly_data::Error::Interrupted => Interrupted.into(),
        e => anyhow::Error::from(e),
    })?;
    if !dataset.files().is_empty() {
        note(format!("{} is in {}", dataset.name(), folder.display()));
    }
    Ok(())
}
