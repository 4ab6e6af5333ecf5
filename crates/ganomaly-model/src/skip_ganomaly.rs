//! Skip-GANomaly (Akcay et al., IJCNN 2019): a U-Net that reconstructs images, and a discriminator
//! whose features are the latent vectors.
//!
//! As in the authors' code, samet-akcay/skip-ganomaly at b33bd55. Images are `[N, nc, S, S]`,
//! features `[N, nz, 1, 1]`. Not taken over: the generator's extra pass over a kept batch every
//! hundred images, whose only lasting effect is one more move of its running statistics.

use crate::ganomaly::{GanomalyConfig, REINIT_BELOW, both, require};
use crate::graph::{Graph, Scoring, Traced, Value};
use crate::net::{Layer, Net, batch_norm, bce, number};
use crate::reference::{EPS, LEAKY, encoder};
use crate::variables::{Network, VarDetector, Variables};
use crate::{BatchNormMode, Detector, Input, Names, Result, Scores, Settings};
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use ganomaly_kernels::autograd::{
    Conv2dConfig, ConvTranspose2dConfig, activate, cat_channels, channels_last, conv_transpose2d,
    conv_transpose2d_no_bias, conv2d_no_bias, l1, mse,
};
use ganomaly_kernels::loss::image_errors;
use ganomaly_kernels::{Activation, AdamConfig};
use serde::{Deserialize, Serialize};

/// The share of the reconstruction's error in the score; the rest is the features'.
const REC: f64 = 0.9;

/// Sizes, loss weights and optimiser settings, with the published names and defaults.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SkipGanomalyConfig {
    /// Length of the discriminator's features.
    pub nz: usize,
    /// Features of the generator's first convolution; they double three times.
    pub ngf: usize,
    /// Features of the discriminator's first convolution; they double at each level.
    pub ndf: usize,
    /// Weight of the adversarial loss.
    pub w_adv: f64,
    /// Weight of the contextual loss.
    pub w_con: f64,
    /// Weight of the latent loss.
    pub w_lat: f64,
    /// Adam's learning rate.
    pub lr: f64,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
}

impl Default for SkipGanomalyConfig {
    fn default() -> Self {
        let (w_adv, w_con, w_lat) = (1.0, 50.0, 1.0);
        let (lr, beta1, beta2) = (2e-4, 0.5, 0.999);
        Self { nz: 100, ngf: 64, ndf: 64, w_adv, w_con, w_lat, lr, beta1, beta2 }
    }
}

impl Settings for SkipGanomalyConfig {
    const DETECTOR: &'static str = "skip-ganomaly";

    const NAMES: Names = Names {
        // 0.9 · rec + 0.1 · lat; the mean squared error of the image; of the features.
        scores: &["rec_lat", "rec", "lat"],
        reconstruction: "rec",
        headlines: &["err_g", "err_d"],
    };

    fn check(&self, input: Input) -> Result<()> {
        let smallest = "the sizes that work are 32, 64, 128, 256, 512 and 1024";
        require("isize", input.side, input.side >= 32, smallest)?;
        require("ndf", self.ndf, (2..=4096).contains(&self.ndf), "use 2 to 4096 features")?;
        let w_lat = self.w_lat;
        require("w_lat", w_lat, w_lat.is_finite() && w_lat >= 0.0, "use a number, 0 or more")?;
        // The others have GANomaly's ranges.
        self.pyramid(input, self.ngf).check()?;
        self.pyramid(input, self.ndf).check()
    }

    fn build(&self, input: Input, seed: u64) -> Result<Box<dyn Detector>> {
        Ok(Box::new(SkipGanomaly::detector(self, input, seed, DType::F32)?))
    }

    fn least_weights(&self, input: Input) -> u64 {
        self.pyramid(input, self.ndf).least_weights() / 2
    }
}

