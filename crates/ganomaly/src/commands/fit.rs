//! `ganomaly fit`: a folder of images in, a calibrated detector out.

use super::page::{self, Seen};
use crate::Program;
use crate::args::{check_file_writable, use_threads};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use ganomaly_data::datasets::Folder;
use ganomaly_data::{Dataset, Resize, Split, SplitKind, shown};
use ganomaly_experiment::config::{Experiment, RunConfig};
use ganomaly_experiment::numerics::NUMERICS;
use ganomaly_experiment::record::machine::commit;
use ganomaly_experiment::run_data::{DataStore, RunData};
use ganomaly_inference::calibrate::Trained;
use ganomaly_inference::heat_map::MAP_MAX;
use ganomaly_inference::model_file::{ModelFile, TrainedOn};
use ganomaly_inference::scorer::Scorer;
use ganomaly_report::html::folder::Kind;
use ganomaly_runner::checkpoint::{CheckpointInterval, Checkpoints};
use ganomaly_runner::interrupt::Cancel;
use ganomaly_runner::progress::for_people;
use ganomaly_runner::terminal::{note, out};
use ganomaly_runner::train::train;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Training steps, if the epochs are not given, and the fewest epochs: of 16,000 images seen once
/// nothing is learnt well (docs/own-images.md).
const STEPS: usize = 1000;
const EPOCHS: usize = 5;
/// Images in a training batch, if there are as many: sets of one's own are small.
const BATCH: usize = 16;
/// Settings of GANomaly for them: half the published width and a higher learning rate, which take a
/// fraction of the time (docs/own-images.md).
const GANOMALY: &str = "ngf = 32\nlr = 1e-3\n";
/// With fewer, nothing can be learnt.
const FEWEST: usize = 8;

#[derive(Debug, Args)]
pub struct FitArgs {
    /// A folder of images: normal ones, and, if there are, anomalous ones. docs/own-images.md has
    /// the layouts.
    images: PathBuf,
    /// The model file to write.
    #[arg(short, long)]
    output: PathBuf,
    /// The share of normal images that may be called anomalous, between 0 and 1.
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    false_alarms: f64,
    /// Number of normal images held out of training, for the threshold; default: a fifth, or as
    /// many as the rate of false alarms takes.
    #[arg(long, value_name = "N")]
    hold_out: Option<usize>,
    /// The detector.
    #[arg(long, default_value = "ganomaly")]
    detector: String,
    /// The score that counts: map_max (the highest error in the heat map), or one of the detector's.
    #[arg(long, default_value = MAP_MAX)]
    score: String,
    /// Side that images are resized to: 32, 64, 128, 256.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Side of the tiles that the network sees instead of whole images, for small defects in large
    /// images: --size 256 --tile 64.
    #[arg(long)]
    tile: Option<usize>,
    /// Distance of the tiles that are scored; default: half a tile.
    #[arg(long, requires = "tile")]
    stride: Option<usize>,
    /// How images that are not square become so: stretch, crop (their centred square) or pad (with
    /// black).
    #[arg(long, default_value = "stretch")]
    resize: Resize,
    /// 1: read images as grey; 3: as colour; default: as they are.
    #[arg(long)]
    channels: Option<usize>,
    /// Epochs of training; default: as many as make 1,000 steps, and at least 5.
    #[arg(long)]
    epochs: Option<usize>,
    /// Seed of the split, the weights and the order of the batches.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Replace any other setting of the detector: --set nz=64. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Write a page with the threshold, the scores and the images that deserve a look.
    #[arg(long, value_name = "HTML")]
    report: Option<PathBuf>,
    /// Fail if any file cannot be read, instead of passing it over.
    #[arg(long)]
    strict: bool,
    /// Number of threads; default: all cores. The result does not depend on it.
    #[arg(long)]
    threads: Option<usize>,
}

pub fn run(args: &FitArgs, program: &Program) -> Result<ExitCode> {
    for file in [&args.output].into_iter().chain(&args.report) {
        check_file_writable(file)?;
    }
    use_threads(args.threads)?;
    let cancel = Cancel::of_signals()?;
    let folder = Folder::new(&args.images, args.channels);
    let scan = folder.scan()?;
    for line in folder.notes(program.registry.data_dir())? {
        note(line);
    }
    if let (true, Some((path, why))) = (args.strict, scan.layout.passed_over.first()) {
        bail!("{}: {why}. Without --strict it is passed over", shown(path));
    }
    let registry = program.registry.clone().dataset(folder);
    let store = DataStore::new(registry, None);
    let config = config(args, &scan.layout.classes[0], &store)?;
    let scores = config.names.scores;
    ensure!(
        args.score == MAP_MAX || scores.contains(&args.score.as_str()),
        "--score {}: use {MAP_MAX}, {}",
        args.score,
        scores.join(", ")
    );
    let name = config.run_name()?;
    let every = CheckpointInterval { steps: 0, time: Duration::from_secs(300) };
    let unfinished = unfinished(&args.output);
    let checkpoints = Checkpoints::new(&unfinished, &name, &config, every)?;
    let progress = for_people(true, 1);
    let outcome = train(&config, &name, &store, &*progress, &cancel, &checkpoints)?;
    let (data, detector) = (&outcome.data, &*outcome.detector);
    note(format!("calibrating on {} normal images", data.validation.len()));
    let split = test_split(&scan.layout.classes, data, config.seed());
    let split = split.as_ref();
    let sees = config.network_input().side;
    let trained = Trained { detector, data, sees, split };
    let mut model = ModelFile::of_run(&config, store.registry())?;
    model.origin = "made by `ganomaly fit`".into();
    model.training = Some(TrainedOn {
        folder: format!("{} ({})", shown(&args.images), scan.layout.kind),
        images: data.split.train.len(),
        data_sha256: data.sha256(),
        config: config.to_toml()?,
        version: env!("CARGO_PKG_VERSION").into(),
        commit: commit().map(String::from),
        numerics: NUMERICS,
    });
    model.calibration = Some(trained.calibrate(&args.score, args.false_alarms)?);
    model.write(&args.output, &detector.state()?)?;
    if let Some(page) = &args.report {
        let title = args.output.file_name().unwrap_or_default();
        write_page(page, &shown(Path::new(title)), args, &store, data, split)?;
    }
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| shown(&unfinished))?;
    }
    out(&format!("{}: {}", shown(&args.output), model.explain()?))?;
    Ok(ExitCode::SUCCESS)
}

