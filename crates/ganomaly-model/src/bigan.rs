//! What EGBAD and AnoGAN share: the arithmetic of TensorFlow 1, in which they were published, their
//! generator, and the averages of their weights.
//!
//! As in the authors' code of EGBAD, houssamzenati/Efficient-GAN-Anomaly-Detection at 15568ab.
//! Images are `[N, nc, S, S]` with S a multiple of 4, latent vectors and features `[N, C, 1, 1]`.

use crate::ganomaly::require;
use crate::net::{Layer, Net};
use crate::random::stream;
use crate::variables::Variables;
use crate::{Input, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::{BatchNorm, Init, VarBuilder};
use ganomaly_kernels::autograd::{
    BatchNorm2d, Conv2d, Conv2dConfig, ConvTranspose2dConfig, channels_last, conv_transpose2d,
    conv2d,
};
use ganomaly_kernels::loss::image_errors;
use ganomaly_kernels::{Activation, AdamConfig, move_average};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

pub(crate) const LEAKY: Activation = Activation::LeakyRelu(0.1);
/// How fast running statistics follow, and what is added to the variance.
const MOMENTUM: f64 = 0.01;
const EPS: f64 = 1e-3;
/// The averages keep this much of themselves in a step.
const DECAY: f64 = 0.999;
/// The prefix of the averages' names.
const AVERAGE: &str = "ema";

/// Where a network's tensors are: the weights, or their averages, and the running statistics, of
/// which there is one set. Widths are multiples of the published ones.
#[derive(Clone)]
pub(crate) struct Place<'a> {
    weights: VarBuilder<'a>,
    statistics: VarBuilder<'a>,
    multiplier: f64,
}

impl<'a> Place<'a> {
    /// The weights, or their averages.
    pub fn new(vb: &VarBuilder<'a>, average: bool, multiplier: f64) -> Self {
        let weights = if average { vb.pp(AVERAGE) } else { vb.clone() };
        Self { weights, statistics: vb.clone(), multiplier }
    }

    pub fn pp(&self, name: &str) -> Self {
        let (weights, statistics) = (self.weights.pp(name), self.statistics.pp(name));
        Self { weights, statistics, ..*self }
    }

    /// A published width for this network.
    pub fn width(&self, published: usize) -> usize {
        times(published, self.multiplier)
    }

    /// A 4×4 convolution that halves the image.
    pub fn half(&self, i: usize, o: usize, then: Activation) -> Result<Layer> {
        let config = Conv2dConfig { stride: 2, padding: 1, ..Default::default() };
        Ok(Layer::Conv(conv2d(i, o, 4, config, self.weights.pp("conv"))?.then(then)))
    }

    /// A 3×3 convolution that keeps the image's size.
    pub fn same(&self, i: usize, o: usize, then: Activation) -> Result<Layer> {
        let config = Conv2dConfig { padding: 1, ..Default::default() };
        Ok(Layer::Conv(conv2d(i, o, 3, config, self.weights.pp("conv"))?.then(then)))
    }

    /// A 3×3 convolution that halves the image.
    pub fn half_of_three(&self, i: usize, o: usize) -> Result<Layer> {
        let vb = self.weights.pp("conv");
        let (weight, bias) = (vb.get((o, i, 3, 3), "weight")?, vb.get(o, "bias")?);
        Ok(Layer::Halve(weight, bias, Activation::Identity))
    }

    /// A 4×4 transposed convolution that doubles the image.
    pub fn double(&self, i: usize, o: usize, then: Activation) -> Result<Layer> {
        let config = ConvTranspose2dConfig { stride: 2, padding: 1, ..Default::default() };
        let conv = conv_transpose2d(i, o, 4, config, self.weights.pp("conv"))?;
        Ok(Layer::ConvTranspose(conv.then(then)))
    }

    /// A dense layer; its weights are `[O, I]`.
    pub fn dense(&self, i: usize, o: usize, then: Activation) -> Result<Layer> {
        let vb = self.weights.pp("fc");
        let (weight, bias) = (vb.get((o, i), "weight")?, vb.get(o, "bias")?);
        let weight = weight.reshape((o, i, 1, 1))?;
        Ok(Layer::Conv(Conv2d::new(weight, Some(bias), Conv2dConfig::default()).then(then)))
    }

    /// A batch norm after a convolution.
    pub fn norm(&self, channels: usize, then: Activation) -> Result<Layer> {
        Ok(Layer::BatchNorm(self.batch_norm(channels)?.then(then)))
    }

    /// A batch norm after a dense layer.
    pub fn dense_norm(&self, channels: usize, then: Activation) -> Result<Layer> {
        Ok(Layer::BatchNorm(self.batch_norm(channels)?.then(then).biased()))
    }

    fn batch_norm(&self, c: usize) -> Result<BatchNorm2d> {
        let (own, running) = (self.weights.pp("bn"), self.statistics.pp("bn"));
        let constant =
            |vb: &VarBuilder<'_>, name, value| vb.get_with_hints(c, name, Init::Const(value));
        let (weight, bias) = (constant(&own, "weight", 1.0)?, constant(&own, "bias", 0.0)?);
        let mean = constant(&running, "running_mean", 0.0)?;
        let var = constant(&running, "running_var", 1.0)?;
        Ok(BatchNorm::new_with_momentum(c, mean, var, weight, bias, EPS, MOMENTUM)?.into())
    }