impl SkipGanomalyConfig {
    /// GANomaly's settings with these sizes and weights.
    fn pyramid(&self, input: Input, ngf: usize) -> GanomalyConfig {
        let Self { nz, w_adv, w_con, lr, beta1, beta2, .. } = *self;
        let own = GanomalyConfig { nz, ngf, w_adv, w_con, lr, beta1, beta2, ..Default::default() };
        own.of(input)
    }
}

/// The generator. Each level of the way down halves the image, each of the way up doubles it and
/// also sees what the way down had at its size.
#[derive(Debug)]
struct UNet {
    down: Vec<Net>,
    /// In the order of `down`.
    up: Vec<Net>,
}

impl UNet {
    fn new(config: &SkipGanomalyConfig, input: Input, vb: &VarBuilder<'_>) -> Result<Self> {
        let half = Conv2dConfig { stride: 2, padding: 1, ..Default::default() };
        let double = ConvTranspose2dConfig { stride: 2, padding: 1, ..Default::default() };
        let (nc, ngf) = (input.channels, config.ngf);
        let width = |level: usize| ngf << level.min(3);
        let last = input.side.ilog2() as usize - 1;
        // Each level lies inside the one before.
        let mut inside = vb.pp("model.model");
        let first = conv2d_no_bias(nc, ngf, 4, half, inside.pp("0"))?.then(LEAKY);
        let end = conv_transpose2d(2 * ngf, nc, 4, double, inside.pp("3"))?;
        let mut down = vec![Net(vec![Layer::Conv(first)])];
        let mut up = vec![Net(vec![Layer::ConvTranspose(end.then(Activation::Tanh))])];
        for level in 1..=last {
            inside = inside.pp(if level == 1 { "1.model" } else { "3.model" });
            let (outer, inner) = (width(level - 1), width(level));
            let conv = conv2d_no_bias(outer, inner, 4, half, inside.pp("1"))?;
            // The deepest level is one point and has no batch norm.
            let (names, from) = if level == last { (["3", "4"], 1) } else { (["5", "6"], 2) };
            down.push(Net(if level == last {
                vec![Layer::Conv(conv.then(Activation::RELU))]
            } else {
                vec![Layer::Conv(conv), batch_norm(inner, EPS, LEAKY, inside.pp("2"))?]
            }));
            let conv =
                conv_transpose2d_no_bias(from * inner, outer, 4, double, inside.pp(names[0]))?;
            let norm = batch_norm(outer, EPS, Activation::RELU, inside.pp(names[1]))?;
            up.push(Net(vec![Layer::ConvTranspose(conv), norm]));
        }
        Ok(Self { down, up })
    }

    fn map(&self, f: impl Fn(&Net) -> Result<Net>) -> Result<Self> {
        let each = |nets: &[Net]| nets.iter().map(&f).collect::<Result<_>>();
        Ok(Self { down: each(&self.down)?, up: each(&self.up)? })
    }

    /// The point at the bottom, and what each level before it passes across.
    fn encode(&self, x: &Tensor, train: bool) -> Result<(Tensor, Vec<Tensor>)> {
        let (mut h, mut across) = (x.clone(), Vec::new());
        for level in &self.down {
            h = level.forward_t(&h, train)?;
            across.push(h.clone());
        }
        across.pop();
        Ok((h, across))
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let (mut h, mut across) = self.encode(x, train)?;
        for level in self.up.iter().rev() {
            h = level.forward_t(&h, train)?;
            if let Some(skip) = across.pop() {
                // relu(leaky(e)) is relu(e), which the published code uses.
                h = cat_channels(&activate(&skip, Activation::RELU)?, &h)?;
            }
        }
        Ok(h)
    }
}

/// The networks.
#[derive(Debug)]
pub struct SkipGanomaly {
    config: SkipGanomalyConfig,
    netg: UNet,
    netg_frozen: UNet,
    /// Image to features, features to one logit.
    netd: [Net; 2],
    netd_frozen: [Net; 2],
}

