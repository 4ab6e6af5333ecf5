//! The kernels as differentiable layers, used as candle-nn's are.
//!
//! [`Conv2d`], [`ConvTranspose2d`] and [`BatchNorm2d`] have the constructors, configs, tensor names
//! and axes (`[N, C, H, W]`) of candle-nn and its autograd; each can apply an [`Activation`] in the
//! same pass (`then`). [`activate`] is an activation alone, [`masked`] a product with a constant,
//! [`cat_channels`] joins two tensors, [`mse`] and [`l1`] are losses, [`VarAdam`] is an optimiser.
//!
//! The kernels take float32 and float64 tensors on the CPU, square kernels, no dilation and no
//! groups. Anything else goes through candle's own operations, as does everything after
//! [`enable_kernels`]`(false)`.
//!
//! # Layout
//!
//! A layer's output is a channels-last tensor, seen as `[N, C, H, W]` through a permuted view. The
//! next layer takes the channels-last tensor itself, so between layers neither values nor
//! gradients are copied. Other operations of candle work on the view, but faster on
//! [`channels_last`] of it.

mod adam;
mod batch_norm;
mod conv;
mod graph;
mod loss;

pub use adam::VarAdam;
pub use batch_norm::{BatchNorm2d, batch_norm2d};
pub use candle_nn::{BatchNormConfig, Conv2dConfig, ConvTranspose2dConfig};
pub use conv::{
    Conv2d, ConvTranspose2d, conv_transpose2d, conv_transpose2d_no_bias, conv2d, conv2d_no_bias,
};
pub use graph::{cat_channels, channels_first, channels_last, masked};
pub use loss::{l1, mse};

use crate::Activation;
use candle_core::{DType, Device, Result, Tensor};
use graph::{Value, node, raw};
use std::sync::atomic::{AtomicBool, Ordering};

static KERNELS: AtomicBool = AtomicBool::new(true);

/// Whether the layers of this process use the kernels (the default) or candle's own operations, for
/// comparisons.
pub fn enable_kernels(on: bool) {
    KERNELS.store(on, Ordering::Relaxed);
}

/// Whether the kernels take `x` together with a layer's tensors.
fn suits<'a>(x: &Tensor, others: impl IntoIterator<Item = &'a Tensor>) -> bool {
    let each = |t: &Tensor| {
        matches!(t.device(), Device::Cpu) && t.dtype() == x.dtype() && t.elem_count() > 0
    };
    KERNELS.load(Ordering::Relaxed)
        && matches!(x.dtype(), DType::F32 | DType::F64)
        && each(x)
        && others.into_iter().all(each)
}

/// An activation, differentiable, of a tensor of any shape.
pub fn activate(x: &Tensor, f: Activation) -> Result<Tensor> {
    match f {
        Activation::Identity => Ok(x.clone()),
        _ if suits(x, []) && !x.is_contiguous() && x.rank() == 4 => {
            let x = Value::of(x)?;
            let y = f.forward(&x.numbers)?;
            node(&x, [None; 2], y, move |y, dy| Ok([Some(f.backward(y, dy)?), None, None]))
        }
        _ if suits(x, []) => {
            let x = x.contiguous()?;
            let backward =
                move |y: &Tensor, dy: &Tensor| Ok([Some(f.backward(y, dy)?), None, None]);
            raw([&x; 3], f.forward(&x)?, backward)
        }
        Activation::LeakyRelu(0.0) => x.relu(),
        Activation::LeakyRelu(slope) => candle_nn::ops::leaky_relu(x, slope),
        Activation::Tanh => x.tanh(),
    }
}
