//! `ganomaly data fetch|verify|list|export`.

use crate::args::code;
use crate::{Program, fetch};
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use ganomaly_data::{Dataset, FetchOptions, LabeledImages, Verification, shown};
use ganomaly_experiment::config::class_index;
use ganomaly_experiment::files::PartialFolder;
use ganomaly_experiment::registry::Source;
use ganomaly_runner::interrupt::Cancel;
use ganomaly_runner::terminal::out;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use std::fs;
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
    /// Write a data set's images as PNG files: the folder `abnormal` has one class, `normal` the
    /// others.
    Export {
        /// The data set.
        dataset: String,
        /// The folder to write to; it must not exist.
        folder: PathBuf,
        /// The class that is anomalous, by name or number.
        #[arg(long)]
        abnormal_class: String,
        /// At most this many images of each folder, the first ones.
        #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
        limit: usize,
    },
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
        DataCommand::Export { dataset, folder, abnormal_class, limit } => {
            let store = program.store(args.data_dir.as_deref());
            let source = Source::of(dataset);
            fetch::if_missing(&store, &source, &Cancel::of_signals()?)?;
            export(&*store.images(&source)?, abnormal_class, folder, *limit)
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
            Ok(Verification::Own) => "your own images, or a copy of your own".to_string(),
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

fn export(images: &LabeledImages, abnormal: &str, folder: &Path, limit: usize) -> Result<ExitCode> {
    let abnormal = class_index(images.class_names(), abnormal)?;
    let [channels, h, w] = images.shape();
    ensure!(matches!(channels, 1 | 3), "images of {channels} channels are no PNG files");
    ensure!(!folder.exists(), "{}: it is there already", shown(folder));
    // Seen whole or not at all.
    let partial = PartialFolder::create(folder)?;
    let parts = ["normal", "abnormal"].map(|part| partial.path().join(part));
    for part in &parts {
        fs::create_dir(part).with_context(|| shown(part))?;
    }
    let mut written = [0; 2];
    for (index, &label) in images.labels().iter().enumerate() {
        let is_abnormal = usize::from(label) == abnormal;
        let count = &mut written[usize::from(is_abnormal)];
        if *count == limit {
            continue;
        }
        *count += 1;
        let planes = images.image(index).context("the data set's images are files already")?;
        let each = h * w;
        let (bytes, color): (Vec<u8>, _) = match channels {
            1 => (planes.to_vec(), ExtendedColorType::L8),
            _ => {
                let pixel = |at: usize| [planes[at], planes[each + at], planes[2 * each + at]];
                ((0..each).flat_map(pixel).collect(), ExtendedColorType::Rgb8)
            }
        };
        let mut file = Vec::new();
        PngEncoder::new(&mut file).write_image(&bytes, w as u32, h as u32, color)?;
        let class = &images.class_names()[usize::from(label)];
        let path = parts[usize::from(is_abnormal)].join(format!("{index:05}-{class}.png"));
        fs::write(&path, file).with_context(|| shown(&path))?;
    }
    partial.finish(folder)?;
    let [normal, anomalous] = written;
    out(&format!("{}: {normal} normal and {anomalous} abnormal images\n", shown(folder)))?;
    Ok(ExitCode::SUCCESS)
}
