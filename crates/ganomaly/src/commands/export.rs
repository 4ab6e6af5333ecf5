//! `ganomaly export`.

use crate::Program;
use anyhow::{Context, Result, ensure};
use clap::Args;
use ganomaly_data::shown;
use ganomaly_experiment::files::write_whole;
use ganomaly_inference::onnx::Export;
use ganomaly_inference::scorer::Scorer;
use ganomaly_runner::terminal::out;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A model file (`fit` or `import` makes one), a run's folder, or its weights.safetensors.
    model: PathBuf,
    /// The ONNX file to write.
    #[arg(short, long)]
    output: PathBuf,
    /// The operator set, 13 to 17.
    #[arg(long, default_value_t = 17)]
    opset: i64,
    /// Height and width of the images that it shall take, as in 480x640; default: the network's.
    #[arg(long, value_name = "HxW", value_parser = size)]
    image_size: Option<[usize; 2]>,
}

/// Maximum side of an image.
const LARGEST: usize = 1 << 14;

fn size(text: &str) -> Result<[usize; 2]> {
    let sides = text.split_once(['x', '×']).context("expected HEIGHTxWIDTH, as in 480x640")?;
    let side = |text: &str| text.parse().with_context(|| format!("{text:?} is not a number"));
    let sides = [side(sides.0)?, side(sides.1)?];
    ensure!(sides.iter().all(|side| (1..=LARGEST).contains(side)), "use sides of 1 to {LARGEST}");
    Ok(sides)
}

pub fn run(args: &ExportArgs, program: &Program) -> Result<ExitCode> {
    let scorer = Scorer::load(&args.model, &program.registry)?;
    let own = [scorer.model().isize; 2];
    let export = Export { size: args.image_size.unwrap_or(own), opset: args.opset };
    let bytes = scorer.export(export).with_context(|| shown(&args.model))?;
    let (size, [h, w]) = (bytes.len(), export.size);
    write_whole(&args.output, bytes)?;
    out(&format!(
        "{}: ONNX, operator set {}, {:.1} MB; takes images of {h}×{w}\n",
        shown(&args.output),
        export.opset,
        size as f64 / 1e6
    ))?;
    Ok(ExitCode::SUCCESS)
}
