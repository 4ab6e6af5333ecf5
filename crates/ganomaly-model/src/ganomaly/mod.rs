//! GANomaly: an encoder-decoder-encoder generator and a discriminator (Akcay et al., ACCV 2018).
//!
//! Equation numbers in this module are the paper's (arXiv 1805.06725); file names are those of the
//! authors' code, samet-akcay/ganomaly at 78da4ea ("the reference").

mod config;
mod count;
mod networks;
mod score;
mod step;
mod training;
mod vars;

pub(crate) use config::require;
pub use config::{Adversarial, GanomalyConfig};
pub use networks::{Discriminator, Generator};
pub use score::Inference;
pub(crate) use step::both;
pub use step::{Forward, Losses, REINIT_BELOW, StepGradients};

use crate::graph::{Graph, Scoring, Traced, Value};
use crate::random::stream;
use crate::{BatchNormMode, Detector, Error, NamedTensors, Result, Scores};
use candle_core::{DType, Tensor};
use ganomaly_kernels::{Adam, AdamConfig};
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;

/// The random stream of weights, including the discriminator's re-initialisations.
const WEIGHTS: &[u8; 8] = b"weights ";

/// A GANomaly with its two optimisers.
#[derive(Debug)]
pub struct Ganomaly {
    config: GanomalyConfig,
    /// The generator: encoder, decoder, second encoder.
    pub netg: Generator,
    /// The discriminator.
    pub netd: Discriminator,
    adam_g: Adam,
    adam_d: Adam,
    rng: ChaCha8Rng,
    dtype: DType,
}

impl Ganomaly {
    /// A freshly initialised network in float32, its weights drawn from `seed`.
    pub fn new(config: GanomalyConfig, seed: u64) -> Result<Self> {
        Self::with_dtype(config, seed, DType::F32)
    }

    /// As [`Self::new`], in float32 or float64.
    pub fn with_dtype(config: GanomalyConfig, seed: u64, dtype: DType) -> Result<Self> {
        config.check()?;
        let (netg, netd) = (Generator::new(&config, dtype)?, Discriminator::new(&config, dtype)?);
        let mut rng = stream(seed, WEIGHTS);
        netg.initialise(&mut rng)?;
        netd.initialise(&mut rng)?;
        let adam = AdamConfig {
            lr: config.lr,
            beta1: config.beta1,
            beta2: config.beta2,
            ..Default::default()
        };
        Ok(Self {
            adam_g: Adam::new(netg.parameters(), adam)?,
            adam_d: Adam::new(netd.parameters(), adam)?,
            config,
            netg,
            netd,
            rng,
            dtype,
        })
    }

    /// The network's settings.
    pub fn config(&self) -> &GanomalyConfig {
        &self.config
    }

    /// Draws the parameters for a re-initialisation of the discriminator, in the order of its
    /// `parameters()`.
    pub fn draw_discriminator(&mut self) -> Result<Vec<Tensor>> {
        let netd = Discriminator::new(&self.config, self.dtype)?;
        netd.initialise(&mut self.rng)?;
        Ok(netd.parameters())
    }

    /// Adds steps that were taken elsewhere to the batch counters of batch normalisation.
    pub fn count_steps(&self, steps: usize) {
        let steps = i64::try_from(steps).unwrap_or(i64::MAX);
        for chain in [&self.netg.encoder1, &self.netg.decoder, &self.netg.encoder2] {
            chain.count_batches(steps);
        }
        self.netd.features.count_batches(4 * steps);
    }

    /// Checks a batch's shape and converts it to the network's type and layout.
    fn input(&self, x: &Tensor) -> Result<Tensor> {
        let GanomalyConfig { isize: size, nc, .. } = self.config;
        match *x.dims() {
            [n, c, h, w] if n > 0 && c == nc && h == size && w == size => {
                Ok(ganomaly_kernels::layout::nhwc_from_nchw(&x.to_dtype(self.dtype)?)?)
            }
            _ => Err(Error::BatchShape { got: x.dims().to_vec(), channels: nc, size }),
        }
    }
}

impl Detector for Ganomaly {
    fn train_step(&mut self, x: &Tensor) -> Result<Vec<(&'static str, f64)>> {
        Ok(self.step(x)?.named())
    }

    fn score(&self, x: &Tensor, mode: BatchNormMode) -> Result<Scores> {
        rayon::scope(|_| self.infer(x, mode)?.scores())
    }

    fn code(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.input(x)?;
        Ok(self.netg.encoder1.infer(&x, BatchNormMode::Running)?.flatten_from(1)?)
    }

    fn reconstruct(&self, x: &Tensor, mode: BatchNormMode) -> Result<Tensor> {
        let x = self.input(x)?;
        let fake = self.netg.decoder.infer(&self.netg.encoder1.infer(&x, mode)?, mode)?;
        Ok(ganomaly_kernels::layout::nchw_from_nhwc(&fake)?)
    }

    fn graph(&self, graph: &mut Graph, x: &Value) -> Result<Scoring> {
        let latent_i = self.netg.encoder1.trace(graph, x.clone())?;
        let fake = self.netg.decoder.trace(graph, latent_i.clone())?;
        let latent_o = self.netg.encoder2.trace(graph, fake.clone())?;
        let scores = vec![
            ("l2".into(), graph.error(&latent_i, &latent_o, true)),
            ("l1".into(), graph.error(&latent_i, &latent_o, false)),
            ("con".into(), graph.error(x, &fake, false)),
        ];
        Ok(Scoring { scores, reconstruction: fake })
    }

    fn state(&self) -> Result<NamedTensors> {
        let mut state = self.netg.state()?;
        state.extend(self.netd.state()?);
        Ok(state)
    }

    fn load_state(&mut self, state: &NamedTensors) -> Result<()> {
        let before = self.state()?;
        // A partly loaded network is worse than the old one.
        self.replace_state(state).inspect_err(|_| {
            let _ = self.replace_state(&before);
        })
    }

    fn training_state(&self) -> Result<NamedTensors> {
        self.training()
    }

    fn load_training_state(&mut self, state: &NamedTensors) -> Result<()> {
        self.load_training(state)
    }

    fn set_learning_rate(&mut self, lr: f64) {
        self.adam_g.set_lr(lr);
        self.adam_d.set_lr(lr);
    }
}

impl Ganomaly {
    fn replace_state(&self, state: &NamedTensors) -> Result<()> {
        let mut state: HashMap<String, Tensor> = state.iter().cloned().collect();
        self.netg.load_state(&mut state)?;
        self.netd.load_state(&mut state)?;
        match state.keys().min() {
            None => Ok(()),
            Some(name) => Err(Error::Weights(format!(
                "the weights hold {} tensors that this network does not have, {name:?} among them",
                state.len()
            ))),
        }
    }
}
