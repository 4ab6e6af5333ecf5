//! One training step, in the order of the reference's `Ganomaly.optimize_params` (lib/model.py).
//!
//! The reference runs the discriminator four times per step. Its weights do not change in between,
//! so two passes give the same results: both losses share them, and the running statistics are
//! updated four times, as in the reference.

use super::{Adversarial, Ganomaly};
use crate::Result;
use crate::layers::{Kinks, Tape, Wanted, side_with};
use candle_core::Tensor;
use ganomaly_kernels::{layout, loss};

/// Below this discriminator loss, the discriminator is re-initialised.
pub const REINIT_BELOW: f64 = 1e-5;

/// A step's losses, with the reference's names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Losses {
    /// ½(`err_d_real` + `err_d_fake`).
    pub err_d: f64,
    /// BCE(D(x), 1).
    pub err_d_real: f64,
    /// BCE(D(x̂), 0).
    pub err_d_fake: f64,
    /// The weighted sum of the three terms below (equation 4).
    pub err_g: f64,
    /// The adversarial term (equation 1, or BCE(D(x̂), 1)).
    pub err_g_adv: f64,
    /// mean|x − x̂| (equation 2).
    pub err_g_con: f64,
    /// mean((z − ẑ)²) (equation 3).
    pub err_g_enc: f64,
}

impl Losses {
    /// Each loss with its name.
    pub fn named(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("err_g", self.err_g),
            ("err_g_adv", self.err_g_adv),
            ("err_g_con", self.err_g_con),
            ("err_g_enc", self.err_g_enc),
            ("err_d", self.err_d),
            ("err_d_real", self.err_d_real),
            ("err_d_fake", self.err_d_fake),
        ]
    }
}

/// Everything that a step's forward pass computes. Images and features are channels-last.
#[derive(Debug)]
pub struct Forward {
    /// The batch, `[N, S, S, nc]`.
    pub x: Tensor,
    /// The reconstruction x̂, `[N, S, S, nc]`.
    pub fake: Tensor,
    /// z, `[N, 1, 1, nz]`.
    pub latent_i: Tensor,
    /// ẑ, `[N, 1, 1, nz]`.
    pub latent_o: Tensor,
    /// f(x), `[N, 4, 4, c]`.
    pub feat_real: Tensor,
    /// f(x̂), `[N, 4, 4, c]`.
    pub feat_fake: Tensor,
    /// D(x) in (0, 1), `[N, 1, 1, 1]`.
    pub pred_real: Tensor,
    /// D(x̂) in (0, 1), `[N, 1, 1, 1]`.
    pub pred_fake: Tensor,
    tapes: Tapes,
}

#[derive(Debug)]
struct Tapes {
    encoder1: Tape,
    decoder: Tape,
    encoder2: Tape,
    features_real: Tape,
    features_fake: Tape,
    classifier_real: Tape,
    classifier_fake: Tape,
}

/// The gradients of a step, in the order of the networks' `parameters()`.
#[derive(Debug)]
pub struct StepGradients {
    /// The generator's.
    pub netg: Vec<Tensor>,
    /// The discriminator's.
    pub netd: Vec<Tensor>,
}

impl Ganomaly {
    /// One step on a batch `[N, nc, S, S]`: one update of both networks.
    pub fn step(&mut self, x: &Tensor) -> Result<Losses> {
        // One scope, so that the workers stay awake between operations.
        rayon::scope(|_| {
            let forward = self.forward(x)?;
            let losses = self.losses(&forward)?;
            let gradients = self.gradients(&forward)?;
            self.update(&gradients, &losses)?;
            Ok(losses)
        })
    }

