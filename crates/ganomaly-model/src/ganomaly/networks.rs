//! The networks, layer by layer as in the reference's `lib/networks.py`, with its names.

use super::GanomalyConfig;
use crate::layers::{ConvSizes, Sequential};
use crate::{NamedTensors, Result};
use candle_core::{DType, Tensor};
use ganomaly_kernels::{Activation, Conv2d};
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;

const LEAKY: Activation = Activation::LeakyRelu(0.2);
/// Halves the image; transposed, doubles it.
const HALVE: Conv2d = Conv2d { kernel: 4, stride: 2, padding: 1 };
/// From 4×4 to 1×1; transposed, back.
const WHOLE: Conv2d = Conv2d { kernel: 4, stride: 1, padding: 0 };
/// Keeps the size.
const SAME: Conv2d = Conv2d { kernel: 3, stride: 1, padding: 1 };

/// How parameters are named: by the names in the code or, in the discriminator's features, by
/// position.
enum Naming {
    Named(&'static str),
    Counted(&'static str),
}

/// Counts every module, including activations, as `torch.nn.Sequential` does.
struct Names {
    naming: Naming,
    next: usize,
}

impl Names {
    fn next(&mut self, name: String) -> String {
        self.next += 1;
        match self.naming {
            Naming::Named(prefix) => format!("{prefix}.{name}"),
            Naming::Counted(prefix) => format!("{prefix}.{}", self.next - 1),
        }
    }

    fn skip(&mut self) {
        self.next += 1;
    }
}

/// The encoder without its final convolution: `[N, S, S, nc]` to `[N, 4, 4, c]`. Also returns c.
fn pyramid(config: &GanomalyConfig, naming: Naming, dtype: DType) -> Result<(Sequential, usize)> {
    let mut names = Names { naming, next: 0 };
    let mut net = Sequential::default();
    let (mut size, mut c) = (config.isize / 2, config.ngf);
    let sizes = |input, output, conv| ConvSizes { input, output, conv };
    let name = names.next(format!("initial-conv-{}-{c}", config.nc));
    net.conv(name, sizes(config.nc, c, HALVE), dtype)?;
    names.skip();
    net.activation(LEAKY);
    for t in 0..config.extralayers {
        net.conv(names.next(format!("extra-layers-{t}-{c}-conv")), sizes(c, c, SAME), dtype)?;
        net.batch_norm(names.next(format!("extra-layers-{t}-{c}-batchnorm")), c, LEAKY, dtype)?;
        names.skip();
    }
    while size > 4 {
        let name = names.next(format!("pyramid-{c}-{}-conv", 2 * c));
        net.conv(name, sizes(c, 2 * c, HALVE), dtype)?;
        (size, c) = (size / 2, 2 * c);
        net.batch_norm(names.next(format!("pyramid-{c}-batchnorm")), c, LEAKY, dtype)?;
        names.skip();
    }
    Ok((net, c))
}

/// `[N, S, S, nc]` to the latent vector `[N, 1, 1, nz]`.
fn encoder(config: &GanomalyConfig, prefix: &'static str, dtype: DType) -> Result<Sequential> {
    let (mut net, c) = pyramid(config, Naming::Named(prefix), dtype)?;
    // The reference writes a 1 in this name whatever the number of outputs.
    let name = format!("{prefix}.final-{c}-1-conv");
    net.conv(name, ConvSizes { input: c, output: config.nz, conv: WHOLE }, dtype)?;
    Ok(net)
}

/// The latent vector `[N, 1, 1, nz]` to an image `[N, S, S, nc]` in (-1, 1).
fn decoder(config: &GanomalyConfig, prefix: &'static str, dtype: DType) -> Result<Sequential> {
    let mut names = Names { naming: Naming::Named(prefix), next: 0 };
    let mut net = Sequential::default();
    let relu = Activation::RELU;
    let sizes = |input, output, conv| ConvSizes { input, output, conv };
    let mut c = config.ngf / 2 * (config.isize / 4);
    let name = names.next(format!("initial-{}-{c}-convt", config.nz));
    net.conv_transpose(name, sizes(config.nz, c, WHOLE), dtype)?;
    net.batch_norm(names.next(format!("initial-{c}-batchnorm")), c, relu, dtype)?;
    let mut size = 4;
    while size < config.isize / 2 {
        let name = names.next(format!("pyramid-{c}-{}-convt", c / 2));
        net.conv_transpose(name, sizes(c, c / 2, HALVE), dtype)?;
        (size, c) = (size * 2, c / 2);
        net.batch_norm(names.next(format!("pyramid-{c}-batchnorm")), c, relu, dtype)?;
    }
    for t in 0..config.extralayers {
        net.conv(names.next(format!("extra-layers-{t}-{c}-conv")), sizes(c, c, SAME), dtype)?;
        net.batch_norm(names.next(format!("extra-layers-{t}-{c}-batchnorm")), c, relu, dtype)?;
    }
    let name = names.next(format!("final-{c}-{}-convt", config.nc));
    net.conv_transpose(name, sizes(c, config.nc, HALVE), dtype)?;
    net.activation(Activation::Tanh);
    Ok(net)
}

/// x → z → x̂ → ẑ.
#[derive(Debug)]
pub struct Generator {
    /// G_E: image to latent vector z.
    pub encoder1: Sequential,
    /// G_D: latent vector to reconstruction x̂.
    pub decoder: Sequential,
    /// E: reconstruction to latent vector ẑ.
    pub encoder2: Sequential,
}

/// An encoder with one output, split at the features that the adversarial term uses.
#[derive(Debug)]
pub struct Discriminator {
    /// f: image to the last activation, `[N, 4, 4, c]`.
    pub features: Sequential,
    /// Features to one logit, `[N, 1, 1, 1]`; the sigmoid is applied elsewhere.
    pub classifier: Sequential,
}

impl Generator {
    pub(super) fn new(config: &GanomalyConfig, dtype: DType) -> Result<Self> {
        Ok(Self {
            encoder1: encoder(config, "netg.encoder1.main", dtype)?,
            decoder: decoder(config, "netg.decoder.main", dtype)?,
            encoder2: encoder(config, "netg.encoder2.main", dtype)?,
        })
    }
}

impl Discriminator {
    pub(super) fn new(config: &GanomalyConfig, dtype: DType) -> Result<Self> {
        let (features, c) = pyramid(config, Naming::Counted("netd.features"), dtype)?;
        let mut classifier = Sequential::default();
        let sizes = ConvSizes { input: c, output: 1, conv: WHOLE };
        classifier.conv("netd.classifier.0", sizes, dtype)?;
        Ok(Self { features, classifier })
    }
}

/// The same methods for both networks, with the chains in order.
macro_rules! chains {
    ($net:ty, $($chain:ident),+) => {
        impl $net {
            /// Draws new weights; running statistics are unchanged.
            pub fn initialise(&self, rng: &mut ChaCha8Rng) -> Result<()> {
                $(self.$chain.initialise(rng)?;)+
                Ok(())
            }

            /// The learnt tensors, chain by chain, in the kernels' layout.
            pub fn parameters(&self) -> Vec<Tensor> {
                let mut all = Vec::new();
                $(all.extend(self.$chain.parameters());)+
                all
            }

            /// Each batch normalisation's running mean and variance, `[C]`, chain by chain; they
            /// share storage with the layers.
            pub fn running_statistics(&self) -> Vec<Tensor> {
                let mut all = Vec::new();
                $(all.extend(self.$chain.running_statistics());)+
                all
            }

            /// The parameters' names in the same order.
            pub fn parameter_names(&self) -> Vec<String> {
                let mut all = Vec::new();
                $(all.extend(self.$chain.parameter_names());)+
                all
            }

            /// Everything in a weights file, with PyTorch's names and shapes.
            pub fn state(&self) -> Result<NamedTensors> {
                let mut all = Vec::new();
                $(all.extend(self.$chain.state()?);)+
                Ok(all)
            }

            /// Removes this network's tensors from `state` and loads them.
            pub fn load_state(&self, state: &mut HashMap<String, Tensor>) -> Result<()> {
                $(self.$chain.load_state(state)?;)+
                Ok(())
            }
        }
    };
}
chains!(Generator, encoder1, decoder, encoder2);
chains!(Discriminator, features, classifier);
