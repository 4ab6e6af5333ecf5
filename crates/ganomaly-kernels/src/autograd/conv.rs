//! Convolutions as layers.

use super::{Value, activate, node, suits};
use crate::layout::reversed;
use crate::storage::{dispatch, read, tensor};
use crate::{Activation, Conv2d as Kernel, Fold};
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
                let conv = Kernel { kernel, stride, padding };
                convolve(conv, None, x, (self.inner.weight(), self.inner.bias()), self.then)
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
                let size = Some((side(h)?, side(w)?));
                convolve(conv, size, x, (self.inner.weight(), self.inner.bias()), self.then)
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

/// One node for convolution, bias and activation. A transposed convolution has the size of its
/// output.
fn convolve(
    conv: Kernel,
    transposed: Option<(usize, usize)>,
    x: &Tensor,
    (weight, bias): (&Tensor, Option<&Tensor>),
    then: Activation,
) -> Result<Tensor> {
    let x = Value::of(x)?;
    let (a, b, k, _) = weight.dims4()?;
    let w = weight.contiguous()?;
    let w = dispatch!(w, T => {
        tensor(read(&w, |w: &[T]| reversed(w, [1, a, b, k * k]))?, (k, k, b, a))?
    });
    let shift = match bias {
        Some(bias) => bias.to_dtype(DType::F64)?.to_vec1()?,
        None => vec![0.0; if transposed.is_some() { b } else { a }],
    };
    let in_pass = if then.negative_slope().is_some() { then } else { Activation::Identity };
    let scale = vec![1.0; shift.len()];
    let fold = Fold { scale: &scale, shift: &shift, activation: in_pass };
    let fold = (bias.is_some() || in_pass != Activation::Identity).then_some(&fold);
    let y = match transposed {
        Some(size) => conv.backward_input_folded(&x.numbers, &w, size, fold)?,
        None => conv.forward_folded(&x.numbers, &w, fold)?,
    };
    let y = if in_pass == then { y } else { then.forward(&y)? };

    let input = x.numbers.clone();
    let wants_x = x.source.track_op();
    let [wants_w, wants_b] = [Some(weight), bias].map(|t| t.is_some_and(Tensor::track_op));
    node(&x, [Some(weight), bias], y, move |y, dy| {
        let dy = then.backward(y, dy)?;
        let dx = wants_x.then(|| match transposed {
            Some(_) => conv.forward(&dy, &w),
            None => conv.backward_input(&dy, &w, (input.dim(1)?, input.dim(2)?)),
        });
        let dw = wants_w.then(|| {
            let (x, dy) = if transposed.is_some() { (&dy, &input) } else { (&input, &dy) };
            let dw = conv.backward_weight(x, dy)?;
            dispatch!(dw, T => {
                tensor(read(&dw, |dw: &[T]| reversed(dw, [1, k * k, b, a]))?, (a, b, k, k))
            })
        });
        let db = wants_b.then(|| dy.flatten_to(2)?.sum(0));
        Ok([dx.transpose()?, dw.transpose()?, db.transpose()?])
    })
}
