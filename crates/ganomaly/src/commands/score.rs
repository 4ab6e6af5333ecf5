//! `ganomaly score`.

use super::page::{self, Seen};
use crate::Program;
use crate::args::check_file_writable;
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use ganomaly_data::{is_image_name, printable, shown};
use ganomaly_inference::heat_map::PixelError;
use ganomaly_inference::images::Prepared;
use ganomaly_inference::scorer::{Scorer, Verdict};
use ganomaly_report::html::folder::Kind;
use ganomaly_runner::interrupt::Cancel;
use ganomaly_runner::progress::shows_bars;
use ganomaly_runner::terminal::{data, say};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, IsTerminal, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// Images that are read at once.
const AT_ONCE: usize = 32;
/// How often a watched folder is looked at. A file that did not change from one look to the next
/// has arrived whole.
const LOOK: Duration = Duration::from_millis(500);

/// Exit codes, beside 0: all images are normal.
const SOME_ANOMALOUS: u8 = 1;
const SOME_UNREADABLE: u8 = 2;

#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// A model file (`fit` or `import` makes one), a run's folder, or its weights.safetensors.
    model: PathBuf,
    /// Image files (PNG, JPEG, BMP, TIFF, WebP), folders of them, or - for a list of paths on
    /// standard input, one a line.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// Write each image with its heat map over it into this folder, as PNG.
    #[arg(long, value_name = "DIR")]
    heat_maps: Option<PathBuf>,
    /// Show the squared error in heat maps, in which small errors fade.
    #[arg(long, requires = "heat_maps")]
    squared: bool,
    /// Call an image anomalous above this score, instead of the model's own threshold.
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    threshold: Option<f64>,
    /// Write a page with the scores, the threshold and the most anomalous images.
    #[arg(long, value_name = "HTML")]
    report: Option<PathBuf>,
    /// Keep scoring what arrives in the folders, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Comma-separated values, with a heading.
    Csv,
    /// One JSON object a line.
    Json,
    /// Columns for people.
    Table,
}

pub fn run(args: &ScoreArgs, program: &Program) -> Result<ExitCode> {
    let mut scorer = Scorer::load(&args.model, &program.registry)?;
    if let Some(threshold) = args.threshold {
        scorer.set_threshold(threshold)?;
    }
    if let Some(folder) = &args.heat_maps {
        fs::create_dir_all(folder).with_context(|| shown(folder))?;
    }
    if let Some(page) = &args.report {
        check_file_writable(page)?;
        ensure!(scorer.threshold().is_some(), "--report: this model is not calibrated; see `fit`");
    }
    let mut images = Vec::new();
    for path in &args.images {
        if path.as_os_str() == "-" || !path.is_dir() {
            images.push(path.clone());
        } else if !args.watch {
            images.extend(images_in(path)?);
        }
    }
    let known = images.iter().all(|path| path.as_os_str() != "-") && !args.watch;
    let bar = if known && shows_bars() && !stdout().is_terminal() {
        let style = "{bar:24} {pos}/{len} images, {eta} left";
        let style = ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_bar());
        ProgressBar::new(images.len() as u64).with_style(style)
    } else {
        ProgressBar::hidden()
    };
    let mut work = Work {
        args,
        scorer,
        bar,
        written: HashMap::new(),
        seen: Vec::new(),
        anomalous: false,
        failed: false,
    };
    work.heading()?;
    let cancel = if args.watch { Cancel::of_signals()? } else { Cancel::default() };
    for chunk in images.chunk_by(|a, b| a.as_os_str() != "-" && b.as_os_str() != "-") {
        if chunk[0].as_os_str() != "-" {
            work.score(chunk)?;
            continue;
        }
        for line in stdin().lock().lines() {
            work.score(&[PathBuf::from(line.context("standard input")?)])?;
        }
    }
    if args.watch {
        work.watch(&cancel)?;
    }
    work.bar.finish_and_clear();
    if let Some(page) = &args.report {
        page::write(page, "Scored images", &work.scorer, &work.seen)?;
    }
    Ok(match (work.failed, work.anomalous) {
        (true, _) => ExitCode::from(SOME_UNREADABLE),
        (_, true) => ExitCode::from(SOME_ANOMALOUS),
        _ => ExitCode::SUCCESS,
    })
}

struct Work<'a> {
    args: &'a ScoreArgs,
    scorer: Scorer,
    bar: ProgressBar,
    /// What the page is made of.
    seen: Vec<Seen>,
    /// How many heat maps have each name.
    written: HashMap<PathBuf, usize>,
    anomalous: bool,
    failed: bool,
}

