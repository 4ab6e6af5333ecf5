//! Decides the side of a kink as another run did, where float32 cannot tell.
//!
//! A rectifier has no derivative at 0. If its input is within rounding error of 0, two correct
//! float32 programs may take different sides. Adam's first steps have the size of the learning rate
//! whatever the gradient, so the difference soon becomes visible. A comparison meant to detect
//! wrong programs therefore lets the run under test take the sides of its reference for such inputs
//! only, and counts them.

use super::{Op, Saved, Sequential, Tape, numbers};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use ganomaly_kernels::Activation;
use ganomaly_kernels::batch_norm::{BatchStats, scale_and_shift};

/// The side of inputs closer to a kink than this, in units of about one standard deviation, is
/// decided by rounding.
const TOLERANCE: f64 = 1e-5;

/// How many sides were taken from the other run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Kinks {
    /// Values whose side was changed.
    pub moved: usize,
    /// The largest distance of one of them from its kink.
    pub farthest: f64,
    /// Values examined.
    pub of: usize,
}

impl Kinks {
    /// Adds up two counts.
    pub fn and(self, other: Self) -> Self {
        Self {
            moved: self.moved + other.moved,
            farthest: self.farthest.max(other.farthest),
            of: self.of + other.of,
        }
    }
}

impl Sequential {
    /// Makes `tape` take the sides of `other_tape`, a pass of the same chain over the same input in
    /// another precision.
    pub fn take_sides(&self, tape: &mut Tape, other: &Self, other_tape: &Tape) -> Result<Kinks> {
        let mut kinks = Kinks::default();
        let layers = self.layers.iter().zip(&other.layers);
        for ((layer, other), (saved, reference)) in layers.zip(tape.0.iter_mut().zip(&other_tape.0))
        {
            kinks = kinks.and(match (&layer.op, &other.op, saved, reference) {
                (
                    Op::BatchNorm { norm, then: Activation::LeakyRelu(_) },
                    Op::BatchNorm { norm: other, .. },
                    Saved::BatchNorm { x, stats },
                    Saved::BatchNorm { x: reference, stats: reference_stats },
                ) => {
                    let own = Affine::new(&norm.weight, &norm.bias, stats)?;
                    let others = Affine::new(&other.weight, &other.bias, reference_stats)?;
                    side_with(
                        x,
                        reference,
                        |c, v| own.at(c, v),
                        |c, v| others.at(c, v),
                        |c, y| own.inverse(c, y),
                    )?
                }
                (
                    Op::Activation(Activation::LeakyRelu(_)),
                    Op::Activation(_),
                    Saved::Activation { y },
                    Saved::Activation { y: reference },
                ) => side_with(y, reference, |_, v| v, |_, v| v, |_, v| v)?,
                _ => Kinks::default(),
            });
        }
        Ok(kinks)
    }
}

/// Moves each value of `x` to the reference's side if its distance from the kink is tiny and
/// differs in sign from the reference's. `distance` and `reference_distance` map a channel and a
/// value to the signed distance; `inverse` maps back.
pub(crate) fn side_with(
    x: &mut Tensor,
    reference: &Tensor,
    distance: impl Fn(usize, f64) -> f64,
    reference_distance: impl Fn(usize, f64) -> f64,
    inverse: impl Fn(usize, f64) -> f64,
) -> Result<Kinks> {
    if x.dims() != reference.dims() {
        return Err(Error::Weights("the two runs have different shapes".into()));
    }
    let channels = x.dims().last().copied().unwrap_or(1).max(1);
    let mut values = flat(x)?;
    let mut kinks = Kinks { of: values.len(), ..Kinks::default() };
    for (i, (value, reference)) in values.iter_mut().zip(flat(reference)?).enumerate() {
        let channel = i % channels;
        let own = distance(channel, *value);
        let wanted = reference_distance(channel, reference);
        if (own > 0.0) != (wanted > 0.0) && own.abs().max(wanted.abs()) < TOLERANCE {
            // Far enough for float32 to resolve the side, too near to change anything else.
            let step = TOLERANCE / 10.0;
            *value = inverse(channel, if wanted > 0.0 { step } else { -step });
            kinks.moved += 1;
            kinks.farthest = kinks.farthest.max(own.abs().max(wanted.abs()));
        }
    }
    if kinks.moved > 0 {
        *x = Tensor::from_vec(values, x.shape(), &Device::Cpu)?.to_dtype(x.dtype())?;
    }
    Ok(kinks)
}

fn flat(t: &Tensor) -> Result<Vec<f64>> {
    Ok(t.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

/// A batch normalisation as one scale and shift per channel.
struct Affine {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Affine {
    fn new(weight: &Tensor, bias: &Tensor, stats: &BatchStats) -> Result<Self> {
        let (weight, bias) = (numbers(weight)?, numbers(bias)?);
        let (scale, shift) = scale_and_shift(&stats.mean, &stats.variance, &weight, &bias);
        Ok(Self { scale, shift })
    }

    fn at(&self, channel: usize, x: f64) -> f64 {
        x * self.scale[channel] + self.shift[channel]
    }

    fn inverse(&self, channel: usize, y: f64) -> f64 {
        (y - self.shift[channel]) / self.scale[channel]
    }
}