    /// The forward pass of training; running statistics are tracked.
    pub fn forward(&self, x: &Tensor) -> Result<Forward> {
        let x = self.input(x)?;
        let discriminate = |x: &Tensor| {
            let (features, tape) = self.netd.features.forward(x)?;
            let (logit, classifier) = self.netd.classifier.forward(&features)?;
            Ok((features, tape, loss::sigmoid(&logit)?, classifier))
        };
        let generate = || {
            let (latent_i, encoder1) = self.netg.encoder1.forward(&x)?;
            let (fake, decoder) = self.netg.decoder.forward(&latent_i)?;
            let (encoded, judged) =
                both(|| self.netg.encoder2.forward(&fake), || discriminate(&fake))?;
            Ok((latent_i, encoder1, fake, decoder, encoded, judged))
        };
        let (generated, judged_real) = both(generate, || discriminate(&x))?;
        let (latent_i, encoder1, fake, decoder, encoded, judged_fake) = generated;
        let (latent_o, encoder2) = encoded;
        let (feat_real, features_real, pred_real, classifier_real) = judged_real;
        let (feat_fake, features_fake, pred_fake, classifier_fake) = judged_fake;
        self.netg.encoder1.track(&encoder1)?;
        self.netg.decoder.track(&decoder)?;
        self.netg.encoder2.track(&encoder2)?;
        // forward_d passes real and fake, backward_g real and fake again.
        for tape in [&features_real, &features_fake, &features_real, &features_fake] {
            self.netd.features.track(tape)?;
        }
        Ok(Forward {
            x,
            fake,
            latent_i,
            latent_o,
            feat_real,
            feat_fake,
            pred_real,
            pred_fake,
            tapes: Tapes {
                encoder1,
                decoder,
                encoder2,
                features_real,
                features_fake,
                classifier_real,
                classifier_fake,
            },
        })
    }

    /// The losses of a forward pass.
    pub fn losses(&self, f: &Forward) -> Result<Losses> {
        let config = &self.config;
        let err_g_adv = match config.adversarial {
            Adversarial::Feature => loss::mean_squared(&f.feat_fake, &f.feat_real)?,
            Adversarial::Bce => loss::binary_cross_entropy(&f.pred_fake, true)?,
        };
        let err_g_con = loss::mean_absolute(&f.fake, &f.x)?;
        let err_g_enc = loss::mean_squared(&f.latent_o, &f.latent_i)?;
        let err_d_real = loss::binary_cross_entropy(&f.pred_real, true)?;
        let err_d_fake = loss::binary_cross_entropy(&f.pred_fake, false)?;
        Ok(Losses {
            err_d: 0.5 * (err_d_real + err_d_fake),
            err_d_real,
            err_d_fake,
            err_g: config.w_adv * err_g_adv + config.w_con * err_g_con + config.w_enc * err_g_enc,
            err_g_adv,
            err_g_con,
            err_g_enc,
        })
    }

    /// The gradients of `err_g` for the generator and of `err_d` for the discriminator.
    pub fn gradients(&self, f: &Forward) -> Result<StepGradients> {
        let (netg, netd) =
            both(|| self.generator_gradients(f), || self.discriminator_gradients(f))?;
        Ok(StepGradients { netg, netd })
    }

    fn generator_gradients(&self, f: &Forward) -> Result<Vec<Tensor>> {
        let (config, t) = (&self.config, &f.tapes);
        let (netg, netd) = (&self.netg, &self.netd);
        let d_latent_o = loss::mean_squared_grad(&f.latent_o, &f.latent_i, config.w_enc)?;
        let d_feat_fake = match config.adversarial {
            Adversarial::Feature => {
                loss::mean_squared_grad(&f.feat_fake, &f.feat_real, config.w_adv)?
            }
            Adversarial::Bce => {
                let d_logit = loss::binary_cross_entropy_grad(&f.pred_fake, true, config.w_adv)?;
                input(netd.classifier.backward(&t.classifier_fake, &d_logit, Wanted::Input)?.input)?
            }
        };
        let (encoder2, adversarial) = both(
            || netg.encoder2.backward(&t.encoder2, &d_latent_o, Wanted::All),
            || netd.features.backward(&t.features_fake, &d_feat_fake, Wanted::Input),
        )?;

        let contextual = loss::mean_absolute_grad(&f.fake, &f.x, config.w_con)?;
        let d_fake = loss::sum_of(&input(encoder2.input)?, &input(adversarial.input)?)?;
        let d_fake = loss::sum_of(&d_fake, &contextual)?;
        let decoder = netg.decoder.backward(&t.decoder, &d_fake, Wanted::All)?;

        // z also receives a direct gradient from the encoder term, because the reference does not
        // detach it.
        let direct = loss::mean_squared_grad(&f.latent_i, &f.latent_o, config.w_enc)?;
        let d_latent_i = loss::sum_of(&input(decoder.input)?, &direct)?;
        let encoder1 = netg.encoder1.backward(&t.encoder1, &d_latent_i, Wanted::Parameters)?;
        Ok([encoder1.parameters, decoder.parameters, encoder2.parameters].concat())
    }

