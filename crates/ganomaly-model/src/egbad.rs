//! EGBAD (Zenati et al., 2018): a BiGAN whose discriminator sees images with their latent vectors.
//!
//! As in the authors' code, houssamzenati/Efficient-GAN-Anomaly-Detection at 15568ab; its arithmetic
//! is in `bigan.rs`. One difference: the second half of a step, which trains generator and encoder,
//! sees the same images as the first, not those of a second shuffle.

use crate::bigan::{LEAKY, Place, adam, draws, mask, move_averages, start, sums, times};
use crate::ganomaly::require;
use crate::net::{Layer, Net, bce, named, number};
use crate::random::normal;
use crate::variables::{Network, VarDetector, Variables};
use crate::{BatchNormMode, Detector, Input, NamedTensors, Names, Result, Scores, Settings};
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};
use candle_nn::ModuleT;
use ganomaly_kernels::Activation;
use ganomaly_kernels::autograd::{cat_channels, masked};
use serde::{Deserialize, Serialize};

/// Sizes and optimiser settings, with the published defaults.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgbadConfig {
    /// Length of the latent vector.
    pub nz: usize,
    /// Multiplies the width of every layer.
    pub width: f64,
    /// The discriminator's share in the scores; the rest is the reconstruction's error.
    pub weight: f64,
    /// Adam's learning rate.
    pub lr: f64,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
}

impl Default for EgbadConfig {
    fn default() -> Self {
        Self { nz: 200, width: 1.0, weight: 0.1, lr: 1e-5, beta1: 0.5, beta2: 0.999 }
    }
}

impl Settings for EgbadConfig {
    const DETECTOR: &'static str = "egbad";

    const NAMES: Names = Names {
        // The weighted sum of rec and the difference of the discriminator's features; that of rec
        // and the discriminator's cross-entropy; the sum of absolute differences of the image.
        scores: &["fm", "ce", "rec"],
        reconstruction: "rec",
        headlines: &["loss_generator", "loss_discriminator"],
    };

    fn check(&self, input: Input) -> Result<()> {
        let Self { nz, width, weight, lr, beta1, beta2 } = *self;
        check(input, nz, width, weight)?;
        check_adam(lr, beta1, beta2)
    }

    fn build(&self, input: Input, seed: u64) -> Result<Box<dyn Detector>> {
        Ok(Box::new(Egbad::detector(self, input, seed, DType::F32)?))
    }
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

/// What dropout multiplies each of the discriminator's four dropped layers with: two of x, then z,
/// then both.
pub type Masks = [Tensor; 4];

#[derive(Debug)]
struct Discriminator {
    /// Two of x, then z, then both to the features, then the features to one logit.
    layers: [Net; 5],
}

impl Discriminator {
    fn new(place: &Place<'_>, input: Input, nz: usize) -> Result<Self> {
        let place = place.pp("netd");
        let (c, z, f) = (place.width(64), place.width(512), place.width(1024));
        let flat = c * (input.side / 4) * (input.side / 4);
        let (x1, x2) = (place.pp("x_layer_1"), place.pp("x_layer_2"));
        let layers = [
            vec![x1.half(input.channels, c, LEAKY)?],
            vec![x2.half(c, c, Activation::Identity)?, x2.norm(c, LEAKY)?],
            vec![place.pp("z_layer_1").dense(nz, z, LEAKY)?],
            vec![place.pp("y_layer_1").dense(flat + z, f, LEAKY)?],
            vec![place.pp("y_fc_logits").dense(f, 1, Activation::Identity)?],
        ];
        Ok(Self { layers: layers.map(Net) })
    }

    fn map(&self, f: impl Fn(&Net) -> Result<Net>) -> Result<Self> {
        let [a, b, c, d, e] = &self.layers;
        Ok(Self { layers: [f(a)?, f(b)?, f(c)?, f(d)?, f(e)?] })
    }

    /// The features `[N, F, 1, 1]` and the logits `[N, 1, 1, 1]`.
    fn forward(
        &self,
        z: &Tensor,
        x: &Tensor,
        train: bool,
        masks: Option<&Masks>,
    ) -> Result<[Tensor; 2]> {
        let layer = |at: usize, x: &Tensor| -> Result<Tensor> {
            let y = self.layers[at].forward_t(x, train)?;
            Ok(match masks {
                Some(masks) => masked(&y, &masks[at])?,
                None => y,
            })
        };
        let x = Net(vec![Layer::Flatten]).forward_t(&layer(1, &layer(0, x)?)?, train)?;
        let features = layer(3, &cat_channels(&x, &layer(2, z)?)?)?;
        let logits = self.layers[4].forward_t(&features, train)?;
        Ok([features, logits])
    }
}

/// The three networks with one set of weights.
#[derive(Debug)]
struct Nets {
    nete: Net,
    netg: Net,
    netd: Discriminator,
}

impl Nets {
    fn new(place: &Place<'_>, input: Input, nz: usize) -> Result<Self> {
        let e = place.pp("nete");
        let layer = |n: usize| e.pp(&format!("layer_{n}"));
        let (a, b, c) = (e.width(32), e.width(64), e.width(128));
        let flat = c * (input.side / 4) * (input.side / 4);
        let nete = Net(vec![
            layer(1).same(input.channels, a, LEAKY)?,
            layer(2).half_of_three(a, b)?,
            layer(2).norm(b, LEAKY)?,
            layer(3).half_of_three(b, c)?,
            layer(3).norm(c, LEAKY)?,
            Layer::Flatten,
            layer(4).dense(flat, nz, Activation::Identity)?,
        ]);
        let netd = Discriminator::new(place, input, nz)?;
        Ok(Self { nete, netg: place.generator(input, nz)?, netd })
    }

