//! Chains of layers in candle-nn's words, for detectors that are written with them.

use crate::graph::{Attribute, Convolution, Graph, Traced, Value};
use crate::{NamedTensors, Result};
use candle_core::{DType, Tensor};
use candle_nn::{BatchNormConfig, Init, Module, ModuleT, VarBuilder, loss};
use ganomaly_kernels::Activation;
use ganomaly_kernels::autograd::{
    BatchNorm2d, Conv2d, Conv2dConfig, ConvTranspose2d, batch_norm2d, channels_first,
};

/// A layer with the activation after it.
#[derive(Debug)]
pub enum Layer {
    /// A convolution.
    Conv(Conv2d),
    /// A transposed convolution.
    ConvTranspose(ConvTranspose2d),
    /// A batch normalisation.
    BatchNorm(BatchNorm2d),
    /// A 3×3 convolution that halves the image, padded as TensorFlow does: with zeros after the
    /// image, none before. Weights `[O, I, 3, 3]`, biases, and the activation after it.
    Halve(Tensor, Tensor, Activation),
    /// `[N, C, H, W]` to `[N, C·H·W, 1, 1]`.
    Flatten,
    /// `[N, C·H·W, 1, 1]` to `[N, C, H, W]`.
    Unflatten([usize; 3]),
}

/// A chain of layers.
#[derive(Debug)]
pub struct Net(pub Vec<Layer>);

impl ModuleT for Net {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        self.0.iter().try_fold(x.clone(), |x, layer| match layer {
            Layer::Conv(conv) => conv.forward(&x),
            Layer::ConvTranspose(conv) => conv.forward(&x),
            Layer::BatchNorm(norm) => norm.forward_t(&x, train),
            Layer::Halve(weight, bias, then) => {
                // A 4×4 kernel whose first row and column are 0 pads on both sides.
                let weight = weight.pad_with_zeros(2, 1, 0)?.pad_with_zeros(3, 1, 0)?;
                let config = Conv2dConfig { stride: 2, padding: 1, ..Default::default() };
                Conv2d::new(weight, Some(bias.clone()), config).then(*then).forward(&x)
            }
            Layer::Flatten => {
                let (n, c, h, w) = x.dims4()?;
                channels_first(&x)?.reshape((n, c * h * w, 1, 1))
            }
            Layer::Unflatten([c, h, w]) => x.contiguous()?.reshape((x.dim(0)?, *c, *h, *w)),
        })
    }
}

impl Net {
    /// The same network with constant weights: gradients pass through it, but it gets none.
    pub fn frozen(&self) -> Result<Self> {
        self.constant(BatchNorm2d::frozen)
    }

    /// The same network with constant weights which, in training, normalises with each batch's
    /// statistics and leaves the running ones as they are.
    pub fn by_batch(&self) -> Result<Self> {
        self.constant(BatchNorm2d::by_batch)
    }

    fn constant(
        &self,
        norm: impl Fn(&BatchNorm2d) -> candle_core::Result<BatchNorm2d>,
    ) -> Result<Self> {
        let constant = |layer: &Layer| {
            Ok(match layer {
                Layer::Conv(conv) => Layer::Conv(conv.frozen()),
                Layer::ConvTranspose(conv) => Layer::ConvTranspose(conv.frozen()),
                Layer::BatchNorm(batch_norm) => Layer::BatchNorm(norm(batch_norm)?),
                Layer::Halve(weight, bias, then) => {
                    Layer::Halve(weight.detach(), bias.detach(), *then)
                }
                Layer::Flatten => Layer::Flatten,
                Layer::Unflatten(shape) => Layer::Unflatten(*shape),
            })
        };
        Ok(Self(self.0.iter().map(constant).collect::<Result<_>>()?))
    }
}

impl Traced for Net {
    fn trace(&self, graph: &mut Graph, mut x: Value) -> Result<Value> {
        let mut layers = self.0.iter().peekable();
        while let Some(layer) = layers.next() {
            let (conv, then) = match layer {
                Layer::Conv(conv) => {
                    let (weight, bias, config) = conv.parts();
                    (
                        convolution(weight, bias, [config.stride, config.padding, 0]),
                        conv.activation(),
                    )
                }
                Layer::ConvTranspose(conv) => {
                    let (weight, bias, c) = conv.parts();
                    let plain = convolution(weight, bias, [c.stride, c.padding, c.output_padding]);
                    (Convolution { transposed: true, ..plain }, conv.activation())
                }
                Layer::Halve(weight, bias, then) => {
                    let plain = convolution(weight, Some(bias), [2, 0, 0]);
                    (Convolution { padding: [0, 1], ..plain }, *then)
                }
                Layer::BatchNorm(norm) => {
                    let (scale, shift) = norm.running()?;
                    x = graph.affine(&x, &scale, &shift)?;
                    x = graph.activate(x, norm.activation());
                    continue;
                }
                Layer::Flatten => {
                    // The numbers behind the batch, as channels.
                    x = graph.op("Flatten", &[&x], vec![("axis", Attribute::Int(1))]);
                    x = graph.reshape(&x, &[0, -1, 1, 1])?;
                    continue;
                }
                Layer::Unflatten(shape) => {
                    let [c, h, w] = shape.map(|side| side as i64);
                    x = graph.reshape(&x, &[-1, c, h, w])?;
                    continue;
                }
            };
            x = match (then, layers.peek()) {
                (Activation::Identity, Some(Layer::BatchNorm(norm))) => {
                    layers.next();
                    let (scale, shift) = norm.running()?;
                    let x = graph.convolution(&x, &conv.folded(&scale, &shift)?)?;
                    graph.activate(x, norm.activation())
                }
                _ => {
                    let x = graph.convolution(&x, &conv)?;
                    graph.activate(x, then)
                }
            };
        }
        Ok(x)
    }
}

fn convolution(
    weight: &Tensor,
    bias: Option<&Tensor>,
    [stride, padding, output_padding]: [usize; 3],
) -> Convolution {
    let (weight, bias) = (weight.clone(), bias.cloned());
    let padding = [padding; 2];
    Convolution { weight, bias, transposed: false, stride, padding, output_padding }
}

/// A batch normalisation with PyTorch's tensors: candle-nn's, and the counter of batches.
pub fn batch_norm(
    channels: usize,
    config: impl Into<BatchNormConfig>,
    then: Activation,
    vb: VarBuilder<'_>,
) -> Result<Layer> {
    vb.get_with_hints_dtype((), "num_batches_tracked", Init::Const(0.0), DType::I64)?;
    Ok(Layer::BatchNorm(batch_norm2d(channels, config, vb)?.then(then)))
}

/// Binary cross-entropy of logits against one target, 0 or 1: the mean, a scalar.
pub fn bce(logits: &Tensor, target: f64) -> Result<Tensor> {
    let target = logits.ones_like()?.affine(target, 0.0)?;
    Ok(loss::binary_cross_entropy_with_logit(logits, &target)?)
}

/// Tensors with their names.
pub fn named<const N: usize>(tensors: [(&str, Tensor); N]) -> NamedTensors {
    tensors.map(|(name, tensor)| (name.to_string(), tensor)).into()
}

/// A loss as a number.
pub fn number(loss: &Tensor) -> Result<f64> {
    Ok(loss.to_dtype(DType::F64)?.to_scalar()?)
}