    /// A latent vector to an image in (-1, 1).
    pub fn generator(&self, input: Input, nz: usize) -> Result<Net> {
        let place = self.pp("netg");
        let (layer, quarter) = (|n: usize| place.pp(&format!("layer_{n}")), input.side / 4);
        let (dense, c, d) = (self.width(1024), self.width(128), self.width(64));
        let flat = c * quarter * quarter;
        Ok(Net(vec![
            layer(1).dense(nz, dense, Activation::Identity)?,
            layer(1).dense_norm(dense, Activation::RELU)?,
            layer(2).dense(dense, flat, Activation::Identity)?,
            layer(2).dense_norm(flat, Activation::RELU)?,
            Layer::Unflatten([c, quarter, quarter]),
            layer(3).double(c, d, Activation::Identity)?,
            layer(3).norm(d, Activation::RELU)?,
            layer(4).double(d, input.channels, Activation::Tanh)?,
        ]))
    }
}

/// A published width times a number, at least 1.
pub(crate) fn times(published: usize, multiplier: f64) -> usize {
    ((published as f64 * multiplier + 0.5) as usize).max(1)
}

/// For each image, the sum of |a − b|, both `[N, C, H, W]`.
pub(crate) fn sums(a: &Tensor, b: &Tensor) -> Result<Vec<f64>> {
    let each = (a.elem_count() / a.dim(0)?) as f64;
    let means = image_errors(&channels_last(a)?, &channels_last(b)?)?.0;
    Ok(means.into_iter().map(|mean| mean * each).collect())
}

/// Checks what EGBAD and AnoGAN have in common.
pub(crate) fn check(input: Input, nz: usize, width: f64, weight: f64) -> Result<()> {
    let size = input.side;
    let holds = size.is_multiple_of(4) && (8..=256).contains(&size);
    require("isize", size, holds, "use a multiple of 4 from 8 to 256")?;
    require("nz", nz, (1..=65536).contains(&nz), "use 1 to 65536")?;
    require("width", width, width > 0.0 && width <= 8.0, "use a number above 0, at most 8")?;
    require("weight", weight, (0.0..=1.0).contains(&weight), "use a number from 0 to 1")
}

/// Checks the optimiser's settings.
pub(crate) fn check_adam(lr: f64, beta1: f64, beta2: f64) -> Result<()> {
    require("lr", lr, lr.is_finite() && lr > 0.0, "use a number above 0")?;
    for (name, beta) in [("beta1", beta1), ("beta2", beta2)] {
        require(name, beta, (0.0..1.0).contains(&beta), "use a number in [0, 1)")?;
    }
    Ok(())
}

/// Adam as TensorFlow 1 has it.
pub(crate) fn adam(lr: f64, beta1: f64, beta2: f64) -> AdamConfig {
    AdamConfig { lr, beta1, beta2, early_eps: true, ..Default::default() }
}

/// Fresh values that differ from PyTorch's: the weights of batch norms are 1, and the averages are
/// what they average.
pub(crate) fn start(variables: &Variables) -> Result<()> {
    for (name, var) in variables.iter() {
        if name.ends_with("bn.weight") {
            var.set(&var.ones_like()?)?;
        }
    }
    average(variables, "", 0.0)
}

/// Moves the averages of the weights below a prefix. Published before the optimiser's step, not
/// after it.
pub(crate) fn move_averages(variables: &Variables, prefix: &str) -> Result<()> {
    average(variables, prefix, DECAY)
}

fn average(variables: &Variables, prefix: &str, decay: f64) -> Result<()> {
    for (name, average) in variables.iter() {
        let Some(own) = name.strip_prefix(AVERAGE).and_then(|name| name.strip_prefix('.')) else {
            continue;
        };
        if own.starts_with(prefix) {
            move_average(average.as_tensor(), variables.get(own)?, 1.0 - decay)?;
        }
    }
    Ok(())
}

/// The draws of a training step: a stream for each, so that there is no position to resume from.
pub(crate) fn draws(seed: u64, step: u64) -> ChaCha8Rng {
    let mut rng = stream(seed, b"gan step");
    rng.set_stream(step);
    rng
}

/// A mask for dropout, `[N, C, H, W]`, channels last in memory: half of the numbers are 0, the
/// others 2.
pub(crate) fn mask(rng: &mut ChaCha8Rng, [n, c, h, w]: [usize; 4], dtype: DType) -> Result<Tensor> {
    let bits = std::iter::repeat_with(|| rng.next_u64());
    let bits = bits.flat_map(|bits| (0..64).map(move |bit| (bits >> bit & 1) as f32 * 2.0));
    let mask = Tensor::from_vec(bits.take(n * c * h * w).collect(), (n, h, w, c), &Device::Cpu)?;
    Ok(mask.to_dtype(dtype)?.permute((0, 3, 1, 2))?)
}