    fn map(&self, f: impl Fn(&Net) -> Result<Net>) -> Result<Self> {
        Ok(Self { nete: f(&self.nete)?, netg: f(&self.netg)?, netd: self.netd.map(&f)? })
    }
}

/// The networks.
#[derive(Debug)]
pub struct Egbad {
    config: EgbadConfig,
    seed: u64,
    nets: Nets,
    /// Constant, by the batch's statistics.
    constant: Nets,
    /// Constant, with the averages of the weights.
    average: Nets,
}

/// A step's random numbers: the two latent batches, and the discriminator's masks for its calls
/// with encoded and with generated pairs, in each half of the step.
#[derive(Debug)]
pub struct Draws {
    /// `[N, nz, 1, 1]`.
    pub z: [Tensor; 2],
    /// By half, then call.
    pub masks: [[Masks; 2]; 2],
}

/// What one half of a step computed.
#[derive(Debug)]
pub struct Half {
    /// By the names of the published graph.
    pub tensors: NamedTensors,
    /// By their published names.
    pub losses: Vec<(&'static str, f64)>,
    /// One for each network that learns in this half.
    pub gradients: Vec<GradStore>,
}

impl Egbad {
    /// The detector, its weights drawn from the seed, in float32 or float64.
    pub fn detector(
        config: &EgbadConfig,
        input: Input,
        seed: u64,
        dtype: DType,
    ) -> Result<VarDetector<Self>> {
        config.check(input)?;
        let adam = adam(config.lr, config.beta1, config.beta2);
        let optimisers = [("netd.", adam), ("netg.", adam), ("nete.", adam)];
        let detector = VarDetector::new(input, seed, dtype, &optimisers, |vb| {
            let nets =
                |average| Nets::new(&Place::new(vb, average, config.width), input, config.nz);
            let (nets, average) = (nets(false)?, nets(true)?);
            let (constant, average) = (nets.map(Net::by_batch)?, average.map(Net::frozen)?);
            Ok(Self { config: config.clone(), seed, nets, constant, average })
        })?;
        start(&detector.variables)?;
        Ok(detector)
    }

    /// The discriminator's half of a step. Its running statistics move twice.
    pub fn discriminate(&self, x: &Tensor, z: &Tensor, masks: &[Masks; 2]) -> Result<Half> {
        let (e_x, g_z) =
            (self.constant.nete.forward_t(x, true)?, self.constant.netg.forward_t(z, true)?);
        let [feat_enc, logit_enc] = self.nets.netd.forward(&e_x, x, true, Some(&masks[0]))?;
        let [feat_gen, logit_gen] = self.nets.netd.forward(z, &g_z, true, Some(&masks[1]))?;
        let (enc, other) = (bce(&logit_enc, 1.0)?, bce(&logit_gen, 0.0)?);
        let loss = (&enc + &other)?;
        let losses = vec![
            ("loss_discriminator", number(&loss)?),
            ("loss_dis_enc", number(&enc)?),
            ("loss_dis_gen", number(&other)?),
        ];
        let tensors = named([
            ("e_x", e_x),
            ("g_z", g_z),
            ("logit_enc", logit_enc),
            ("logit_gen", logit_gen),
            ("feat_enc", feat_enc),
            ("feat_gen", feat_gen),
        ]);
        Ok(Half { tensors, losses, gradients: vec![loss.backward()?] })
    }

