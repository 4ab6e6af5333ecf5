//! Convolutions as layers.

use super::{Value, activate, node, suits};
use crate::batch_norm::BatchStats;
use crate::layout::reversed;
use crate::{Activation, Conv2d as Kernel, Fold, dense};
use candle_core::{DType, Result, Tensor};
use candle_nn::{Conv2dConfig, ConvTranspose2dConfig, Module, VarBuilder};

/// A convolution, `[N, I, H, W]` to `[N, O, H', W']`, as [`candle_nn::Conv2d`], and the activation
/// after it. Its tensors are `weight`, `[O, I, K, K]`, and, if it has one, `bias`, `[O]`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    inner: candle_nn::Conv2d,
    then: Activation,
}

/// A transposed convolution, `[N, I, H, W]` to `[N, O, H', W']`, as
/// [`candle_nn::ConvTranspose2d`], and the activation after it. Its tensors are `weight`,
/// `[I, O, K, K]`, and, if it has one, `bias`, `[O]`.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    inner: candle_nn::ConvTranspose2d,
    then: Activation,
}

/// What both kinds have in common.
macro_rules! layer {
    ($layer:ident, $config:ident) => {
        impl $layer {
            /// A layer of the given tensors.
            pub fn new(weight: Tensor, bias: Option<Tensor>, config: $config) -> Self {
                candle_nn::$layer::new(weight, bias, config).into()
            }

            /// This layer with an activation after it, in the same pass if it is a rectifier.
            pub fn then(self, then: Activation) -> Self {
                Self { then, ..self }
            }

            /// Its weight, its bias and its config.
            pub fn parts(&self) -> (&Tensor, Option<&Tensor>, &$config) {
                (self.inner.weight(), self.inner.bias(), self.inner.config())
            }

            /// The activation after it.
            pub fn activation(&self) -> Activation {
                self.then
            }

            /// This layer as a constant: gradients pass through it, but its tensors get none. They
            /// share their storage, so when this layer learns, the constant changes with it.
            pub fn frozen(&self) -> Self {
                let (weight, bias) = (self.inner.weight().detach(), self.inner.bias());
                let bias = bias.map(Tensor::detach);
                Self::new(weight, bias, *self.inner.config()).then(self.then)
            }
        }

        impl From<candle_nn::$layer> for $layer {
            fn from(inner: candle_nn::$layer) -> Self {
                Self { inner, then: Activation::Identity }
            }
        }
    };
}
layer!(Conv2d, Conv2dConfig);
layer!(ConvTranspose2d, ConvTranspose2dConfig);

/// Constructors with candle-nn's names and initial values.
macro_rules! constructors {
    ($($name:ident -> $layer:ident, $config:ident;)*) => {$(
        /// A layer with `input` and `output` channels and a square kernel, from the tensors of
        #[doc = concat!("`vb`, as [`candle_nn::", stringify!($name), "`].")]
        pub fn $name(
            input: usize,
            output: usize,
            kernel: usize,
            config: $config,
            vb: VarBuilder<'_>,
        ) -> Result<$layer> {
            Ok(candle_nn::$name(input, output, kernel, config, vb)?.into())
        }
    )*};
}
constructors! {
    conv2d -> Conv2d, Conv2dConfig;
    conv2d_no_bias -> Conv2d, Conv2dConfig;
    conv_transpose2d -> ConvTranspose2d, ConvTranspose2dConfig;
    conv_transpose2d_no_bias -> ConvTranspose2d, ConvTranspose2dConfig;
}

impl Module for Conv2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let &Conv2dConfig { padding, stride, dilation, groups, .. } = self.inner.config();
        match square(x, self.inner.weight(), self.inner.bias()) {
            Some(kernel) if dilation == 1 && groups == 1 => {
                let one = kernel == 1 && padding == 0 && x.dims()[2..] == [1, 1];
                let plain = Product::Plain(Kernel { kernel, stride, padding });
                let product = if one { Product::Dense } else { plain };
                layer(product, x, (self.inner.weight(), self.inner.bias()), self.then)
            }
            _ => activate(&self.inner.forward(x)?, self.then),
        }
    }
}

impl Module for ConvTranspose2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let &ConvTranspose2dConfig { padding, output_padding, stride, dilation } =
            self.inner.config();
        match square(x, self.inner.weight(), self.inner.bias()) {
            // More output padding than that is not the gradient of a convolution.
            Some(kernel) if dilation == 1 && output_padding < stride => {
                let conv = Kernel { kernel, stride, padding };
                let (_, _, h, w) = x.dims4()?;
                let side = |side| {
                    Ok::<_, candle_core::Error>(conv.transposed_size(side)? + output_padding)
                };
                let product = Product::Transposed(conv, (side(h)?, side(w)?));
                layer(product, x, (self.inner.weight(), self.inner.bias()), self.then)
            }
            _ => activate(&self.inner.forward(x)?, self.then),
        }
    }
}

