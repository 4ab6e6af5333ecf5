//! GANomaly (Akcay et al., ACCV 2018) as one writes it with candle-nn: the readable specification
//! of [`Ganomaly`](crate::ganomaly::Ganomaly), its witness in tests, and the pattern for a new
//! detector.
//!
//! Equations are the paper's (arXiv 1805.06725); names are those of the authors' code. Images are
//! `[N, nc, S, S]`, latent vectors `[N, nz, 1, 1]`. Two things are left out: the second pass of x
//! through the discriminator, which only moves running statistics that nothing reads, and the
//! discriminator's re-initialisation when its loss vanishes.

use crate::Result;
use crate::ganomaly::{Adversarial, GanomalyConfig, Losses, both};
use crate::net::{Layer, Net, batch_norm, bce, number};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{ModuleT, Optimizer, VarBuilder, VarMap};
use ganomaly_kernels::autograd::{
    Conv2d, Conv2dConfig, ConvTranspose2dConfig, VarAdam, conv_transpose2d_no_bias, conv2d_no_bias,
    l1, mse,
};
use ganomaly_kernels::{Activation, AdamConfig};

pub(crate) const LEAKY: Activation = Activation::LeakyRelu(0.2);
pub(crate) const EPS: f64 = 1e-5;

fn conv(i: usize, o: usize, kernel: usize, vb: VarBuilder<'_>) -> Result<Conv2d> {
    // 4×4 kernels halve the image, 3×3 ones keep its size.
    let stride = if kernel == 4 { 2 } else { 1 };
    let config = Conv2dConfig { stride, padding: 1, ..Default::default() };
    Ok(conv2d_no_bias(i, o, kernel, config, vb)?)
}

fn norm(channels: usize, then: Activation, vb: VarBuilder<'_>) -> Result<Layer> {
    batch_norm(channels, EPS, then, vb)
}

/// From 4×4 features to a single point: the end of the encoders and of the discriminator.
fn point(i: usize, o: usize, vb: VarBuilder<'_>) -> Result<Layer> {
    Ok(Layer::Conv(conv2d_no_bias(i, o, 4, Conv2dConfig::default(), vb)?))
}

/// An image to features `[N, c, 4, 4]`; also returns c. The discriminator's layers are named by
/// their position, activations included.
fn pyramid(config: &GanomalyConfig, vb: &VarBuilder<'_>, numbered: bool) -> Result<(Net, usize)> {
    let vb = |at: usize, name: String| vb.pp(if numbered { at.to_string() } else { name });
    let (mut size, mut c, mut at) = (config.isize / 2, config.ngf, 2);
    let initial = conv(config.nc, c, 4, vb(0, format!("initial-conv-{}-{c}", config.nc)))?;
    let mut net = vec![Layer::Conv(initial.then(LEAKY))];
    for t in 0..config.extralayers {
        net.push(Layer::Conv(conv(c, c, 3, vb(at, format!("extra-layers-{t}-{c}-conv")))?));
        net.push(norm(c, LEAKY, vb(at + 1, format!("extra-layers-{t}-{c}-batchnorm")))?);
        at += 3;
    }
    while size > 4 {
        net.push(Layer::Conv(conv(c, 2 * c, 4, vb(at, format!("pyramid-{c}-{}-conv", 2 * c)))?));
        (size, c) = (size / 2, 2 * c);
        net.push(norm(c, LEAKY, vb(at + 1, format!("pyramid-{c}-batchnorm")))?);
        at += 3;
    }
    Ok((Net(net), c))
}

/// An image to its latent vector.
pub(crate) fn encoder(config: &GanomalyConfig, vb: VarBuilder<'_>) -> Result<Net> {
    let (mut net, c) = pyramid(config, &vb, false)?;
    net.0.push(point(c, config.nz, vb.pp(format!("final-{c}-1-conv")))?);
    Ok(net)
}

/// A latent vector to an image in (-1, 1).
pub(crate) fn decoder(config: &GanomalyConfig, vb: VarBuilder<'_>) -> Result<Net> {
    let relu = Activation::RELU;
    let double = ConvTranspose2dConfig { stride: 2, padding: 1, ..Default::default() };
    let whole = ConvTranspose2dConfig::default();
    let (mut size, mut c) = (4, config.ngf / 2 * (config.isize / 4));
    let name = format!("initial-{}-{c}-convt", config.nz);
    let mut net = vec![
        Layer::ConvTranspose(conv_transpose2d_no_bias(config.nz, c, 4, whole, vb.pp(name))?),
        norm(c, relu, vb.pp(format!("initial-{c}-batchnorm")))?,
    ];
    while size < config.isize / 2 {
        let vb_conv = vb.pp(format!("pyramid-{c}-{}-convt", c / 2));
        net.push(Layer::ConvTranspose(conv_transpose2d_no_bias(c, c / 2, 4, double, vb_conv)?));
        (size, c) = (size * 2, c / 2);
        net.push(norm(c, relu, vb.pp(format!("pyramid-{c}-batchnorm")))?);
    }
    for t in 0..config.extralayers {
        net.push(Layer::Conv(conv(c, c, 3, vb.pp(format!("extra-layers-{t}-{c}-conv")))?));
        net.push(norm(c, relu, vb.pp(format!("extra-layers-{t}-{c}-batchnorm")))?);
    }
    let vb = vb.pp(format!("final-{c}-{}-convt", config.nc));
    let last = conv_transpose2d_no_bias(c, config.nc, 4, double, vb)?.then(Activation::Tanh);
    net.push(Layer::ConvTranspose(last));
    Ok(Net(net))
}

