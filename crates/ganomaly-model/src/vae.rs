//! A variational autoencoder (Kingma & Welling, ICLR 2014) with GANomaly's encoder and decoder: the
//! baseline that the paper compares with. Nobody published its code; networks, loss and scores are
//! those of tools/golden.
//!
//! Images are `[N, nc, S, S]`, latent vectors `[N, nz, 1, 1]`. The likelihood of an image is a
//! normal distribution around the reconstruction with variance ½, without its constant.

use crate::ganomaly::{GanomalyConfig, require};
use crate::graph::{Graph, Scoring, Traced, Value};
use crate::net::{Net, number};
use crate::random::{normal, stream};
use crate::reference::{decoder, encoder};
use crate::variables::{Network, VarDetector, Variables};
use crate::{BatchNormMode, Detector, Input, Names, Result, Scores, Settings};
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};
use candle_nn::ModuleT;
use ganomaly_kernels::AdamConfig;
use ganomaly_kernels::autograd::{channels_last, mse};
use ganomaly_kernels::loss::image_errors;
use serde::{Deserialize, Serialize};

/// Sizes and optimiser settings.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct VaeConfig {
    /// Length of the latent vector.
    pub nz: usize,
    /// Features of the first convolution; they double at each level.
    pub ngf: usize,
    /// As GANomaly's.
    pub extralayers: usize,
    /// Latent vectors drawn for an image's score.
    pub draws: usize,
    /// Adam's learning rate.
    pub lr: f64,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
}

impl Default for VaeConfig {
    fn default() -> Self {
        let (lr, beta1, beta2) = (1e-3, 0.9, 0.999);
        Self { nz: 100, ngf: 64, extralayers: 0, draws: 8, lr, beta1, beta2 }
    }
}

impl Settings for VaeConfig {
    const DETECTOR: &'static str = "vae";

    const NAMES: Names = Names {
        // The negative evidence lower bound, a mean over the draws; the squared error of what the
        // mean latent vector gives, summed over the image.
        scores: &["nelbo", "rec"],
        reconstruction: "rec",
        headlines: &["rec", "kl"],
    };

    fn check(&self, input: Input) -> Result<()> {
        let draws = self.draws;
        require("draws", draws, (1..=1000).contains(&draws), "use 1 to 1000")?;
        self.ganomaly(input, self.nz).check()
    }

    fn build(&self, input: Input, seed: u64) -> Result<Box<dyn Detector>> {
        Ok(Box::new(Vae::detector(self, input, seed, DType::F32)?))
    }

    fn least_weights(&self, input: Input) -> u64 {
        self.ganomaly(input, self.nz).least_weights()
    }
}

impl VaeConfig {
    /// GANomaly's settings with these sizes.
    fn ganomaly(&self, input: Input, nz: usize) -> GanomalyConfig {
        let Self { ngf, extralayers, lr, beta1, beta2, .. } = *self;
        let own = GanomalyConfig { nz, ngf, extralayers, lr, beta1, beta2, ..Default::default() };
        own.of(input)
    }
}

/// The networks.
#[derive(Debug)]
pub struct Vae {
    input: Input,
    nz: usize,
    draws: usize,
    seed: u64,
    /// Image to mean and log variance of the latent vector; latent vector to image.
    nets: [Net; 2],
    frozen: [Net; 2],
}

/// What the networks make of a batch.
#[derive(Debug)]
pub struct Pass {
    /// The mean of the latent vectors, `[N, nz, 1, 1]`.
    pub mu: Tensor,
    /// The logarithm of their variance.
    pub logvar: Tensor,
    /// The reconstruction of each of the draws, `[N, nc, S, S]`.
    pub fakes: Vec<Tensor>,
}

