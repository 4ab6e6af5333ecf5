//! A single layer, for tests against an oracle.

use super::chain::Chain;
use super::tensors::{Activations, Arena, Extent, Target};
use crate::machine::launch::{Buffer, Builder, Launch};
use ganomaly_model::layers::LayerKind;

/// A layer's forward pass and its gradients, for several runs.
#[derive(Debug)]
pub struct LayerProgram {
    /// Four-byte numbers in each buffer.
    pub buffers: Vec<usize>,
    /// y from x and the parameters.
    pub forward: Vec<Launch>,
    /// dx and the parameters' gradients from dy and what the forward pass saved.
    pub backward: Vec<Launch>,
    /// The input, `[G, N, H, W, C]`.
    pub x: Buffer,
    /// The output, in the same layout.
    pub y: Buffer,
    /// The output's gradient.
    pub dy: Buffer,
    /// The input's gradient.
    pub dx: Buffer,
    /// The parameters, `[G, P]`.
    pub parameters: Buffer,
    /// Their gradients.
    pub gradients: Buffer,
    /// The output's sizes.
    pub extent: Extent,
    /// Number of parameters of one run.
    pub len: usize,
}

impl LayerProgram {
    /// Plans `kind` for inputs of the given extent.
    pub fn new(kind: LayerKind, input: Extent) -> Self {
        let mut b = Builder::default();
        let chain = Chain::new(&[kind], 0, 0);
        let len = chain.parameters;
        let x = Activations { buffer: b.keep(input.len()), extent: input };
        let parameters = Arena { buffer: b.keep((input.runs * len).max(1)), distance: len };
        let gradients = Arena { buffer: b.keep((input.runs * len).max(1)), distance: len };
        let (y, tape) = chain.forward(&mut b, parameters, x);
        let forward = b.take_launches();
        let dy = Activations { buffer: b.keep(y.extent.len()), ..y };
        let target = Target { gradients, add: false };
        let dx = chain.backward(&mut b, parameters, &tape, dy, Some(target));
        let backward = b.take_launches();
        Self {
            buffers: b.buffers().to_vec(),
            forward,
            backward,
            x: x.buffer,
            y: y.buffer,
            dy: dy.buffer,
            dx: dx.buffer,
            parameters: parameters.buffer,
            gradients: gradients.buffer,
            extent: y.extent,
            len,
        }
    }
}
