//! A detector of one's own, as a whole program: a convolutional autoencoder. Its score is its
//! reconstruction error.
//!
//!     cargo run --release -p ganomaly --example autoencoder -- sweep crates/ganomaly/examples/autoencoder.toml

use candle_core::{DType, Tensor};
use candle_nn::{Module, VarBuilder};
use ganomaly::Registry;
use ganomaly_kernels::autograd::{
    Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig, conv_transpose2d, conv2d, mse,
};
use ganomaly_kernels::{Activation, AdamConfig};
use ganomaly_model::variables::{Network, VarDetector, Variables};
use ganomaly_model::{BatchNormMode, Detector, Error, Input, Names, Result, Scores, Settings};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

/// Its settings, the keys in experiments' files.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct AutoencoderConfig {
    nz: usize, // length of the latent vector
    nf: usize, // features of the first convolution; they double at each level
    lr: f64,   // Adam's learning rate
}

impl Default for AutoencoderConfig {
    fn default() -> Self {
        Self { nz: 32, nf: 16, lr: 1e-3 }
    }
}

impl Settings for AutoencoderConfig {
    const DETECTOR: &'static str = "autoencoder";
    const NAMES: Names = Names { scores: &["rec"], reconstruction: "rec", headlines: &["rec"] };

    fn check(&self, input: Input) -> Result<()> {
        let wrong = |setting, value: String, wanted: &str| {
            Err(Error::Config { setting, value, wanted: wanted.into() })
        };
        if !input.side.is_power_of_two() || !(8..=256).contains(&input.side) {
            return wrong("isize", input.side.to_string(), "use 8, 16, 32, 64, 128 or 256");
        }
        let (nz, lr) = (self.nz, self.lr);
        if !(1..=4096).contains(&nz) || !(1..=256).contains(&self.nf) {
            return wrong("nz", nz.to_string(), "use 1 to 4096, and an nf of 1 to 256");
        }
        if !lr.is_finite() || lr <= 0.0 {
            return wrong("lr", lr.to_string(), "use a number above 0");
        }
        Ok(())
    }

    fn build(&self, input: Input, seed: u64) -> Result<Box<dyn Detector>> {
        let adam = AdamConfig { lr: self.lr, ..Default::default() };
        let network = |vb: &VarBuilder<'_>| Autoencoder::new(self, input, vb);
        Ok(Box::new(VarDetector::new(input, seed, DType::F32, &[("", adam)], network)?))
    }
}

struct Autoencoder {
    encoder: Vec<Conv2d>,
    decoder: Vec<ConvTranspose2d>,
}

impl Autoencoder {
    fn new(config: &AutoencoderConfig, input: Input, vb: &VarBuilder<'_>) -> Result<Self> {
        let half = Conv2dConfig { stride: 2, padding: 1, ..Default::default() };
        let double = ConvTranspose2dConfig { stride: 2, padding: 1, ..Default::default() };
        // From the image to 4×4 features.
        let mut channels = vec![input.channels];
        channels.extend((0..(input.side / 4).ilog2()).map(|level| config.nf << level));
        let (mut encoder, mut decoder) = (Vec::new(), Vec::new());
        for (at, pair) in channels.windows(2).enumerate() {
            let conv = conv2d(pair[0], pair[1], 4, half, vb.pp(format!("encoder.{at}")))?;
            encoder.push(conv.then(Activation::LeakyRelu(0.2)));
            let conv =
                conv_transpose2d(pair[1], pair[0], 4, double, vb.pp(format!("decoder.{at}")))?;
            let then = if at == 0 { Activation::Tanh } else { Activation::RELU };
            decoder.push(conv.then(then));
        }
        let last = channels[channels.len() - 1];
        encoder.push(conv2d(last, config.nz, 4, Conv2dConfig::default(), vb.pp("encoder.last"))?);
        let whole = ConvTranspose2dConfig::default();
        let first = conv_transpose2d(config.nz, last, 4, whole, vb.pp("decoder.first"))?;
        decoder.push(first.then(Activation::RELU));
        decoder.reverse();
        Ok(Self { encoder, decoder })
    }

    fn decode(&self, z: &Tensor) -> Result<Tensor> {
        Ok(self.decoder.iter().try_fold(z.clone(), |z, layer| layer.forward(&z))?)
    }

    fn encode(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.encoder.iter().try_fold(x.clone(), |x, layer| layer.forward(&x))?)
    }
}

impl Network for Autoencoder {
    fn train_step(
        &mut self,
        x: &Tensor,
        variables: &mut Variables,
    ) -> Result<Vec<(&'static str, f64)>> {
        let loss = mse(&self.decode(&self.encode(x)?)?, x)?;
        variables.step(0, &loss.backward()?)?;
        Ok(vec![("rec", loss.to_dtype(DType::F64)?.to_scalar()?)])
    }

    fn score(&self, x: &Tensor, mode: BatchNormMode) -> Result<Scores> {
        let errors = (self.reconstruct(x, mode)? - x)?.sqr()?.flatten_from(1)?.mean(1)?;
        Ok(Scores::new([("rec", errors.to_dtype(DType::F64)?.to_vec1()?)]))
    }

    fn code(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.encode(x)?.flatten_from(1)?)
    }

    // Without batch norms, both modes are the same.
    fn reconstruct(&self, x: &Tensor, _: BatchNormMode) -> Result<Tensor> {
        self.decode(&self.encode(x)?)
    }
}

fn main() -> ExitCode {
    ganomaly::main(Registry::builtin().detector::<AutoencoderConfig>())
}
