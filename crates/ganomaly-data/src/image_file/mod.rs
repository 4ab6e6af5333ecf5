//! Reads an image file: PNG, JPEG, BMP, TIFF or WebP.

mod jpeg;

use crate::{Error, Limits, Result};
use image::codecs::{
    bmp::BmpDecoder, jpeg::JpegDecoder, png::PngDecoder, tiff::TiffDecoder, webp::WebPDecoder,
};
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat};
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// The endings of the names of files that are read, in lower case.
pub const IMAGE_ENDINGS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"];

/// Whether a file is an image by its name, and not hidden.
pub fn is_image_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    !name.starts_with(b".") && ending.is_some_and(|e| IMAGE_ENDINGS.contains(&e.as_str()))
}

/// Reads an image file as bytes `[C, H, W]` with their shape: grey for one channel, RGB for three.
///
/// The format is determined by the contents, never by the name. The image is turned as its EXIF
/// data say. 16 bits are rounded to 8, and transparency is dropped. Of a TIFF file the first page
/// is read. It refuses images with more pixels than the limit (before decoding anything), animated
/// images, and CMYK, whose colours depend on a profile. Needs memory for the file and at most 32
/// bytes per pixel, with sides rounded up to multiples of 32.
pub fn read_image(path: &Path, channels: usize, limits: &Limits) -> Result<(Vec<u8>, [usize; 3])> {
    image_from_bytes(path, &read_file(path, limits)?, channels, limits)
}

/// As [`read_image`], from the bytes of a file; `path` is for the error alone.
pub fn image_from_bytes(
    path: &Path,
    bytes: &[u8],
    channels: usize,
    limits: &Limits,
) -> Result<(Vec<u8>, [usize; 3])> {
    if !matches!(channels, 1 | 3) {
        return Err(Error::Invalid(format!(
            "images of {channels} channels cannot be read from files"
        )));
    }
    let image = decode(bytes, limits).map_err(|e| malformed(path, &e))?;
    Ok(planes(image, channels))
}

/// A file's bytes, within the limits.
pub(crate) fn read_file(path: &Path, limits: &Limits) -> Result<Vec<u8>> {
    let (file, len) = limits.open(path)?;
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(len).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    Ok(bytes)
}

/// The error of a file that is no image that can be read.
pub(crate) fn malformed(path: &Path, problem: &str) -> Error {
    Error::malformed(path, format!("cannot read the image: {problem}"))
}

/// An image's channels one after the other, and their shape `[C, H, W]`; one channel is grey.
pub(crate) fn planes(image: DynamicImage, channels: usize) -> (Vec<u8>, [usize; 3]) {
    let (w, h) = (image.width() as usize, image.height() as usize);
    if channels == 1 {
        return (image.into_luma8().into_raw(), [1, h, w]);
    }
    let rgb = image.into_rgb8().into_raw();
    let mut planes = Vec::with_capacity(rgb.len());
    for c in 0..3 {
        planes.extend(rgb.iter().skip(c).step_by(3));
    }
    (planes, [3, h, w])
}

/// The image in a file's bytes, upright; the error says what is wrong with them.
pub(crate) fn decode(bytes: &[u8], limits: &Limits) -> Result<DynamicImage, String> {
    // A decoder's panic becomes that file's error. It leaves nothing behind: the decoder owned all
    // its data.
    catch_unwind(AssertUnwindSafe(|| decode_format(bytes, limits)))
        .unwrap_or_else(|_| Err("it is damaged in a way that its decoder does not take".into()))
}

fn decode_format(bytes: &[u8], limits: &Limits) -> Result<DynamicImage, String> {
    let format = image::guess_format(bytes).ok().filter(ImageFormat::reading_enabled);
    let source = Cursor::new(bytes);
    match format {
        Some(ImageFormat::Png) => {
            let decoder = PngDecoder::with_limits(source, memory(limits)).map_err(plain)?;
            still(decoder.is_apng().map_err(plain)?)?;
            upright(decoder, limits)
        }
        Some(ImageFormat::Jpeg) => {
            jpeg::check(bytes)?;
            upright(JpegDecoder::new(source).map_err(plain)?, limits)
        }
        Some(ImageFormat::Bmp) => upright(BmpDecoder::new(source).map_err(plain)?, limits),
        Some(ImageFormat::Tiff) => upright(TiffDecoder::new(source).map_err(plain)?, limits),
        Some(ImageFormat::WebP) => {
            let decoder = WebPDecoder::new(source).map_err(plain)?;
            still(decoder.has_animation())?;
            upright(decoder, limits)
        }
        _ => Err("not a PNG, JPEG, BMP, TIFF or WebP file, whatever its name says".into()),
    }
}

fn still(animated: bool) -> Result<(), String> {
    if animated { Err("it is animated; save one image of it".into()) } else { Ok(()) }
}

fn memory(limits: &Limits) -> image::Limits {
    let mut memory = image::Limits::no_limits();
    // 16 bits in four channels, doubled for the decoder's own memory.
    memory.max_alloc = Some(limits.pixels.saturating_mul(16).max(1 << 16));
    memory
}

/// A decoder's error, shortened: the decoder's messages repeat each other, and end in its
/// variables.
fn plain(error: ImageError) -> String {
    if let ImageError::Limits(_) = error {
        return "it takes more memory than its pixels may; GANOMALY_MAX_PIXELS raises the limit"
            .into();
    }
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let cause = cause.to_string();
    format!("it is damaged: {}", cause.split(" while decoding ").next().unwrap_or_default())
}

fn upright(mut decoder: impl ImageDecoder, limits: &Limits) -> Result<DynamicImage, String> {
    let (w, h) = decoder.dimensions();
    if w == 0 || h == 0 {
        return Err(format!("it is empty: {w}×{h} pixels"));
    }
    if u64::from(w) * u64::from(h) > limits.pixels {
        return Err(format!(
            "it has {w}×{h} pixels, more than the {} that are read; GANOMALY_MAX_PIXELS raises the limit",
            limits.pixels
        ));
    }
    decoder.set_limits(memory(limits)).map_err(plain)?;
    let orientation = decoder.orientation().map_err(plain)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(plain)?;
    if matches!(image, DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_)) {
        return Err("its values are floating-point numbers; convert it to PNG".into());
    }
    image.apply_orientation(orientation);
    Ok(image)
}