/// The side of the kernel, if the kernels take these tensors.
fn square(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Option<usize> {
    let &[_, _, k, width] = weight.dims() else { return None };
    (k == width && x.rank() == 4 && suits(x, std::iter::once(weight).chain(bias))).then_some(k)
}

/// What a layer computes from images, `[N, H, W, C]`, and weights.
#[derive(Clone, Copy)]
enum Product {
    /// A 1×1 convolution of 1×1 images.
    Dense,
    Plain(Kernel),
    /// With the size of its output.
    Transposed(Kernel, (usize, usize)),
}

impl Product {
    /// The layer's weights in the order that the products take.
    fn weights(self, w: &Tensor) -> Result<Tensor> {
        let (a, b, k, _) = w.dims4()?;
        let w = w.contiguous()?;
        match self {
            Self::Dense => w.reshape((a, b)),
            _ => reversed(&w, [1, a, b, k * k], (k, k, b, a)),
        }
    }

    /// The output's channels.
    fn outputs(self, w: &Tensor) -> Result<usize> {
        w.dim(usize::from(matches!(self, Self::Transposed(..))))
    }

    fn forward(self, x: &Tensor, w: &Tensor, fold: Option<&Fold<'_>>) -> Result<Tensor> {
        match self {
            Self::Dense => image(&dense::forward(&row(x)?, w, fold)?),
            Self::Plain(conv) => conv.forward_folded(x, w, fold),
            Self::Transposed(conv, size) => conv.backward_input_folded(x, w, size, fold),
        }
    }

    fn backward_input(self, x: &Tensor, dy: &Tensor, w: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense => image(&dense::backward_input(&row(dy)?, w)?),
            Self::Plain(conv) => conv.backward_input(dy, w, (x.dim(1)?, x.dim(2)?)),
            Self::Transposed(conv, _) => conv.forward(dy, w),
        }
    }

    /// In the order of the layer's weights.
    fn backward_weight(self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let dw = match self {
            Self::Dense => {
                let dw = dense::backward_weight(&row(x)?, &row(dy)?)?;
                return dw.reshape((dw.dim(0)?, dw.dim(1)?, 1, 1));
            }
            Self::Plain(conv) => conv.backward_weight(x, dy)?,
            Self::Transposed(conv, _) => conv.backward_weight(dy, x)?,
        };
        let (k, _, b, a) = dw.dims4()?;
        reversed(&dw, [1, k * k, b, a], (a, b, k, k))
    }
}

/// `[N, 1, 1, C]` as `[N, C]`.
fn row(x: &Tensor) -> Result<Tensor> {
    x.flatten_from(1)
}

/// `[N, C]` as `[N, 1, 1, C]`.
fn image(x: &Tensor) -> Result<Tensor> {
    let (n, c) = x.dims2()?;
    x.reshape((n, 1, 1, c))
}

/// The sum of each channel, `[C]`.
fn channel_sums(x: &Tensor) -> Result<Tensor> {
    let BatchStats { mean, count, .. } = BatchStats::of(x)?;
    let sums: Vec<f64> = mean.into_iter().map(|mean| mean * count as f64).collect();
    Tensor::new(sums, x.device())?.to_dtype(x.dtype())
}

/// One node for product, bias and activation.
fn layer(
    product: Product,
    x: &Tensor,
    (weight, bias): (&Tensor, Option<&Tensor>),
    then: Activation,
) -> Result<Tensor> {
    let x = Value::of(x)?;
    let w = product.weights(&weight.detach())?;
    let shift = match bias {
        Some(bias) => bias.to_dtype(DType::F64)?.to_vec1()?,
        None => vec![0.0; product.outputs(weight)?],
    };
    let in_pass = if then.negative_slope().is_some() { then } else { Activation::Identity };
    let scale = vec![1.0; shift.len()];
    let fold = Fold { scale: &scale, shift: &shift, activation: in_pass };
    let fold = (bias.is_some() || in_pass != Activation::Identity).then_some(&fold);
    let y = product.forward(&x.numbers, &w, fold)?;
    let y = if in_pass == then { y } else { then.forward(&y)? };

    let input = x.numbers.clone();
    let wants_x = x.source.track_op();
    let [wants_w, wants_b] = [Some(weight), bias].map(|t| t.is_some_and(Tensor::track_op));
    node(&x, [Some(weight), bias], y, move |y, dy| {
        let dy = then.backward(y, dy)?;
        let dx = wants_x.then(|| product.backward_input(&input, &dy, &w));
        let dw = wants_w.then(|| product.backward_weight(&input, &dy));
        let db = wants_b.then(|| channel_sums(&dy));
        Ok([dx.transpose()?, dw.transpose()?, db.transpose()?])
    })
}