    fn discriminator_gradients(&self, f: &Forward) -> Result<Vec<Tensor>> {
        let (netd, t) = (&self.netd, &f.tapes);
        let half = |features: &Tape,
                    classifier: &Tape,
                    prediction: &Tensor,
                    target: bool|
         -> Result<Vec<Tensor>> {
            let d_logit = loss::binary_cross_entropy_grad(prediction, target, 0.5)?;
            let c = netd.classifier.backward(classifier, &d_logit, Wanted::All)?;
            let f = netd.features.backward(features, &input(c.input)?, Wanted::Parameters)?;
            Ok([f.parameters, c.parameters].concat())
        };
        let (real, fake) = both(
            || half(&t.features_real, &t.classifier_real, &f.pred_real, true),
            || half(&t.features_fake, &t.classifier_fake, &f.pred_fake, false),
        )?;
        real.iter().zip(&fake).map(|(r, f)| Ok(loss::sum_of(r, f)?)).collect()
    }

    /// Steps both optimisers, and re-initialises the discriminator if its loss has vanished.
    pub fn update(&mut self, gradients: &StepGradients, losses: &Losses) -> Result<()> {
        self.adam_g.step(&gradients.netg)?;
        self.adam_d.step(&gradients.netd)?;
        if losses.err_d < REINIT_BELOW {
            self.netd.initialise(&mut self.rng)?;
        }
        Ok(())
    }
}

/// Runs two independent pieces of work in parallel. The results do not depend on which thread does
/// what.
pub(crate) fn both<A: Send, B: Send>(
    a: impl FnOnce() -> Result<A> + Send,
    b: impl FnOnce() -> Result<B> + Send,
) -> Result<(A, B)> {
    let (a, b) = rayon::join(a, b);
    Ok((a?, b?))
}

impl Forward {
    /// `fake` as `[N, nc, S, S]`.
    pub fn fake_nchw(&self) -> Result<Tensor> {
        Ok(layout::nchw_from_nhwc(&self.fake)?)
    }
}

impl Ganomaly {
    /// Makes a forward pass take, at every kink (rectifiers, and |x − x̂|), the side that `other`
    /// (the same network in another precision) took in its pass `reference` over the same batch.
    /// For comparisons only.
    pub fn take_sides(&self, f: &mut Forward, other: &Self, reference: &Forward) -> Result<Kinks> {
        let (own, others) = (&mut f.tapes, &reference.tapes);
        let (g, h) = (&self.netg, &other.netg);
        let (d, e) = (&self.netd.features, &other.netd.features);
        let mut kinks = g.encoder1.take_sides(&mut own.encoder1, &h.encoder1, &others.encoder1)?;
        for more in [
            g.decoder.take_sides(&mut own.decoder, &h.decoder, &others.decoder)?,
            g.encoder2.take_sides(&mut own.encoder2, &h.encoder2, &others.encoder2)?,
            d.take_sides(&mut own.features_real, e, &others.features_real)?,
            d.take_sides(&mut own.features_fake, e, &others.features_fake)?,
        ] {
            kinks = kinks.and(more);
        }
        let mut error = (&f.fake - &f.x)?;
        let reference_error = (&reference.fake - &reference.x)?;
        let identity = |_, v| v;
        let more = side_with(&mut error, &reference_error, identity, identity, identity)?;
        if more.moved > 0 {
            f.fake = (&f.x + &error)?;
        }
        Ok(kinks.and(more))
    }
}

/// The input gradient of a backward pass, which must have been requested.
fn input(gradient: Option<Tensor>) -> Result<Tensor> {
    gradient.ok_or_else(|| crate::Error::Weights("no gradient of the input was asked for".into()))
}
