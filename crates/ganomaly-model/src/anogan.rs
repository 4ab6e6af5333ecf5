//! AnoGAN (Schlegl et al., IPMI 2017): a GAN, and for each image a search for the latent vector that
//! the generator makes it from.
//!
//! As in the code that EGBAD's authors compare with, `gan/` of
//! houssamzenati/Efficient-GAN-Anomaly-Detection at 15568ab; its arithmetic is in `bigan.rs`. Not
//! taken over: the search of a batch there starts with the moments of the one before, so that scores
//! depend on it.

use crate::bigan::{LEAKY, Place, adam, check, check_adam, draws, move_averages, start, sums};
use crate::ganomaly::require;
use crate::net::{Layer, Net, bce, number};
use crate::random::{normal, stream};
use crate::variables::{Network, VarDetector, Variables};
use crate::{BatchNormMode, Detector, Input, Names, Result, Scores, Settings};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::ModuleT;
use ganomaly_kernels::autograd::l1;
use ganomaly_kernels::{Activation, Adam};
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

/// Learning rates of the search's three parts.
const SEARCH_LR: [f64; 3] = [0.01, 0.001, 0.0005];
/// The search's decay of the first moment.
const SEARCH_BETA1: f64 = 0.9;
/// Where the normal distribution that the search starts from is cut.
const CUT: f64 = 2.0;

/// Sizes and optimiser settings, with the published defaults.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnoganConfig {
    /// Length of the latent vector.
    pub nz: usize,
    /// Multiplies the width of every layer.
    pub width: f64,
    /// The discriminator's share in the score; the rest is the reconstruction's error.
    pub weight: f64,
    /// Updates of an image's latent vector.
    pub search_steps: usize,
    /// The updates after which the search's learning rate falls to a tenth, and to half of that.
    pub search_boundaries: [usize; 2],
    /// Whether the search uses the averages of the discriminator's weights, as of the generator's.
    /// The published code means to, and uses the weights themselves.
    pub search_averages: bool,
    /// Adam's learning rate.
    pub lr: f64,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
}

impl Default for AnoganConfig {
    fn default() -> Self {
        Self {
            nz: 200,
            width: 1.0,
            weight: 0.1,
            search_steps: 500,
            search_boundaries: [200, 300],
            search_averages: true,
            lr: 1e-5,
            beta1: 0.5,
            beta2: 0.999,
        }
    }
}

impl Settings for AnoganConfig {
    const DETECTOR: &'static str = "anogan";

    const NAMES: Names = Names {
        // The search's loss at its end; the part of it that is the image's.
        scores: &["fm", "rec"],
        reconstruction: "rec",
        headlines: &["loss_generator", "loss_discriminator"],
    };

    fn check(&self, input: Input) -> Result<()> {
        check(input, self.nz, self.width, self.weight)?;
        let steps = self.search_steps;
        require("search_steps", steps, steps <= 100_000, "use 0 to 100000")?;
        check_adam(self.lr, self.beta1, self.beta2)
    }

    fn build(&self, input: Input, seed: u64) -> Result<Box<dyn Detector>> {
        Ok(Box::new(Anogan::detector(self, input, seed, DType::F32)?))
    }
}

/// Generator, discriminator to the features, and from there to one logit.
type Nets = [Net; 3];

fn nets(place: &Place<'_>, input: Input, nz: usize) -> Result<Nets> {
    let d = place.pp("netd");
    let layer = |n: usize| d.pp(&format!("layer_{n}"));
    let (c, f) = (d.width(64), d.width(1024));
    let flat = c * (input.side / 4) * (input.side / 4);
    let features = Net(vec![
        layer(1).half(input.channels, c, LEAKY)?,
        layer(2).half(c, c, Activation::Identity)?,
        layer(2).norm(c, LEAKY)?,
        Layer::Flatten,
        layer(3).dense(flat, f, Activation::Identity)?,
        layer(3).dense_norm(f, LEAKY)?,
    ]);
    let logit = Net(vec![layer(4).dense(f, 1, Activation::Identity)?]);
    Ok([place.generator(input, nz)?, features, logit])
}

fn map(nets: &Nets, f: impl Fn(&Net) -> Result<Net>) -> Result<Nets> {
    let [a, b, c] = nets;
    Ok([f(a)?, f(b)?, f(c)?])
}

