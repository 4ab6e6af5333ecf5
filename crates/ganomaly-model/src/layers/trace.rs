//! A chain as a graph of ONNX operations.

use super::{Op, Sequential};
use crate::Result;
use crate::graph::{Convolution, Graph, Traced, Value};
use ganomaly_kernels::layout;

impl Traced for Sequential {
    fn trace(&self, graph: &mut Graph, mut x: Value) -> Result<Value> {
        let mut layers = self.layers.iter().map(|layer| &layer.op).peekable();
        while let Some(op) = layers.next() {
            x = match op {
                Op::Conv { conv, transposed, weight } => {
                    let convolution = Convolution {
                        weight: layout::oikk_from_kernel(weight)?,
                        bias: None,
                        transposed: *transposed,
                        stride: conv.stride,
                        padding: [conv.padding; 2],
                        output_padding: 0,
                    };
                    match layers.peek() {
                        Some(Op::BatchNorm { norm, then }) => {
                            layers.next();
                            let (scale, shift) = norm.running()?;
                            let folded = convolution.folded(&scale, &shift)?;
                            let x = graph.convolution(&x, &folded)?;
                            graph.activate(x, *then)
                        }
                        _ => graph.convolution(&x, &convolution)?,
                    }
                }
                Op::BatchNorm { norm, then } => {
                    let (scale, shift) = norm.running()?;
                    let x = graph.affine(&x, &scale, &shift)?;
                    graph.activate(x, *then)
                }
                Op::Activation(f) => graph.activate(x, *f),
            };
        }
        Ok(x)
    }
}