/// A step's forward pass, its losses by name, and the gradients of their sum.
pub type Step = (Pass, Vec<(&'static str, f64)>, GradStore);

impl Pass {
    /// KL divergence of each image's latent distribution from N(0, 1), `[N]`.
    pub fn kl(&self) -> Result<Tensor> {
        let terms = ((self.mu.sqr()? + self.logvar.exp()?)? - &self.logvar)?;
        Ok(((terms - 1.0)? * 0.5)?.flatten_from(1)?.sum(1)?)
    }
}

impl Vae {
    /// The detector, its weights drawn from the seed, in float32 or float64.
    pub fn detector(
        config: &VaeConfig,
        input: Input,
        seed: u64,
        dtype: DType,
    ) -> Result<VarDetector<Self>> {
        config.check(input)?;
        let VaeConfig { nz, draws, lr, beta1, beta2, .. } = *config;
        let adam = AdamConfig { lr, beta1, beta2, ..Default::default() };
        VarDetector::new(input, seed, dtype, &[("", adam)], |vb| {
            let nets = [
                encoder(&config.ganomaly(input, 2 * nz), vb.pp("encoder.main"))?,
                decoder(&config.ganomaly(input, nz), vb.pp("decoder.main"))?,
            ];
            let frozen = [nets[0].frozen()?, nets[1].frozen()?];
            Ok(Self { input, nz, draws, seed, nets, frozen })
        })
    }

    /// The draws of scoring, `[1, nz, 1, 1]` each: the same for every image, so that a score does not
    /// depend on the others.
    fn noises(&self, dtype: DType) -> Result<Vec<Tensor>> {
        let mut rng = stream(self.seed, b"vaescore");
        let mut noise = || normal(&mut rng, (0.0, 1.0), &[1, self.nz, 1, 1], dtype);
        (0..self.draws).map(|_| Ok(noise()?)).collect()
    }

    /// Encodes a batch and decodes a latent vector for each noise, `[N or 1, nz, 1, 1]` from
    /// N(0, 1).
    fn pass(&self, nets: &[Net; 2], x: &Tensor, train: bool, noises: &[Tensor]) -> Result<Pass> {
        let latent = nets[0].forward_t(x, train)?.contiguous()?;
        let (mu, logvar) = (latent.narrow(1, 0, self.nz)?, latent.narrow(1, self.nz, self.nz)?);
        let deviation = (&logvar * 0.5)?.exp()?;
        let fake = |noise: &Tensor| {
            let z = (&mu + deviation.broadcast_mul(noise)?)?;
            Ok(nets[1].forward_t(&z, train)?)
        };
        let fakes = noises.iter().map(fake).collect::<Result<_>>()?;
        Ok(Pass { mu, logvar, fakes })
    }

    /// Forward pass, losses and gradients of a training step with this noise, `[N, nz, 1, 1]`.
    /// Running statistics move.
    pub fn gradients(&self, x: &Tensor, noise: Tensor) -> Result<Step> {
        let pass = self.pass(&self.nets, x, true, &[noise])?;
        let numbers = x.elem_count() / x.dim(0)?;
        let rec = (mse(&pass.fakes[0], x)? * numbers as f64)?;
        let kl = pass.kl()?.mean(0)?;
        let loss = (&rec + &kl)?;
        let losses = vec![("loss", number(&loss)?), ("rec", number(&rec)?), ("kl", number(&kl)?)];
        Ok((pass, losses, loss.backward()?))
    }

    /// Steps the optimiser.
    pub fn update(&self, gradients: &GradStore, variables: &mut Variables) -> Result<()> {
        variables.step(0, gradients)?;
        variables.count_batches("", 1)
    }

    /// What scoring needs, without learning: a latent vector for each noise.
    pub fn infer(&self, x: &Tensor, mode: BatchNormMode, noises: &[Tensor]) -> Result<Pass> {
        match mode {
            BatchNormMode::Running => self.pass(&self.frozen, x, false, noises),
            BatchNormMode::Batch => {
                let nets = [self.nets[0].by_batch()?, self.nets[1].by_batch()?];
                self.pass(&nets, x, true, noises)
            }
        }
    }

    /// Both scores of each image, for these noises.
    pub fn scores(&self, x: &Tensor, mode: BatchNormMode, noises: &[Tensor]) -> Result<Scores> {
        let numbers = (x.elem_count() / x.dim(0)?) as f64;
        let errors = |fake: &Tensor| -> Result<Vec<f64>> {
            let squares = image_errors(&channels_last(x)?, &channels_last(fake)?)?.1;
            Ok(squares.into_iter().map(|square| square * numbers).collect())
        };
        let none = noises[0].zeros_like()?;
        let pass = self.infer(x, mode, &[&[none], noises].concat())?;
        let rec = errors(&pass.fakes[0])?;
        let mut nelbo = pass.kl()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        for fake in &pass.fakes[1..] {
            for (sum, error) in nelbo.iter_mut().zip(errors(fake)?) {
                *sum += error / noises.len() as f64;
            }
        }
        Ok(Scores::new([("nelbo", nelbo), ("rec", rec)]))
    }
}

impl Network for Vae {
    fn train_step(
        &mut self,
        x: &Tensor,
        variables: &mut Variables,
    ) -> Result<Vec<(&'static str, f64)>> {
        let mut rng = stream(self.seed, b"vae step");
        // A stream for each step, so that there is no position to resume from.
        rng.set_stream(variables.steps(0));
        let noise = normal(&mut rng, (0.0, 1.0), &[x.dim(0)?, self.nz, 1, 1], x.dtype())?;
        // One scope, so that the workers stay awake between operations.
        let (_, losses, gradients) = rayon::scope(|_| self.gradients(x, noise))?;
        self.update(&gradients, variables)?;
        Ok(losses)
    }

    fn score(&self, x: &Tensor, mode: BatchNormMode) -> Result<Scores> {
        let noises = self.noises(x.dtype())?;
        rayon::scope(|_| self.scores(x, mode, &noises))
    }

    fn code(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.infer(x, BatchNormMode::Running, &[])?.mu.flatten_from(1)?.contiguous()?)
    }

    fn reconstruct(&self, x: &Tensor, mode: BatchNormMode) -> Result<Tensor> {
        let none = Tensor::zeros((1, self.nz, 1, 1), x.dtype(), x.device())?;
        Ok(self.infer(x, mode, &[none])?.fakes[0].clone())
    }

    fn graph(&self, graph: &mut Graph, x: &Value) -> Result<Scoring> {
        let latent = self.frozen[0].trace(graph, x.clone())?;
        let mu = graph.slice(&latent, 1, 0, self.nz)?;
        let logvar = graph.slice(&latent, 1, self.nz, 2 * self.nz)?;
        let half = graph.weighted(&[(&logvar, 0.5)])?;
        let deviation = graph.op("Exp", &[&half], Vec::new());
        // The mean first, then every draw, all as one batch.
        let mut latents = vec![mu.clone()];
        for noise in self.noises(DType::F32)? {
            let noise = graph.constant(&noise)?;
            let off = graph.op("Mul", &[&deviation, &noise], Vec::new());
            latents.push(graph.op("Add", &[&mu, &off], Vec::new()));
        }
        let all = graph.concat(&latents.iter().collect::<Vec<_>>(), 0);
        let made = self.frozen[1].trace(graph, all)?;
        let fakes = graph.parts(&made, latents.len());
        let numbers = self.input.channels * self.input.side * self.input.side;
        let errors: Vec<Value> = fakes.iter().map(|fake| graph.error(x, fake, true)).collect();
        let rec = graph.weighted(&[(&errors[0], numbers as f64)])?;
        // KL: the sum over z of (µ² + σ² − 1 − ln σ²) / 2.
        let square = graph.op("Mul", &[&mu, &mu], Vec::new());
        let variance = graph.op("Exp", &[&logvar], Vec::new());
        let terms = graph.op("Add", &[&square, &variance], Vec::new());
        let terms = graph.op("Sub", &[&terms, &logvar], Vec::new());
        let mean = graph.mean(&terms, &[1, 2, 3]);
        let one = graph.number(1.0)?;
        let mean = graph.op("Sub", &[&mean, &one], Vec::new());
        let mut terms = vec![(&mean, 0.5 * self.nz as f64)];
        let each = numbers as f64 / (errors.len() - 1) as f64;
        terms.extend(errors[1..].iter().map(|error| (error, each)));
        let nelbo = graph.weighted(&terms)?;
        let scores = vec![("nelbo".into(), nelbo), ("rec".into(), rec)];
        Ok(Scoring { scores, reconstruction: fakes[0].clone() })
    }
}
