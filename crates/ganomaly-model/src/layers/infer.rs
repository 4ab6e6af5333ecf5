//! The forward pass of scoring.

use super::{Op, Sequential, convolve};
use crate::{BatchNormMode, Result};
use candle_core::Tensor;
use ganomaly_kernels::batch_norm::{self, BatchStats};
use ganomaly_kernels::{Activation, Fold};

impl Sequential {
    /// The forward pass of scoring: nothing is saved or tracked. If the statistics are known in
    /// advance, batch normalisation is folded into the convolution before it, as is a rectifier.
    pub fn infer(&self, x: &Tensor, mode: BatchNormMode) -> Result<Tensor> {
        let mut x = x.clone();
        let mut layers = self.layers.iter().map(|layer| &layer.op).peekable();
        while let Some(op) = layers.next() {
            x = match (op, mode) {
                (Op::Conv { conv, transposed, weight }, _) => {
                    let channels = weight.dim(if *transposed { 2 } else { 3 })?;
                    let folded =
                        layers.peek().map_or(Ok(None), |next| next.fold(mode, channels))?;
                    if folded.is_some() {
                        layers.next();
                    }
                    let fold = folded.as_ref().map(|(scale, shift, activation)| Fold {
                        scale,
                        shift,
                        activation: *activation,
                    });
                    convolve(*conv, *transposed, &x, weight, fold.as_ref())?
                }
                (Op::BatchNorm { norm, then }, BatchNormMode::Batch) => {
                    norm.forward(&x, &BatchStats::of(&x)?, *then)?
                }
                (Op::BatchNorm { norm, then }, BatchNormMode::Running) => {
                    let (scale, shift) = norm.running()?;
                    batch_norm::affine(&x, &scale, &shift, *then)?
                }
                (Op::Activation(f), _) => f.forward(&x)?,
            };
        }
        Ok(x)
    }
}

impl Op {
    /// This layer as scale, shift and activation during scoring, if a convolution can absorb them.
    fn fold(&self, mode: BatchNormMode, channels: usize) -> Result<Option<Folded>> {
        let linear = |f: &Activation| f.negative_slope().is_some();
        Ok(match (self, mode) {
            (Self::BatchNorm { norm, then }, BatchNormMode::Running) if linear(then) => {
                let (scale, shift) = norm.running()?;
                Some((scale, shift, *then))
            }
            (Self::Activation(f), _) if linear(f) => {
                Some((vec![1.0; channels], vec![0.0; channels], *f))
            }
            _ => None,
        })
    }
}

/// Scale, shift and activation.
type Folded = (Vec<f64>, Vec<f64>, Activation);