    /// The half of generator and encoder. The generator's running statistics move twice, the
    /// encoder's once.
    pub fn generate(&self, x: &Tensor, z: &Tensor, masks: &[Masks; 2]) -> Result<Half> {
        let g_z = self.nets.netg.forward_t(z, true)?;
        let e_x = self.nets.nete.forward_t(x, true)?;
        // Nothing reads it, but the generator's statistics see it.
        let rec = self.nets.netg.forward_t(&e_x.detach(), true)?;
        let netd = &self.constant.netd;
        let [feat_enc, logit_enc] = netd.forward(&e_x, x, true, Some(&masks[0]))?;
        let [feat_gen, logit_gen] = netd.forward(z, &g_z, true, Some(&masks[1]))?;
        let (generator, encoder) = (bce(&logit_gen, 1.0)?, bce(&logit_enc, 0.0)?);
        let losses =
            vec![("loss_generator", number(&generator)?), ("loss_encoder", number(&encoder)?)];
        let tensors = named([
            ("e_x", e_x),
            ("g_z", g_z),
            ("rec", rec),
            ("logit_enc", logit_enc),
            ("logit_gen", logit_gen),
            ("feat_enc", feat_enc),
            ("feat_gen", feat_gen),
        ]);
        Ok(Half { tensors, losses, gradients: vec![generator.backward()?, encoder.backward()?] })
    }

    /// Both halves of a step, each with its batch.
    pub fn step(
        &self,
        [x_d, x_g]: [&Tensor; 2],
        draws: &Draws,
        variables: &mut Variables,
    ) -> Result<[Half; 2]> {
        let first = self.discriminate(x_d, &draws.z[0], &draws.masks[0])?;
        move_averages(variables, "netd.")?;
        variables.step(0, &first.gradients[0])?;
        let second = self.generate(x_g, &draws.z[1], &draws.masks[1])?;
        for (at, prefix) in ["netg.", "nete."].into_iter().enumerate() {
            move_averages(variables, prefix)?;
            variables.step(at + 1, &second.gradients[at])?;
        }
        Ok([first, second])
    }

    /// A batch's latent vectors and reconstructions, and its scores, from the averages of the
    /// weights.
    pub fn infer(&self, x: &Tensor, mode: BatchNormMode) -> Result<(Tensor, Tensor, Scores)> {
        let train = mode == BatchNormMode::Batch;
        let by_batch;
        let nets = match mode {
            BatchNormMode::Running => &self.average,
            BatchNormMode::Batch => {
                by_batch = self.average.map(Net::by_batch)?;
                &by_batch
            }
        };
        let latent = nets.nete.forward_t(x, train)?;
        let rec = nets.netg.forward_t(&latent, train)?;
        let [of_x, _] = nets.netd.forward(&latent, x, train, None)?;
        let [of_rec, logits] = nets.netd.forward(&latent, &rec, train, None)?;
        let (error, feature) = (sums(x, &rec)?, sums(&of_x, &of_rec)?);
        // BCE(logit, 1) is ln(1 + exp(−logit)).
        let entropy = logits.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let entropy = entropy.into_iter().map(|l| (-l).max(0.0) + (-l.abs()).exp().ln_1p());
        let entropy: Vec<f64> = entropy.collect();
        let weight = self.config.weight;
        let mixed = |other: &[f64]| -> Vec<f64> {
            error.iter().zip(other).map(|(e, o)| (1.0 - weight) * e + weight * o).collect()
        };
        let (fm, ce) = (mixed(&feature), mixed(&entropy));
        Ok((latent, rec, Scores::new([("fm", fm), ("ce", ce), ("rec", error)])))
    }
}

impl Network for Egbad {
    fn train_step(
        &mut self,
        x: &Tensor,
        variables: &mut Variables,
    ) -> Result<Vec<(&'static str, f64)>> {
        let (n, _, size, _) = x.dims4()?;
        let width = |published| times(published, self.config.width);
        let mut rng = draws(self.seed, variables.steps(0));
        let mut z = || normal(&mut rng, (0.0, 1.0), &[n, self.config.nz, 1, 1], x.dtype());
        let z = [z()?, z()?];
        let (w, dense, features) = (width(64), width(512), width(1024));
        let shapes = [
            [n, w, size / 2, size / 2],
            [n, w, size / 4, size / 4],
            [n, dense, 1, 1],
            [n, features, 1, 1],
        ];
        let mut masks = || -> Result<Masks> {
            let [a, b, c, d] = shapes.map(|shape| mask(&mut rng, shape, x.dtype()));
            Ok([a?, b?, c?, d?])
        };
        let masks = [[masks()?, masks()?], [masks()?, masks()?]];
        // One scope, so that the workers stay awake between operations.
        let [first, second] = rayon::scope(|_| self.step([x, x], &Draws { z, masks }, variables))?;
        Ok([first.losses, second.losses].concat())
    }

    fn score(&self, x: &Tensor, mode: BatchNormMode) -> Result<Scores> {
        rayon::scope(|_| Ok(self.infer(x, mode)?.2))
    }

    fn code(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.average.nete.forward_t(x, false)?.flatten_from(1)?)
    }

    fn reconstruct(&self, x: &Tensor, mode: BatchNormMode) -> Result<Tensor> {
        Ok(self.infer(x, mode)?.1)
    }
}
