//! From bytes to the network's input: crop, resize, normalise.

use crate::{Error, Result};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
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
        let size = self.image_size;
        let resized = resize(image, shape, size)?;
        for (c, (out, bytes)) in
            out.chunks_exact_mut(size * size).zip(resized.chunks_exact(size * size)).enumerate()
        {
            let (mean, std) = (self.normalization.mean[c], self.normalization.std[c]);
            for (out, &byte) in out.iter_mut().zip(bytes) {
                *out = (f32::from(byte) / 255.0 - mean) / std;
            }
        }
        Ok(())
    }
}

/// The centred square of image `[C, H, W]`, resized to `[C, size, size]` with the same result as
/// Pillow's antialiased bilinear filter to within one grey level. An image that already has this
/// size is returned unchanged.
pub fn resize(
    image: &[u8],
    [c, h, w]: [usize; 3],
    size: usize,
) -> Result<std::borrow::Cow<'_, [u8]>> {
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
    let side = h.min(w) as f64;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop((w as f64 - side) / 2.0, (h as f64 - side) / 2.0, side, side);
    let mut out = vec![0; c * size * size];
    let mut resizer = Resizer::new();
    for (from, to) in image.chunks_exact(h * w).zip(out.chunks_exact_mut(size * size)) {
        // Of this one pixel type: code for all of them takes minutes to compile.
        let source = TypedImageRef::<U8>::from_buffer(w as u32, h as u32, from);
        let source = source.map_err(|e| invalid(&e))?;
        let target = TypedImage::<U8>::from_buffer(size as u32, size as u32, to);
        let mut target = target.map_err(|e| invalid(&e))?;
        resizer.resize_typed(&source, &mut target, &options).map_err(|e| invalid(&e))?;
    }
    Ok(out.into())
}
