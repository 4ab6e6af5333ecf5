//! EGBAD (Zenati et al., 2018): a BiGAN whose discriminator sees images with their latent vectors.
//!
//! As in the authors' code, houssamzenati/Efficient-GAN-Anomaly-Detection at 15568ab; its arithmetic
//! is in `bigan.rs`. One difference: the second half of a step, which trains generator and encoder,
//! sees the same images as the first, not those of a second shuffle.

use crate::bigan::{
    LEAKY, Place, adam, check, check_adam, draws, mask, move_averages, start, sums, times,
};
use crate::graph::{Graph, Scoring, Traced, Value};
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

/// What dropout multiplies each of the discriminator's four dropped layers with: two of x, then z,
/// then both.
pub type Masks = [Tensor; 4];

/// The encoder, the generator, and the discriminator's layers: two of x, one of z, then both to the
/// features, and the features to one logit.
type Nets = [Net; 7];

fn nets(place: &Place<'_>, input: Input, nz: usize) -> Result<Nets> {
    let quarter = (input.side / 4) * (input.side / 4);
    let e = place.pp("nete");
    let layer = |n: usize| e.pp(&format!("layer_{n}"));
    let (a, b, c) = (e.width(32), e.width(64), e.width(128));
    let nete = vec![
        layer(1).same(input.channels, a, LEAKY)?,
        layer(2).half_of_three(a, b)?,
        layer(2).norm(b, LEAKY)?,
        layer(3).half_of_three(b, c)?,
        layer(3).norm(c, LEAKY)?,
        Layer::Flatten,
        layer(4).dense(c * quarter, nz, Activation::Identity)?,
    ];
    let d = place.pp("netd");
    let (c, z, f) = (d.width(64), d.width(512), d.width(1024));
    let (x1, x2) = (d.pp("x_layer_1"), d.pp("x_layer_2"));
    Ok([
        Net(nete),
        place.generator(input, nz)?,
        Net(vec![x1.half(input.channels, c, LEAKY)?]),
        Net(vec![x2.half(c, c, Activation::Identity)?, x2.norm(c, LEAKY)?]),
        Net(vec![d.pp("z_layer_1").dense(nz, z, LEAKY)?]),
        Net(vec![d.pp("y_layer_1").dense(c * quarter + z, f, LEAKY)?]),
        Net(vec![d.pp("y_fc_logits").dense(f, 1, Activation::Identity)?]),
    ])
}

fn map(nets: &Nets, f: impl Fn(&Net) -> Result<Net>) -> Result<Nets> {
    let [e, g, x1, x2, z, y, logit] = nets;
    Ok([f(e)?, f(g)?, f(x1)?, f(x2)?, f(z)?, f(y)?, f(logit)?])
}

/// The discriminator's features, `[N, F, 1, 1]`, and its logits, `[N, 1, 1, 1]`.
fn judge(
    [_, _, x1, x2, z1, y, logit]: &Nets,
    z: &Tensor,
    x: &Tensor,
    train: bool,
    masks: Option<&Masks>,
) -> Result<[Tensor; 2]> {
    let layer = |net: &Net, at: usize, x: &Tensor| -> Result<Tensor> {
        let y = net.forward_t(x, train)?;
        Ok(match masks {
            Some(masks) => masked(&y, &masks[at])?,
            None => y,
        })
    };
    let x = Net(vec![Layer::Flatten]).forward_t(&layer(x2, 1, &layer(x1, 0, x)?)?, train)?;
    let features = layer(y, 3, &cat_channels(&x, &layer(z1, 2, z)?)?)?;
    let logits = logit.forward_t(&features, train)?;
    Ok([features, logits])
}

