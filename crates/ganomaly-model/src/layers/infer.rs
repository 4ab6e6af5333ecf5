//! The forward pass of scoring.

use super::{Op, Sequential, convolve, numbers};
use crate::{BatchNormMode, Result};
use candle_core::Tensor;
use ganomaly_kernels::batch_norm::{self, BatchStats};
use ganomaly_kernels::{Activation, Conv2d, Fold};

impl Sequential {
    /// The forward pass of scoring: nothing is kept or tracked. Where the statistics are known beforehand, batch normalisation is folded
    /// into the convolution before it, and so is a rectifier.
    pub fn infer(&self, x: &Tensor, mode: BatchNormMode) -> Result<Tensor> {
        let mut x = x.clone();
        let mut layers = self.layers.iter().map(|layer| &layer.op).peekable();
        while let Some(op) = layers.next() {
            x = match (op, mode) {
                (Op::Conv { conv, transposed, weight }, _) => {
                    let channels = weight.dim(if *transposed { 2 } else { 3 })?;
                    match layers.peek().map(|next| next.fold(mode, channels)).transpose()?.flatten()
                    {
                        Some((scale, shift, activation)) => {
                            layers.next();
                            let fold = Fold { scale: &scale, shift: &shift, activation };
                            convolve_folded(*conv, *transposed, &x, weight, &fold)?
                        }
                        None => convolve(*conv, *transposed, &x, weight)?,
                    }
                }
                (Op::BatchNorm { norm, then }, BatchNormMode::Batch) => {
                    let stats = BatchStats::of(&x)?;
                    norm.affine(&x, &stats.mean, &stats.variance, *then)?
                }
                (Op::BatchNorm { norm, then }, BatchNormMode::Running) => {
                    let (mean, var) = (numbers(&norm.running_mean)?, numbers(&norm.running_var)?);
                    norm.affine(&x, &mean, &var, *then)?
                }
                (Op::Activation(f), _) => f.forward(&x)?,
            };
        }
        Ok(x)
    }
}

impl Op {
    /// Scale, shift and activation that this layer amounts to while scoring, where a convolution can take them in.
    fn fold(&self, mode: BatchNormMode, channels: usize) -> Result<Option<Folded>> {
        let linear = |f: Activation| matches!(f, Activation::Identity | Activation::LeakyRelu(_));
        Ok(match (self, mode) {
            (Self::BatchNorm { norm, then }, BatchNormMode::Running) if linear(*then) => {
                let (mean, var) = (numbers(&norm.running_mean)?, numbers(&norm.running_var)?);
                let (weight, bias) = (numbers(&norm.weight)?, numbers(&norm.bias)?);
                let (scale, shift) = batch_norm::scale_and_shift(&mean, &var, &weight, &bias);
                Some((scale, shift, *then))
            }
            (Self::Activation(f), _) if linear(*f) => {
                Some((vec![1.0; channels], vec![0.0; channels], *f))
            }
            _ => None,
        })
    }
}

/// Scale, shift and activation.
type Folded = (Vec<f64>, Vec<f64>, Activation);

fn convolve_folded(
    conv: Conv2d,
    transposed: bool,
    x: &Tensor,
    weight: &Tensor,
    fold: &Fold<'_>,
) -> Result<Tensor> {
    if !transposed {
        return Ok(conv.forward_folded(x, weight, fold)?);
    }
    let size = (conv.transposed_size(x.dim(1)?)?, conv.transposed_size(x.dim(2)?)?);
    Ok(conv.transposed_folded(x, weight, size, fold)?)
}
