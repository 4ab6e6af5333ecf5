//! Scores images from files with a trained detector.

mod jpeg;

use crate::model_file::ModelFile;
use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::{Device, Tensor};
use ganomaly_data::{Limits, Transform, shown};
use ganomaly_experiment::plan::finished_in;
use ganomaly_experiment::record::{WEIGHTS, checksums, is_run};
use ganomaly_experiment::registry::Registry;
use ganomaly_model::{BatchNormMode, Detector};
use image::codecs::{bmp::BmpDecoder, jpeg::JpegDecoder, png::PngDecoder};
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat};
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// A detector with the transform of its input images.
pub struct Scorer {
    detector: Box<dyn Detector>,
    transform: Transform,
    channels: usize,
    names: &'static [&'static str],
    limits: Limits,
}

impl Scorer {
    /// Loads a run's folder, its `weights.safetensors` (which contains the run's config), or a model
    /// file.
    pub fn load(model: &Path, registry: &Registry) -> Result<Self> {
        let path = if model.is_dir() { model.join(WEIGHTS) } else { model.to_path_buf() };
        if model.is_dir() && !is_run(model) {
            let runs = finished_in(model).unwrap_or_default();
            match runs.first() {
                Some(run) => bail!(
                    "{}: an experiment's folder with {} runs, not a run's; name one of them, such as {}",
                    shown(model),
                    runs.len(),
                    shown(&model.join(run))
                ),
                None => bail!("{}: not a run's folder", shown(model)),
            }
        }
        if model.is_dir() {
            checksums::read(model, WEIGHTS)?;
        }
        let (model, tensors) = ModelFile::read(&path, registry)?;
        let built = || -> Result<Self> {
            let names = registry.find_detector(&model.detector)?.names.scores;
            let detector = model.detector(&tensors, registry)?;
            let (transform, channels) = (model.transform()?, model.channels);
            Ok(Self { detector, transform, channels, names, limits: Limits::from_env()? })
        };
        built().with_context(|| shown(&path))
    }

    /// The names of the scores.
    pub fn names(&self) -> &'static [&'static str] {
        self.names
    }

    /// Scores one image file with running statistics: the scores depend only on the image.
    pub fn score(&self, path: &Path) -> Result<Vec<f64>> {
        let (pixels, shape) = read_image(path, self.channels, &self.limits)?;
        let size = self.transform.image_size;
        let mut numbers = vec![0.0; self.channels * size * size];
        self.transform.apply(&pixels, shape, &mut numbers).with_context(|| shown(path))?;
        let x = Tensor::from_vec(numbers, (1, self.channels, size, size), &Device::Cpu)?;
        let scores = self.detector.score(&x, BatchNormMode::Running)?;
        let first =
            |name: &&str| scores.of(name).first().copied().context("the detector gave no score");
        let all = self.names.iter().map(first).collect::<Result<Vec<f64>>>()?;
        ensure!(
            all.iter().all(|score| score.is_finite()),
            "{}: its score is infinite or not a number; the detector's weights are of no use",
            shown(path)
        );
        Ok(all)
    }
}

/// Reads a PNG, JPEG or BMP file as bytes `[C, H, W]` with their shape: grey for one channel, RGB
/// for three.
///
/// The format is determined by the contents, never by the name. 16 bits are rounded to 8, and
/// transparency is dropped. It refuses images with more pixels than the limit (before decoding
/// anything), animated images, and CMYK, whose colours depend on a profile. Needs memory for the
/// file and at most 32 bytes per pixel, with sides rounded up to multiples of 32.
pub fn read_image(path: &Path, channels: usize, limits: &Limits) -> Result<(Vec<u8>, [usize; 3])> {
    ensure!(matches!(channels, 1 | 3), "images of {channels} channels cannot be read from files");
    let (file, len) = limits.open(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(len)?);
    file.take(len).read_to_end(&mut bytes).with_context(|| shown(path))?;
    let what = || format!("{}: cannot read the image", shown(path));
    // A decoder's panic becomes that file's error. It leaves nothing behind: the decoder owned all
    // its data.
    catch_unwind(AssertUnwindSafe(|| decode(&bytes, channels, limits)))
        .unwrap_or_else(|_| Err(anyhow!("it is damaged in a way that its decoder does not take")))
        .with_context(what)
}

fn decode(bytes: &[u8], channels: usize, limits: &Limits) -> Result<(Vec<u8>, [usize; 3])> {
    let format = image::guess_format(bytes)
        .ok()
        .filter(ImageFormat::reading_enabled)
        .context("not a PNG, JPEG or BMP file, whatever its name says")?;
    match format {
        ImageFormat::Png => {
            let decoder = PngDecoder::with_limits(Cursor::new(bytes), memory(limits));
            let decoder = decoder.map_err(plain)?;
            ensure!(!decoder.is_apng().map_err(plain)?, "it is animated; save one image of it");
            convert(decoder, channels, limits)
        }
        ImageFormat::Jpeg => {
            jpeg::check(bytes)?;
            convert(JpegDecoder::new(Cursor::new(bytes)).map_err(plain)?, channels, limits)
        }
        ImageFormat::Bmp => {
            convert(BmpDecoder::new(Cursor::new(bytes)).map_err(plain)?, channels, limits)
        }
        other => bail!("{other:?} files are not read; convert it to PNG"),
    }
}

fn memory(limits: &Limits) -> image::Limits {
    let mut memory = image::Limits::no_limits();
    // 16 bits in four channels, doubled for the decoder's own memory.
    memory.max_alloc = Some(limits.pixels.saturating_mul(16).max(1 << 16));
    memory
}

/// A decoder's error, shortened: the decoder's messages repeat each other, and end in its
/// variables.
fn plain(error: ImageError) -> anyhow::Error {
    if let ImageError::Limits(_) = error {
        return anyhow!(
            "it takes more memory than its pixels may; GANOMALY_MAX_PIXELS raises the limit"
        );
    }
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let cause = cause.to_string();
    anyhow!("it is damaged: {}", cause.split(" while decoding ").next().unwrap_or_default())
}

fn convert(
    mut decoder: impl ImageDecoder,
    channels: usize,
    limits: &Limits,
) -> Result<(Vec<u8>, [usize; 3])> {
    let (w, h) = decoder.dimensions();
    ensure!(w > 0 && h > 0, "it is empty: {w}×{h} pixels");
    ensure!(
        u64::from(w) * u64::from(h) <= limits.pixels,
        "it has {w}×{h} pixels, more than the {} that are read; GANOMALY_MAX_PIXELS raises the limit",
        limits.pixels
    );
    decoder.set_limits(memory(limits)).map_err(plain)?;
    let image = DynamicImage::from_decoder(decoder).map_err(plain)?;
    let (w, h) = (w as usize, h as usize);
    if channels == 1 {
        return Ok((image.into_luma8().into_raw(), [1, h, w]));
    }
    let rgb = image.into_rgb8().into_raw();
    let mut planes = Vec::with_capacity(rgb.len());
    for c in 0..3 {
        planes.extend(rgb.iter().skip(c).step_by(3));
    }
    Ok((planes, [3, h, w]))
}
