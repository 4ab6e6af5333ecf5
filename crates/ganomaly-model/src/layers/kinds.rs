//! Describes a chain's layers, for code that runs it elsewhere (the GPU).

use super::{Op, Sequential};
use crate::Result;
use candle_core::Tensor;
use ganomaly_kernels::{Activation, Conv2d};
use std::sync::atomic::Ordering;

/// The kind and sizes of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LayerKind {
    /// A convolution with weights `[K, K, input, output]`; if transposed, it maps `output` channels
    /// to `input`.
    Conv {
        /// Kernel, stride and padding.
        conv: Conv2d,
        /// Whether it is transposed.
        transposed: bool,
        /// The weight's third axis.
        input: usize,
        /// The weight's fourth axis.
        output: usize,
    },
    /// Batch normalisation and the activation after it; scale and shift are `[channels]` each.
    BatchNorm {
        /// Channels.
        channels: usize,
        /// The activation that follows.
        then: Activation,
    },
    /// An activation alone.
    Activation(Activation),
}

impl Sequential {
    /// Each layer's kind, first layer first.
    pub fn kinds(&self) -> Result<Vec<LayerKind>> {
        let kind = |op: &Op| {
            Ok(match op {
                Op::Conv { conv, transposed, weight } => {
                    let (_, _, input, output) = weight.dims4()?;
                    LayerKind::Conv { conv: *conv, transposed: *transposed, input, output }
                }
                Op::BatchNorm { norm, then } => {
                    LayerKind::BatchNorm { channels: norm.weight.elem_count(), then: *then }
                }
                Op::Activation(f) => LayerKind::Activation(*f),
            })
        };
        self.layers.iter().map(|layer| kind(&layer.op)).collect()
    }

    /// Adds batches that were tracked elsewhere to the counters.
    pub fn count_batches(&self, batches: i64) {
        for layer in &self.layers {
            if let Op::BatchNorm { norm, .. } = &layer.op {
                norm.batches_tracked.fetch_add(batches, Ordering::Relaxed);
            }
        }
    }

    /// Each batch normalisation's running mean and variance, `[C]`, first layer first; they share
    /// storage with the layers.
    pub fn running_statistics(&self) -> Vec<Tensor> {
        let statistics = |op: &Op| match op {
            Op::BatchNorm { norm, .. } => vec![norm.running_mean.clone(), norm.running_var.clone()],
            Op::Conv { .. } | Op::Activation(_) => Vec::new(),
        };
        self.layers.iter().flat_map(|layer| statistics(&layer.op)).collect()
    }
}
