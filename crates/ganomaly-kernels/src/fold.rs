//! Folds what follows a convolution into it.

use crate::activation::Activation;
use crate::rows::{AffineInPlace, Rows, convert};
use crate::simd;
use crate::storage::Real;
use candle_core::{Result, bail};

/// Batch normalisation by given statistics and the activation after it, for folding into a
/// convolution.
#[derive(Clone, Copy, Debug)]
pub struct Fold<'a> {
    /// `[C]`, see [`batch_norm::scale_and_shift`](crate::batch_norm::scale_and_shift).
    pub scale: &'a [f64],
    /// `[C]`.
    pub shift: &'a [f64],
    /// A piecewise linear activation.
    pub activation: Activation,
}

/// A [`Fold`] in the tensor's element type.
pub(crate) struct Channels<T> {
    slope: T,
    scale: Vec<T>,
    shift: Vec<T>,
}

impl Fold<'_> {
    pub(crate) fn convert<T: Real>(&self, channels: usize) -> Result<Channels<T>> {
        let Some(slope) = self.activation.negative_slope() else {
            bail!("{:?} cannot be folded into a convolution", self.activation);
        };
        if self.scale.len() != channels || self.shift.len() != channels {
            let (scales, shifts) = (self.scale.len(), self.shift.len());
            bail!("{scales} scales and {shifts} shifts for {channels} channels");
        }
        let (scale, shift) = (convert(self.scale), convert(self.shift));
        Ok(Channels { slope: T::from_f64(slope), scale, shift })
    }
}

impl<T: Real> Channels<T> {
    pub fn rows(&self) -> Rows<'_, T> {
        let Self { slope, scale, shift } = self;
        Rows { channels: scale.len(), slope: *slope, scale, shift }
    }
}

/// Applies a fold to part of a convolution's output.
pub(crate) fn apply<T: Real>(fold: Option<Rows<'_, T>>, y: &mut [T]) {
    if let Some(rows) = fold {
        simd::run(AffineInPlace { rows, y });
    }
}
