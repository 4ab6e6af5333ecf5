//! Downloads of data sets, with progress.

use anyhow::{Result, bail};
use ganomaly_data::{Dataset, FetchOptions, Progress, fetch};
use ganomaly_experiment::registry::Source;
use ganomaly_experiment::run_data::DataStore;
use ganomaly_runner::interrupt::{Cancel, Interrupted};
use ganomaly_runner::progress::shows_bars;
use ganomaly_runner::terminal::note;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;

/// Reads the data set; downloads its files first if they are missing.
pub fn if_missing(store: &DataStore, source: &Source, cancel: &Cancel) -> Result<()> {
    let name = &source.dataset;
    let Err(error) = store.images(source) else { return Ok(()) };
    match error.downcast_ref::<ganomaly_data::Error>() {
        Some(ganomaly_data::Error::MissingFiles { .. }) => {}
        _ => return Err(error),
    }
    note(format!("the files of {name} are not in {}; downloading", store.dir().display()));
    let dataset = store.registry().find_dataset(source)?;
    let options = FetchOptions { cancel: cancel.flag(), ..FetchOptions::default() };
    match download(&*dataset, store.dir(), &options) {
        Err(e) if e.is::<Interrupted>() => return Err(e),
        Err(e) => bail!("{error}\n{e:#}"),
        Ok(()) => {}
    }
    store.images(source).map(drop)
}

/// Downloads the missing files of a data set.
pub fn download(dataset: &dyn Dataset, dir: &Path, options: &FetchOptions) -> Result<()> {
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