/// The images that test the detector; none without anomalous and normal images that do not train.
fn test_split(classes: &[String], data: &RunData, seed: u64) -> Option<Split> {
    let (images, normal) = (&data.images, 0);
    if classes.len() < 2 {
        return None;
    }
    let split =
        Split::new(SplitKind::OneClass, images.labels(), images.official_train(), normal, seed);
    split.map_err(|e| note(format!("it is not tested: {e}"))).ok()
}

/// The page of the test images or, if there are none, of the held-out ones.
fn write_page(
    page: &Path,
    title: &str,
    args: &FitArgs,
    store: &DataStore,
    data: &RunData,
    split: Option<&Split>,
) -> Result<()> {
    let scorer = Scorer::load(&args.output, store.registry())?;
    let held_out: Vec<(u32, bool)> = data.validation.iter().map(|&image| (image, false)).collect();
    let tested = split.map(|split| {
        split.test.iter().copied().zip(split.test_is_anomaly.iter().copied()).collect()
    });
    let mut seen = Vec::new();
    for (image, anomalous) in tested.unwrap_or(held_out) {
        let index = image as usize;
        let path = data.images.path(index).context("an image without a file")?.to_path_buf();
        let prepared = scorer.prepare(&[&path]).pop().context("no image")??;
        let scores = scorer.score(&prepared)?;
        let (score, verdict) = scorer
            .counting(&scores)
            .zip(scorer.verdict(&scores))
            .context("the model is not calibrated")?;
        let class = data.images.class_names()[usize::from(data.images.labels()[index])].clone();
        let kind = if anomalous { Kind::Anomalous } else { Kind::Normal };
        seen.push(Seen { path, class, kind, score, verdict });
    }
    page::write(page, title, &scorer, &seen)
}

/// The folder that an interrupted training resumes from, beside the model.
fn unfinished(output: &Path) -> PathBuf {
    let mut name = output.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".unfinished");
    output.with_file_name(name)
}

/// The config of the training: what was given, and what fits the number of images.
fn config(args: &FitArgs, normal: &str, store: &DataStore) -> Result<RunConfig> {
    let rate = args.false_alarms;
    ensure!(rate > 0.0 && rate < 1.0, "--false-alarms {rate}: use a number above 0 and below 1");
    let text = format!(
        "dataset = \"folder\"\nseed = {}\ndetector = {:?}\nisize = {}\nresize = \"{}\"\nalso_score = []\n\
         split = \"normal-only\"\nnormal_class = {:?}\n",
        args.seed, args.detector, args.size, args.resize, normal
    );
    let tile = args.tile.map_or(String::new(), |tile| format!("tile = {tile}\n"));
    let stride = args.stride.map_or(String::new(), |stride| format!("stride = {stride}\n"));
    let text = format!("{text}{tile}{stride}");
    let resolved = |more: &str| -> Result<RunConfig> {
        let own = if args.detector == "ganomaly" { GANOMALY } else { "" };
        let text = format!("{text}{own}{more}");
        let experiment = Experiment::parse("fit", &text, &args.set, store.registry())?;
        let [config] = experiment.runs.as_slice() else {
            bail!("--set: one value for each setting; `ganomaly sweep` tries several");
        };
        Ok(config.clone())
    };
    let there = store.prepare(&resolved("")?)?.split.train.len();
    // A threshold needs at least this many.
    let needed = (1.0 / rate).ceil() as usize - 1;
    let hold_out = args.hold_out.unwrap_or_else(|| needed.max(there / 5));
    let left = there.saturating_sub(hold_out);
    // Rounded up, to one digit that is not 0.
    let possible = 1.0 / (there / 2 + 1) as f64;
    let digits = (-possible.log10()).ceil().max(1.0) as usize;
    let unit = 10_f64.powi(digits as i32);
    let possible = format!("{:.digits$}", (possible * unit).ceil() / unit);
    ensure!(
        hold_out >= needed,
        "--hold-out {hold_out}: a false-alarm rate of {rate} takes at least {needed} normal images"
    );
    ensure!(
        left >= FEWEST && (args.hold_out.is_some() || left >= hold_out),
        "--false-alarms {rate}: its threshold takes {hold_out} normal images that do not train, and \
         there are {there} for both. Use more images, or --false-alarms {possible} or higher"
    );
    let batch = BATCH.min(left);
    let epochs = args.epochs.unwrap_or_else(|| STEPS.div_ceil(left / batch).max(EPOCHS));
    let more = format!("validation = {hold_out}\nepochs = {epochs}\nbatch_size = {batch}\n");
    resolved(&more)
}