/// A step's forward pass, its losses and gradients.
#[derive(Debug)]
pub struct Step {
    /// The reconstructions, `[N, nc, S, S]`.
    pub fake: Tensor,
    /// Features of x and of the reconstructions, `[N, nz, 1, 1]`.
    pub features: [Tensor; 2],
    /// Logits of x and of the reconstructions, `[N, 1, 1, 1]`.
    pub logits: [Tensor; 2],
    /// By their published names; adv, con and lat with their weights.
    pub losses: Vec<(&'static str, f64)>,
    /// Of err_g for the generator's variables, of err_d for the discriminator's.
    pub gradients: [GradStore; 2],
}

impl SkipGanomaly {
    /// The detector, its weights drawn from the seed, in float32 or float64.
    pub fn detector(
        config: &SkipGanomalyConfig,
        input: Input,
        seed: u64,
        dtype: DType,
    ) -> Result<VarDetector<Self>> {
        config.check(input)?;
        let SkipGanomalyConfig { lr, beta1, beta2, .. } = *config;
        let adam = AdamConfig { lr, beta1, beta2, ..Default::default() };
        VarDetector::new(input, seed, dtype, &[("netg.", adam), ("netd.", adam)], |vb| {
            let netg = UNet::new(config, input, &vb.pp("netg"))?;
            let features = encoder(&config.pyramid(input, config.ndf), vb.pp("netd.feat"))?;
            let middle = Conv2dConfig { padding: 1, ..Default::default() };
            let logit = conv2d_no_bias(config.nz, 1, 3, middle, vb.pp("netd.clas.classifier"))?;
            let netd = [features, Net(vec![Layer::Conv(logit)])];
            Ok(Self {
                config: config.clone(),
                netg_frozen: netg.map(Net::frozen)?,
                netg,
                netd_frozen: [netd[0].frozen()?, netd[1].frozen()?],
                netd,
            })
        })
    }

    /// Forward pass, losses and gradients of a training step. Running statistics move: the
    /// generator's once, the discriminator's for x and twice for the reconstructions.
    pub fn gradients(&self, x: &Tensor) -> Result<Step> {
        let judge = |[features, logit]: &[Net; 2], x: &Tensor| -> Result<[Tensor; 2]> {
            let features = features.forward_t(x, true)?;
            Ok([features.clone(), logit.forward_t(&features, true)?])
        };
        let (fake, [feat_real, pred_real]) =
            both(|| self.netg.forward(x, true), || judge(&self.netd, x))?;
        // The generator's losses go through the discriminator, whose weights need no gradient; the
        // discriminator's end at the reconstructions.
        let [feat_fake_g, pred_fake_g] = judge(&self.netd_frozen, &fake)?;
        let [feat_fake, pred_fake] = judge(&self.netd, &fake.detach())?;

        let SkipGanomalyConfig { w_adv, w_con, w_lat, .. } = self.config;
        let err_g_adv = (bce(&pred_fake_g, 1.0)? * w_adv)?;
        let err_g_con = (l1(&fake, x)? * w_con)?;
        let err_g_lat = (mse(&feat_fake_g, &feat_real.detach())? * w_lat)?;
        let err_g = ((&err_g_adv + &err_g_con)? + &err_g_lat)?;
        let (err_d_real, err_d_fake) = (bce(&pred_real, 1.0)?, bce(&pred_fake, 0.0)?);
        // As published, the discriminator lowers the latent loss, too.
        let err_d_lat = (mse(&feat_fake, &feat_real)? * w_lat)?;
        let err_d = ((&err_d_real + &err_d_fake)? + err_d_lat)?;

        let (netg, netd) = both(|| Ok(err_g.backward()?), || Ok(err_d.backward()?))?;
        let losses = [
            ("err_d", err_d),
            ("err_g", err_g),
            ("err_d_real", err_d_real),
            ("err_d_fake", err_d_fake),
            ("err_g_adv", err_g_adv),
            ("err_g_con", err_g_con),
            ("err_g_lat", err_g_lat),
        ];
        let losses = losses.iter().map(|(name, loss)| Ok((*name, number(loss)?)));
        Ok(Step {
            fake,
            features: [feat_real, feat_fake],
            logits: [pred_real, pred_fake],
            losses: losses.collect::<Result<_>>()?,
            gradients: [netg, netd],
        })
    }