/// The networks.
#[derive(Debug)]
pub struct Egbad {
    config: EgbadConfig,
    /// Numbers in an image.
    numbers: usize,
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
            let nets = |average| nets(&Place::new(vb, average, config.width), input, config.nz);
            let (nets, average) = (nets(false)?, nets(true)?);
            let (constant, average) = (map(&nets, Net::by_batch)?, map(&average, Net::frozen)?);
            let numbers = input.channels * input.side * input.side;
            Ok(Self { config: config.clone(), numbers, seed, nets, constant, average })
        })?;
        start(&detector.variables)?;
        Ok(detector)
    }

    /// The discriminator's half of a step. Its running statistics move twice.
    pub fn discriminate(&self, x: &Tensor, z: &Tensor, masks: &[Masks; 2]) -> Result<Half> {
        let [nete, netg, ..] = &self.constant;
        let (e_x, g_z) = (nete.forward_t(x, true)?, netg.forward_t(z, true)?);
        let [feat_enc, logit_enc] = judge(&self.nets, &e_x, x, true, Some(&masks[0]))?;
        let [feat_gen, logit_gen] = judge(&self.nets, z, &g_z, true, Some(&masks[1]))?;
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
        let [nete, netg, ..] = &self.nets;
        let (g_z, e_x) = (netg.forward_t(z, true)?, nete.forward_t(x, true)?);
        // Nothing reads it, but the generator's statistics see it.
        let rec = netg.forward_t(&e_x.detach(), true)?;
        let [feat_enc, logit_enc] = judge(&self.constant, &e_x, x, true, Some(&masks[0]))?;
        let [feat_gen, logit_gen] = judge(&self.constant, z, &g_z, true, Some(&masks[1]))?;
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
                by_batch = map(&self.average, Net::by_batch)?;
                &by_batch
            }
        };
        let latent = nets[0].forward_t(x, train)?;
        let rec = nets[1].forward_t(&latent, train)?;
        let [of_x, _] = judge(nets, &latent, x, train, None)?;
        let [of_rec, logits] = judge(nets, &latent, &rec, train, None)?;
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
        Ok(self.average[0].forward_t(x, false)?.flatten_from(1)?)
    }

    fn reconstruct(&self, x: &Tensor, mode: BatchNormMode) -> Result<Tensor> {
        Ok(self.infer(x, mode)?.1)
    }

    fn graph(&self, graph: &mut Graph, x: &Value) -> Result<Scoring> {
        let [nete, netg, x1, x2, z1, y, logit] = &self.average;
        let latent = nete.trace(graph, x.clone())?;
        let rec = netg.trace(graph, latent.clone())?;
        // The discriminator judges both pairs as one batch.
        let images = graph.concat(&[x, &rec], 0);
        let latents = graph.concat(&[&latent, &latent], 0);
        let images = x1.trace(graph, images)?;
        let images = x2.trace(graph, images)?;
        let images = Net(vec![Layer::Flatten]).trace(graph, images)?;
        let latents = z1.trace(graph, latents)?;
        let joined = graph.concat(&[&images, &latents], 1);
        let features = y.trace(graph, joined)?;
        let logits = logit.trace(graph, features.clone())?;
        let (of, logits) = (graph.parts(&features, 2), graph.parts(&logits, 2));
        let sum = |graph: &mut Graph, a: &Value, b: &Value, numbers: usize| {
            let mean = graph.error(a, b, false);
            graph.weighted(&[(&mean, numbers as f64)])
        };
        let error = sum(graph, x, &rec, self.numbers)?;
        let feature = sum(graph, &of[0], &of[1], times(1024, self.config.width))?;
        // BCE(logit, 1) is ln(1 + exp(−logit)).
        let minus = graph.op("Neg", &[&logits[1]], Vec::new());
        let entropy = graph.op("Softplus", &[&minus], Vec::new());
        let entropy = graph.reshape(&entropy, &[-1])?;
        let weight = self.config.weight;
        let fm = graph.weighted(&[(&error, 1.0 - weight), (&feature, weight)])?;
        let ce = graph.weighted(&[(&error, 1.0 - weight), (&entropy, weight)])?;
        let scores = vec![("fm".into(), fm), ("ce".into(), ce), ("rec".into(), error)];
        Ok(Scoring { scores, reconstruction: rec })
    }
}