/// The networks.
#[derive(Debug)]
pub struct Anogan {
    config: AnoganConfig,
    seed: u64,
    nets: Nets,
    /// Constant, by the batch's statistics.
    constant: Nets,
    /// What the search uses: constant, with averages of the weights.
    searched: Nets,
}

/// What one half of a step computed.
#[derive(Debug)]
pub struct Half {
    /// The generated images, `[N, nc, S, S]`.
    pub g_z: Tensor,
    /// Features, `[N, F, 1, 1]`, of the real images, if there are any, and of the generated ones.
    pub features: Vec<Tensor>,
    /// Their logits.
    pub logits: Vec<Tensor>,
    /// By their published names.
    pub losses: Vec<(&'static str, f64)>,
    /// Of the loss of the network that learns in this half.
    pub gradients: GradStore,
}

/// Where a search is.
#[derive(Debug)]
pub struct Found {
    /// The latent vectors, `[N, nz, 1, 1]`.
    pub z: Tensor,
    /// What the generator makes of them.
    pub fake: Tensor,
    /// Each image's sum of absolute differences.
    pub rec: Vec<f64>,
    /// Each image's sum of absolute differences of the features.
    pub fm: Vec<f64>,
}

impl Anogan {
    /// The detector, its weights drawn from the seed, in float32 or float64.
    pub fn detector(
        config: &AnoganConfig,
        input: Input,
        seed: u64,
        dtype: DType,
    ) -> Result<VarDetector<Self>> {
        config.check(input)?;
        let adam = adam(config.lr, config.beta1, config.beta2);
        let optimisers = [("netd.", adam), ("netg.", adam)];
        let detector = VarDetector::new(input, seed, dtype, &optimisers, |vb| {
            let nets = |average| nets(&Place::new(vb, average, config.width), input, config.nz);
            let (nets, average) = (nets(false)?, nets(true)?);
            let mut searched = map(&average, Net::frozen)?;
            if !config.search_averages {
                searched[1] = nets[1].frozen()?;
                searched[2] = nets[2].frozen()?;
            }
            let constant = map(&nets, Net::by_batch)?;
            Ok(Self { config: config.clone(), seed, nets, constant, searched })
        })?;
        start(&detector.variables)?;
        Ok(detector)
    }

    /// The discriminator's half of a step. Its running statistics move twice.
    pub fn discriminate(&self, x: &Tensor, z: &Tensor) -> Result<Half> {
        let g_z = self.constant[0].forward_t(z, true)?;
        let feat_real = self.nets[1].forward_t(x, true)?;
        let feat_fake = self.nets[1].forward_t(&g_z, true)?;
        let logits =
            [&feat_real, &feat_fake].map(|features| self.nets[2].forward_t(features, true));
        let [logit_real, logit_fake] = logits;
        let (logit_real, logit_fake) = (logit_real?, logit_fake?);
        let (real, fake) = (bce(&logit_real, 1.0)?, bce(&logit_fake, 0.0)?);
        let loss = (&real + &fake)?;
        let losses = vec![
            ("loss_discriminator", number(&loss)?),
            ("loss_dis_real", number(&real)?),
            ("loss_dis_fake", number(&fake)?),
        ];
        let (features, logits) = (vec![feat_real, feat_fake], vec![logit_real, logit_fake]);
        Ok(Half { g_z, features, logits, losses, gradients: loss.backward()? })
    }

    /// The generator's half of a step. Its running statistics move once.
    pub fn generate(&self, z: &Tensor) -> Result<Half> {
        let g_z = self.nets[0].forward_t(z, true)?;
        let features = self.constant[1].forward_t(&g_z, true)?;
        let logits = self.constant[2].forward_t(&features, true)?;
        let loss = bce(&logits, 1.0)?;
        let losses = vec![("loss_generator", number(&loss)?)];
        let (features, logits) = (vec![features], vec![logits]);
        Ok(Half { g_z, features, logits, losses, gradients: loss.backward()? })
    }

    /// Both halves of a step, each with its latent vectors, `[N, nz, 1, 1]`.
    pub fn step(
        &self,
        x: &Tensor,
        z: &[Tensor; 2],
        variables: &mut Variables,
    ) -> Result<[Half; 2]> {
        let first = self.discriminate(x, &z[0])?;
        move_averages(variables, "netd.")?;
        variables.step(0, &first.gradients)?;
        let second = self.generate(&z[1])?;
        move_averages(variables, "netg.")?;
        variables.step(1, &second.gradients)?;
        Ok([first, second])
    }