    /// Steps both optimisers, and draws the discriminator again if its loss has vanished.
    pub fn update(&self, step: &Step, variables: &mut Variables) -> Result<()> {
        variables.step(0, &step.gradients[0])?;
        variables.step(1, &step.gradients[1])?;
        variables.count_batches("netg.", 1)?;
        variables.count_batches("netd.", 3)?;
        if step.losses[0].1 < REINIT_BELOW {
            variables.reinitialise("netd.")?;
        }
        Ok(())
    }

    /// The reconstructions, and the features of x and of them.
    pub fn infer(&self, x: &Tensor, mode: BatchNormMode) -> Result<[Tensor; 3]> {
        let fake = self.reconstruct(x, mode)?;
        let train = mode == BatchNormMode::Batch;
        let features = match mode {
            BatchNormMode::Running => &self.netd_frozen[0],
            BatchNormMode::Batch => &self.netd[0].by_batch()?,
        };
        let (of_x, of_fake) = (features.forward_t(x, train)?, features.forward_t(&fake, train)?);
        Ok([fake, of_x, of_fake])
    }
}

impl Traced for UNet {
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let (mut h, mut across) = (x, Vec::new());
        for level in &self.down {
            h = level.trace(graph, h)?;
            across.push(h.clone());
        }
        across.pop();
        for level in self.up.iter().rev() {
            h = level.trace(graph, h)?;
            if let Some(skip) = across.pop() {
                let skip = graph.activate(skip, Activation::RELU);
                h = graph.concat(&[&skip, &h], 1);
            }
        }
        Ok(h)
    }
}

impl Network for SkipGanomaly {
    fn train_step(
        &mut self,
        x: &Tensor,
        variables: &mut Variables,
    ) -> Result<Vec<(&'static str, f64)>> {
        // One scope, so that the workers stay awake between operations.
        let step = rayon::scope(|_| self.gradients(x))?;
        self.update(&step, variables)?;
        Ok(step.losses)
    }

    fn score(&self, x: &Tensor, mode: BatchNormMode) -> Result<Scores> {
        let [fake, of_x, of_fake] = rayon::scope(|_| self.infer(x, mode))?;
        let squares = |a: &Tensor, b: &Tensor| -> Result<Vec<f64>> {
            Ok(image_errors(&channels_last(a)?, &channels_last(b)?)?.1)
        };
        let (rec, lat) = (squares(x, &fake)?, squares(&of_x, &of_fake)?);
        let both = rec.iter().zip(&lat).map(|(rec, lat)| REC * rec + (1.0 - REC) * lat).collect();
        Ok(Scores::new([("rec_lat", both), ("rec", rec), ("lat", lat)]))
    }

    fn code(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.netd_frozen[0].forward_t(x, false)?.flatten_from(1)?)
    }

    fn reconstruct(&self, x: &Tensor, mode: BatchNormMode) -> Result<Tensor> {
        match mode {
            BatchNormMode::Running => self.netg_frozen.forward(x, false),
            BatchNormMode::Batch => self.netg.map(Net::by_batch)?.forward(x, true),
        }
    }

    fn graph(&self, graph: &mut Graph, x: &Value) -> Result<Scoring> {
        let fake = self.netg_frozen.trace(graph, x.clone())?;
        let both = graph.concat(&[x, &fake], 0);
        let features = self.netd_frozen[0].trace(graph, both)?;
        let of = graph.parts(&features, 2);
        let rec = graph.error(x, &fake, true);
        let lat = graph.error(&of[0], &of[1], true);
        let both = graph.weighted(&[(&rec, REC), (&lat, 1.0 - REC)])?;
        let scores = vec![("rec_lat".into(), both), ("rec".into(), rec), ("lat".into(), lat)];
        Ok(Scoring { scores, reconstruction: fake })
    }
}
