//! From bytes to the network's input: crop, resize, normalise.

use crate::{Error, Result};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Which normalisation a run uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Normalize {
    /// What published work on the data set uses. For MNIST it gives values in [−0.42, 2.82], of
    /// which the generator's tanh reaches only those up to 1: every bright pixel has an error that
    /// training cannot remove. It is the default because the published results were made with it.
    #[default]
    Reference,
    /// To [−1, 1], the range of tanh.
    Tanh,
}

impl fmt::Display for Normalize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reference => "reference",
            Self::Tanh => "tanh",
        })
    }
}

impl FromStr for Normalize {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "reference" => Ok(Self::Reference),
            "tanh" => Ok(Self::Tanh),
            _ => Err(format!("unknown normalisation {name:?}: use \"reference\" or \"tanh\"")),
        }
    }
}

/// How an image that is not square becomes one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Resize {
    /// Its centred square, as in the published code.
    #[default]
    Crop,
    /// All of it, each axis by its own factor.
    Stretch,
    /// All of it, both axes by one factor, centred, with black beside it.
    Pad,
}

const MODES: [(Resize, &str); 3] =
    [(Resize::Crop, "crop"), (Resize::Stretch, "stretch"), (Resize::Pad, "pad")];

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MODES.iter().find(|(mode, _)| mode == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Resize {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mode = MODES.iter().find(|(_, n)| *n == name).map(|(mode, _)| *mode);
        mode.ok_or_else(|| format!("unknown way to resize {name:?}: use {:?}", MODES.map(|m| m.1)))
    }
}

/// Mean and standard deviation of each channel, for values in [0, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    /// Subtracted.
    pub mean: Vec<f32>,
    /// Divided by; above 0.
    pub std: Vec<f32>,
}

impl Normalization {
    /// The same values for each of `channels` channels.
    pub fn uniform(channels: usize, mean: f32, std: f32) -> Self {
        Self { mean: vec![mean; channels], std: vec![std; channels] }
    }
}

/// Converts images to network input.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// Side of the result.
    pub image_size: usize,
    /// For images that are not square.
    pub resize: Resize,
    /// Applied after scaling to [0, 1].
    pub normalization: Normalization,
}

impl Transform {
    /// Rejects sizes outside 1 to 16384 and normalisations that do not fit `channels` channels.
    pub fn check(&self, channels: usize) -> Result<()> {
        let Normalization { mean, std } = &self.normalization;
        if self.image_size == 0 || self.image_size > 1 << 14 {
            return Err(Error::Invalid(format!("image size {}: use 1 to 16384", self.image_size)));
        }
        if mean.len() != channels || std.len() != channels || std.iter().any(|&s| s <= 0.0) {
            return Err(Error::Invalid(format!(
                "the normalisation {:?} does not fit {channels} channels",
                self.normalization
            )));
        }
        Ok(())
    }

    /// Writes image `[C, H, W]` to `out`, `[C, S, S]`, as `(v / 255 − mean) / std`: torchvision's
    /// `Resize`, `CenterCrop`, `ToTensor` and `Normalize`.
    pub fn apply(&self, image: &[u8], shape: [usize; 3], out: &mut [f32]) -> Result<()> {
        self.normalize(&resize(image, shape, self.image_size, self.resize)?, out);
        Ok(())
    }

    /// The same for an image that has the right size already.
    pub(crate) fn normalize(&self, resized: &[u8], out: &mut [f32]) {
        let each = self.image_size * self.image_size;
        for (c, (out, bytes)) in
            out.chunks_exact_mut(each).zip(resized.chunks_exact(each)).enumerate()
        {
            let (mean, std) = (self.normalization.mean[c], self.normalization.std[c]);
            for (out, &byte) in out.iter_mut().zip(bytes) {
                *out = (f32::from(byte) / 255.0 - mean) / std;
            }
        }
    }
}

/// Image `[C, H, W]` as `[C, size, size]`, by Pillow's antialiased bilinear filter to within one
/// grey level. An image that already has this size is returned unchanged.
pub fn resize(
    image: &[u8],
    [c, h, w]: [usize; 3],
    size: usize,
    mode: Resize,
) -> Result<Cow<'_, [u8]>> {
    if image.len() != c * h * w || image.is_empty() {
        return Err(Error::Invalid(format!(
            "{} bytes are not an image of {c}×{h}×{w}",
            image.len()
        )));
    }
    if h == size && w == size {
        return Ok(image.into());
    }
    let invalid =
        |e: &dyn fmt::Display| Error::Invalid(format!("cannot resize {h}×{w} to {size}: {e}"));
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    // The part of the image that is used, and the size that it gets.
    let short = h.min(w) as f64;
    let (left, top, part_w, part_h) = match mode {
        Resize::Crop => ((w as f64 - short) / 2.0, (h as f64 - short) / 2.0, short, short),
        Resize::Stretch | Resize::Pad => (0.0, 0.0, w as f64, h as f64),
    };
    let scaled = |side: usize| ((side * size) as f64 / h.max(w) as f64).round().max(1.0) as usize;
    let (to_w, to_h) = if mode == Resize::Pad { (scaled(w), scaled(h)) } else { (size, size) };
    let options = options.crop(left, top, part_w, part_h);
    let mut out = vec![0; c * size * size];
    let mut resizer = Resizer::new();
    for (from, to) in image.chunks_exact(h * w).zip(out.chunks_exact_mut(size * size)) {
        // Of this one pixel type: code for all of them takes minutes to compile.
        let source = TypedImageRef::<U8>::from_buffer(w as u32, h as u32, from);
        let source = source.map_err(|e| invalid(&e))?;
        let mut target = TypedImage::<U8>::new(to_w as u32, to_h as u32);
        resizer.resize_typed(&source, &mut target, &options).map_err(|e| invalid(&e))?;
        let (x, y) = ((size - to_w) / 2, (size - to_h) / 2);
        let rows = to.chunks_exact_mut(size).skip(y);
        for (row, from) in rows.zip(target.pixels().chunks_exact(to_w)) {
            row[x..x + to_w].iter_mut().zip(from).for_each(|(to, from)| *to = from.0);
        }
    }
    Ok(out.into())
}