    /// Searches the latent vectors of a batch, from `z`, `[N, nz, 1, 1]`. `watch` sees the search
    /// after each number of updates, none included.
    pub fn search(
        &self,
        x: &Tensor,
        z: &Tensor,
        mode: BatchNormMode,
        watch: &mut dyn FnMut(usize, &Found) -> Result<()>,
    ) -> Result<Found> {
        let train = mode == BatchNormMode::Batch;
        let by_batch;
        let [netg, features, _] = match mode {
            BatchNormMode::Running => &self.searched,
            BatchNormMode::Batch => {
                by_batch = map(&self.searched, Net::by_batch)?;
                &by_batch
            }
        };
        let z = Var::from_tensor(z)?;
        let start = adam(SEARCH_LR[0], SEARCH_BETA1, 0.999);
        let mut optimiser = Adam::new(vec![z.as_tensor().clone()], start)?;
        let feat_real = features.forward_t(x, train)?.detach();
        let (image, feature) = (x.elem_count() as f64, feat_real.elem_count() as f64);
        loop {
            let update = optimiser.steps() as usize;
            let fake = netg.forward_t(z.as_tensor(), train)?;
            let feat_fake = features.forward_t(&fake, train)?;
            let (rec, fm) = (sums(x, &fake.detach())?, sums(&feat_real, &feat_fake.detach())?);
            let found = Found { z: z.as_tensor().copy()?, fake: fake.detach(), rec, fm };
            watch(update, &found)?;
            if update == self.config.search_steps {
                return Ok(found);
            }
            let weight = self.config.weight;
            let loss = ((l1(&fake, x)? * (image * (1.0 - weight)))?
                + (l1(&feat_fake, &feat_real)? * (feature * weight))?)?;
            let part = self.config.search_boundaries.iter().filter(|&&end| update > end).count();
            optimiser.set_lr(SEARCH_LR[part]);
            let gradients = loss.backward()?;
            let gradient = gradients.get(&z).map(Tensor::contiguous).transpose()?;
            optimiser.step(&[gradient.map_or_else(|| z.zeros_like(), Ok)?])?;
        }
    }

    /// The search from the one start that all images have, so that a score does not depend on the
    /// others.
    fn found(&self, x: &Tensor, mode: BatchNormMode) -> Result<Found> {
        let mut rng = stream(self.seed, b"search  ");
        let cut = std::iter::repeat_with(|| StandardNormal.sample(&mut rng));
        let cut: Vec<f64> = cut.filter(|z: &f64| z.abs() < CUT).take(self.config.nz).collect();
        let z = Tensor::new(cut, &Device::Cpu)?.to_dtype(x.dtype())?;
        let z = z.reshape((1, self.config.nz, 1, 1))?;
        let z = z.broadcast_as((x.dim(0)?, self.config.nz, 1, 1))?.contiguous()?;
        rayon::scope(|_| self.search(x, &z, mode, &mut |_, _| Ok(())))
    }
}

impl Network for Anogan {
    fn train_step(
        &mut self,
        x: &Tensor,
        variables: &mut Variables,
    ) -> Result<Vec<(&'static str, f64)>> {
        let mut rng = draws(self.seed, variables.steps(0));
        let shape = [x.dim(0)?, self.config.nz, 1, 1];
        let mut z = || normal(&mut rng, (0.0, 1.0), &shape, x.dtype());
        let z = [z()?, z()?];
        // One scope, so that the workers stay awake between operations.
        let [first, second] = rayon::scope(|_| self.step(x, &z, variables))?;
        Ok([first.losses, second.losses].concat())
    }

    fn score(&self, x: &Tensor, mode: BatchNormMode) -> Result<Scores> {
        let Found { rec, fm, .. } = self.found(x, mode)?;
        let weight = self.config.weight;
        let both = rec.iter().zip(&fm).map(|(rec, fm)| (1.0 - weight) * rec + weight * fm);
        Ok(Scores::new([("fm", both.collect()), ("rec", rec)]))
    }

    /// The discriminator's features; the latent vector would take a search.
    fn code(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.searched[1].forward_t(x, false)?.flatten_from(1)?)
    }

    fn reconstruct(&self, x: &Tensor, mode: BatchNormMode) -> Result<Tensor> {
        Ok(self.found(x, mode)?.fake)
    }
}
