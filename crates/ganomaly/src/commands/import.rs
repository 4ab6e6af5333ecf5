//! `ganomaly import`.

use anyhow::{Context, Result};
use clap::Args;
use ganomaly_data::datasets::Mnist;
use ganomaly_data::{Dataset, Normalization, Normalize, Resize, Transform, shown};
use ganomaly_experiment::sha256::sha256_of;
use ganomaly_inference::model_file::ModelFile;
use ganomaly_model::Settings;
use ganomaly_model::published::{Published, PublishedSettings, read_published};
use ganomaly_runner::terminal::{note, out};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use toml::Table;

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The generator's weights, netG.pth, as any version of PyTorch saved them.
    net_g: PathBuf,
    /// The discriminator's, netD.pth. GANomaly's scores do not need it.
    net_d: Option<PathBuf>,
    /// The model file to write.
    #[arg(short, long)]
    output: PathBuf,
    /// How the pixels were normalised in training: `reference`, as the published code does (grey:
    /// MNIST's mean and standard deviation; colour: to [-1, 1]), or `tanh` (to [-1, 1]).
    #[arg(long, default_value = "reference")]
    normalize: Normalize,
}

pub fn run(args: &ImportArgs) -> Result<ExitCode> {
    let model = read_published(&args.net_g, args.net_d.as_deref())?;
    let Published { settings, input, state, drawn_discriminator } = &model;
    let (detector, settings) = match settings {
        PublishedSettings::Ganomaly(settings) => named(settings)?,
        PublishedSettings::SkipGanomaly(settings) => named(settings)?,
    };
    let normalization = match (args.normalize, input.channels) {
        (Normalize::Reference, 1) => Mnist::digits().reference_normalization(1),
        (_, channels) => Normalization::uniform(channels, 0.5, 0.5),
    };
    let source = |path: &Path| -> Result<String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(format!("{name} (SHA-256 {})", sha256_of(path)?))
    };
    let sources = std::iter::once(&args.net_g).chain(&args.net_d);
    let sources = sources.map(|path| source(path)).collect::<Result<Vec<_>>>()?;
    let origin = format!("imported from {}", sources.join(" and "));
    let transform = Transform { image_size: input.side, resize: Resize::Crop, normalization };
    let file = ModelFile::new(origin, detector, *input, transform, 0, settings);
    file.write(&args.output, state)?;
    if *drawn_discriminator {
        note("no netD.pth was given: the discriminator's weights are random. No score uses them.");
    }
    let [mean, std] = [&file.mean, &file.std].map(|numbers| numbers[0]);
    let numbers: usize = state.iter().map(|(_, tensor)| tensor.elem_count()).sum();
    out(&format!(
        "{}: {detector} for images of {}×{}×{}, {numbers} numbers; pixels in [0, 1] are \
         normalised as (v - {mean}) / {std}\n",
        shown(&args.output),
        input.channels,
        input.side,
        input.side,
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn named<S: Settings>(settings: &S) -> Result<(&'static str, Table)> {
    Ok((S::DETECTOR, Table::try_from(settings).context("the settings cannot be written as TOML")?))
}