impl Work<'_> {
    /// The columns beside the path.
    fn columns(&self) -> Vec<&str> {
        let calibrated = self.scorer.model().calibration.is_some();
        let verdict: &[&str] = if calibrated { &["p_value", "verdict"] } else { &[] };
        [self.scorer.names(), verdict].concat()
    }

    fn heading(&self) -> Result<()> {
        let columns = self.columns();
        match self.args.format {
            Format::Csv => csv_row(&[&["picture"][..], &columns].concat()),
            Format::Json => Ok(()),
            Format::Table => {
                let wide = columns.iter().map(|name| format!("{name:>12}"));
                data(&format!("{}  picture\n", wide.collect::<String>()))
            }
        }
    }

    fn score(&mut self, paths: &[PathBuf]) -> Result<()> {
        for chunk in paths.chunks(AT_ONCE) {
            let images = self.scorer.prepare(chunk);
            for (path, image) in chunk.iter().zip(images) {
                if let Err(e) = image.and_then(|image| self.row(path, &image)) {
                    self.failed = true;
                    let e = format!("{e:#}");
                    let named = e.starts_with(&shown(path));
                    let line = match named {
                        true => format!("error: {e}"),
                        false => format!("error: {}: {e}", shown(path)),
                    };
                    match self.bar.is_hidden() {
                        true => say(line),
                        false => self.bar.println(printable(&line)),
                    }
                }
                self.bar.inc(1);
            }
        }
        Ok(())
    }

    fn row(&mut self, path: &Path, image: &Prepared) -> Result<()> {
        let scores = self.scorer.score(image)?;
        let verdict = self.scorer.verdict(&scores);
        self.anomalous |= verdict.is_some_and(|v| v.anomalous);
        if let (Some(verdict), Some(score), Some(_)) =
            (verdict, self.scorer.counting(&scores), &self.args.report)
        {
            let (path, class) = (path.to_path_buf(), String::new());
            self.seen.push(Seen { path, class, kind: Kind::Unknown, score, verdict });
        }
        // Bytes that are not text are escaped, so that the rows are text.
        let name = path.to_str().map_or_else(|| shown(path), str::to_string);
        let word = |v: Verdict| if v.anomalous { "anomalous" } else { "normal" };
        match self.args.format {
            Format::Csv => {
                let mut cells = vec![name];
                cells.extend(scores.iter().map(ToString::to_string));
                cells.extend(
                    verdict.into_iter().flat_map(|v| [v.p_value.to_string(), word(v).into()]),
                );
                csv_row(&cells)?;
            }
            Format::Json => {
                let mut object = serde_json::Map::from_iter([("picture".to_string(), name.into())]);
                for (column, score) in self.scorer.names().iter().zip(&scores) {
                    object.insert((*column).into(), (*score).into());
                }
                if let Some(v) = verdict {
                    object.insert("p_value".into(), v.p_value.into());
                    object.insert("verdict".into(), word(v).into());
                }
                data(&format!("{}\n", serde_json::Value::Object(object)))?;
            }
            Format::Table => {
                let scores = scores.iter().map(|score| format!("{score:>12.5e}"));
                let verdict = verdict.map(|v| format!("{:>12.4}{:>12}", v.p_value, word(v)));
                let cells = scores.chain(verdict).collect::<String>();
                data(&format!("{cells}  {}\n", shown(path)))?;
            }
        }
        self.write_heat_map(path, image)
    }

    /// Images of one name in several folders get numbers.
    fn write_heat_map(&mut self, path: &Path, image: &Prepared) -> Result<()> {
        let Some(folder) = &self.args.heat_maps else { return Ok(()) };
        let stem = PathBuf::from(path.file_stem().unwrap_or_default());
        let count = self.written.entry(stem.clone()).or_default();
        *count += 1;
        let mut name = stem.into_os_string();
        if *count > 1 {
            name.push(format!("-{count}"));
        }
        name.push(".png");
        let to = folder.join(name);
        let squared = self.args.squared;
        let error = if squared { PixelError::Squared } else { PixelError::Absolute };
        self.scorer.heat_map(image, error)?.save(&to).with_context(|| shown(&to))
    }

    /// Scores what is in the folders, and what arrives, once it has arrived whole.
    fn watch(&mut self, cancel: &Cancel) -> Result<()> {
        type State = (u64, Option<SystemTime>);
        let mut seen: HashMap<PathBuf, (State, bool)> = HashMap::new();
        while !cancel.is_set() {
            let mut ready = Vec::new();
            for folder in self.args.images.iter().filter(|path| path.is_dir()) {
                for path in images_in(folder)? {
                    // A file that is gone again is of no interest.
                    let Ok(metadata) = path.metadata() else { continue };
                    let state = (metadata.len(), metadata.modified().ok());
                    match seen.get_mut(&path) {
                        Some((before, done)) if *before == state => {
                            if !std::mem::replace(done, true) {
                                ready.push(path);
                            }
                        }
                        _ => drop(seen.insert(path, (state, false))),
                    }
                }
            }
            self.score(&ready)?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// The image files in a folder and those below it, in the order of their names. Hidden files and
/// links to folders are left out.
fn images_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut entries = listed.with_context(|| shown(folder))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if hidden {
            continue;
        }
        if entry.file_type().with_context(|| shown(&path))?.is_dir() {
            all.extend(images_in(&path)?);
        } else if is_image_name(&path) {
            all.push(path);
        }
    }
    Ok(all)
}

fn csv_row<C: AsRef<[u8]>>(cells: &[C]) -> Result<()> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(cells)?;
    data(&String::from_utf8(csv.into_inner()?)?)
}