/// A GANomaly over the variables of a [`VarMap`], with its two optimisers.
#[derive(Debug)]
pub struct Reference {
    config: GanomalyConfig,
    /// G_E, image to z; G_D, z to x̂; E, x̂ to ẑ.
    pub netg: [Net; 3],
    /// f, image to features; the rest of D, features to one logit.
    pub netd: [Net; 2],
    netd_frozen: [Net; 2],
    optimizer_g: VarAdam,
    optimizer_d: VarAdam,
}

/// A step's losses, and the gradients of `err_g` and of `err_d`.
pub type Gradients = (Losses, GradStore, GradStore);

impl Reference {
    /// A network of the variables in `vars`, under the names that a weights file has. The published
    /// initial weights are those of
    /// [`Ganomaly::to_var_map`](crate::ganomaly::Ganomaly::to_var_map); variables that are missing
    /// start as candle-nn's do.
    pub fn new(config: GanomalyConfig, vars: &VarMap, dtype: DType) -> Result<Self> {
        config.check()?;
        let vb = VarBuilder::from_varmap(vars, dtype, &Device::Cpu);
        let netg = [
            encoder(&config, vb.pp("netg.encoder1.main"))?,
            decoder(&config, vb.pp("netg.decoder.main"))?,
            encoder(&config, vb.pp("netg.encoder2.main"))?,
        ];
        let (features, c) = pyramid(&config, &vb.pp("netd.features"), true)?;
        let netd = [features, Net(vec![point(c, 1, vb.pp("netd.classifier.0"))?])];
        let GanomalyConfig { lr, beta1, beta2, .. } = config;
        let optimizer = |prefix: &str| -> Result<VarAdam> {
            let all = vars.data().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let own = all.iter().filter(|(name, _)| name.starts_with(prefix));
            let own: Vec<Var> = own.map(|(_, var)| var.clone()).collect();
            Ok(VarAdam::new(own, AdamConfig { lr, beta1, beta2, ..Default::default() })?)
        };
        let (optimizer_g, optimizer_d) = (optimizer("netg.")?, optimizer("netd.")?);
        let netd_frozen = [netd[0].frozen()?, netd[1].frozen()?];
        Ok(Self { config, netg, netd, netd_frozen, optimizer_g, optimizer_d })
    }

    /// The forward pass of training and its gradients, for a batch in this network's type.
    pub fn gradients(&self, x: &Tensor) -> Result<Gradients> {
        // One scope, so that the workers stay awake between operations.
        rayon::scope(|_| self.forward_and_backward(x))
    }

    fn forward_and_backward(&self, x: &Tensor) -> Result<Gradients> {
        let [encoder1, decoder, encoder2] = &self.netg;
        let judge = |[features, classifier]: &[Net; 2], x: &Tensor| -> Result<(Tensor, Tensor)> {
            let features = features.forward_t(x, true)?;
            let logit = classifier.forward_t(&features, true)?;
            Ok((features, logit))
        };
        let generate = || {
            let latent_i = encoder1.forward_t(x, true)?;
            let fake = decoder.forward_t(&latent_i, true)?;
            Ok((latent_i, fake))
        };
        let ((latent_i, fake), (feat_real, pred_real)) = both(generate, || judge(&self.netd, x))?;
        // The generator's loss goes through the discriminator, whose weights need no gradient.
        let (latent_o, ((feat_fake, pred_fake_g), (_, pred_fake))) = both(
            || Ok(encoder2.forward_t(&fake, true)?),
            || Ok((judge(&self.netd_frozen, &fake)?, judge(&self.netd, &fake.detach())?)),
        )?;

        let err_d_real = bce(&pred_real, 1.0)?;
        let err_d_fake = bce(&pred_fake, 0.0)?;
        let err_d = ((&err_d_real + &err_d_fake)? * 0.5)?;
        let err_g_adv = match self.config.adversarial {
            // Equation 1.
            Adversarial::Feature => mse(&feat_fake, &feat_real.detach())?,
            Adversarial::Bce => bce(&pred_fake_g, 1.0)?,
        };
        let err_g_con = l1(&fake, x)?; // equation 2
        let err_g_enc = mse(&latent_o, &latent_i)?; // equation 3
        let GanomalyConfig { w_adv, w_con, w_enc, .. } = self.config;
        // Equation 4.
        let err_g = (((&err_g_adv * w_adv)? + (&err_g_con * w_con)?)? + (&err_g_enc * w_enc)?)?;

        let (netg, netd) = both(|| Ok(err_g.backward()?), || Ok(err_d.backward()?))?;
        let losses = Losses {
            err_d: number(&err_d)?,
            err_d_real: number(&err_d_real)?,
            err_d_fake: number(&err_d_fake)?,
            err_g: number(&err_g)?,
            err_g_adv: number(&err_g_adv)?,
            err_g_con: number(&err_g_con)?,
            err_g_enc: number(&err_g_enc)?,
        };
        Ok((losses, netg, netd))
    }

    /// Steps both optimisers.
    pub fn update(&mut self, (_, netg, netd): &Gradients) -> Result<()> {
        self.optimizer_g.step(netg)?;
        self.optimizer_d.step(netd)?;
        Ok(())
    }
}
