//! One step against the same network built from candle-nn's layers and differentiated by candle's
//! autograd.

use candle_core::{DType, Tensor, Var};
use candle_nn::{
    BatchNorm, Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig, Module, ModuleT, loss,
    ops,
};
use ganomaly_model::ganomaly::{Adversarial, Ganomaly, GanomalyConfig};
use ganomaly_model::kernels::layout;
use ganomaly_model::{Detector, random};

type Result<T> = candle_core::Result<T>;

/// A network's learnt tensors as autograd variables, in the order of the weights file.
struct Twin(Vec<(String, Var)>);

impl Twin {
    fn of(model: &Ganomaly) -> Self {
        let learnt = |(name, tensor): (String, Tensor)| {
            let learnt = name.ends_with(".weight") || name.ends_with(".bias");
            learnt.then(|| (name, Var::from_tensor(&tensor).unwrap()))
        };
        Self(model.state().unwrap().into_iter().filter_map(learnt).collect())
    }

    fn vars(&self, prefix: &str) -> impl Iterator<Item = &(String, Var)> {
        self.0.iter().filter(move |(name, _)| name.starts_with(prefix))
    }

    /// The chain of that name on `[N, C, H, W]`, with batch normalisation by the batch's
    /// statistics. The kind of each layer follows from its tensors: a 4×4 kernel halves or doubles
    /// the image, except from or to a single point.
    fn chain(&self, prefix: &str, x: &Tensor) -> Result<Tensor> {
        let decodes = prefix.contains("decoder");
        let mut x = x.clone();
        let mut layers = self.vars(prefix).map(|(name, v)| (name, v.as_tensor())).peekable();
        while let Some((name, weight)) = layers.next() {
            if weight.rank() == 1 {
                let (_, bias) = layers.next().unwrap();
                let (mean, var) = (bias.zeros_like()?, bias.ones_like()?);
                let norm = BatchNorm::new(
                    weight.elem_count(),
                    mean,
                    var,
                    weight.clone(),
                    bias.clone(),
                    1e-5,
                )?;
                x = norm.forward_t(&x, true)?;
                x = if decodes { x.relu()? } else { ops::leaky_relu(&x, 0.2)? };
                continue;
            }
            let (kernel, side) = (weight.dim(3)?, x.dim(3)?);
            let transposed = name.contains("-convt");
            let (stride, padding) = match (kernel, side) {
                (3, _) => (1, 1),
                (_, 1) if transposed => (1, 0),
                (_, 4) if !transposed => (1, 0),
                _ => (2, 1),
            };
            x = if transposed {
                let config = ConvTranspose2dConfig { stride, padding, ..Default::default() };
                ConvTranspose2d::new(weight.clone(), None, config).forward(&x)?
            } else {
                let config = Conv2dConfig { stride, padding, ..Default::default() };
                Conv2d::new(weight.clone(), None, config).forward(&x)?
            };
            let norm_follows = layers.peek().is_some_and(|(_, next)| next.rank() == 1);
            if decodes && layers.peek().is_none() {
                x = x.tanh()?;
            } else if !decodes && stride == 2 && !norm_follows {
                x = ops::leaky_relu(&x, 0.2)?;
            }
        }
        Ok(x)
    }

    /// `err_g` and `err_d` of a batch, the discriminator's with the reconstruction detached, as in
    /// the reference.
    fn losses(&self, config: &GanomalyConfig, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let latent_i = self.chain("netg.encoder1", x)?;
        let fake = self.chain("netg.decoder", &latent_i)?;
        let latent_o = self.chain("netg.encoder2", &fake)?;
        let logit = |features: &Tensor| self.chain("netd.classifier", features);
        let features = self.chain("netd.features", &fake)?;
        let bce = |logit: &Tensor, target: f64| {
            let target = (logit.ones_like()? * target)?;
            loss::binary_cross_entropy_with_logit(logit, &target)
        };
        let real = self.chain("netd.features", x)?;
        let adversarial = match config.adversarial {
            Adversarial::Feature => loss::mse(&features, &real.detach())?,
            Adversarial::Bce => bce(&logit(&features)?, 1.0)?,
        };
        let contextual = (x - &fake)?.abs()?.mean_all()?;
        let encoder = loss::mse(&latent_o, &latent_i)?;
        let err_g = ((adversarial * config.w_adv)?
            + ((contextual * config.w_con)? + (encoder * config.w_enc)?)?)?;
        let detached = self.chain("netd.features", &fake.detach())?;
        let err_d = ((bce(&logit(&real)?, 1.0)? + bce(&logit(&detached)?, 0.0)?)? * 0.5)?;
        Ok((err_g, err_d))
    }
}

fn check(config: GanomalyConfig) -> Result<()> {
    let model = Ganomaly::with_dtype(config.clone(), 5, DType::F64).unwrap();
    let shape = [6, config.nc, config.isize, config.isize];
    let x = random::normal(&mut random::stream(1, b"images  "), (0.0, 0.6), &shape, DType::F64)
        .unwrap();
    let forward = model.forward(&x).unwrap();
    let losses = model.losses(&forward).unwrap();
    let gradients = model.gradients(&forward).unwrap();

    let twin = Twin::of(&model);
    let (err_g, err_d) = twin.losses(&config, &x)?;
    for (loss, theirs, ours) in [("err_g", &err_g, losses.err_g), ("err_d", &err_d, losses.err_d)] {
        let theirs = theirs.to_scalar::<f64>()?;
        assert!((theirs / ours - 1.0).abs() < 1e-12, "{loss}: {ours}, by candle-nn {theirs}");
    }
    for (net, loss, ours) in [("netg", err_g, gradients.netg), ("netd", err_d, gradients.netd)] {
        let theirs = loss.backward()?;
        let vars: Vec<_> = twin.vars(net).collect();
        assert_eq!(vars.len(), ours.len());
        for ((name, var), ours) in vars.into_iter().zip(&ours) {
            let ours =
                if ours.rank() == 4 { layout::oikk_from_kernel(ours)? } else { ours.clone() };
            let theirs = theirs.get(var.as_tensor()).unwrap();
            let norm = |t: &Tensor| t.sqr()?.sum_all()?.sqrt()?.to_scalar::<f64>();
            let off = norm(&(theirs - &ours)?)? / norm(theirs)?;
            assert!(off < 1e-9, "{name}: the gradients differ by {off}");
        }
    }
    Ok(())
}

#[test]
fn a_step_equals_candle_nns() {
    let small = GanomalyConfig { isize: 32, nc: 1, nz: 7, ngf: 4, ..GanomalyConfig::default() };
    check(small.clone()).unwrap();
    check(GanomalyConfig { isize: 16, nc: 3, extralayers: 1, ..small.clone() }).unwrap();
    check(GanomalyConfig { adversarial: Adversarial::Bce, w_adv: 3.0, w_enc: 0.5, ..small })
        .unwrap();
}
