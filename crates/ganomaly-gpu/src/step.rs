//! A training step of several GANomaly runs at once, and their scoring, as launches: the order is that of `ganomaly-model`'s `step.rs`.

use crate::chain::{Arena, Chain, Extent, Numbers, Target};
use crate::launch::{Buffer, Builder, THREADS};
use crate::program::{Chains, ERR_D, LOSS_STRIDE, Pass, Ports};
use ganomaly_kernels::AdamConfig;
use ganomaly_model::ganomaly::{Adversarial, GanomalyConfig, REINIT_BELOW};

/// Writes the launches of a step and of scoring.
pub(crate) struct Planner<'a> {
    pub(crate) config: &'a GanomalyConfig,
    pub(crate) chains: &'a Chains,
    pub(crate) ports: Ports,
    pub(crate) x: Numbers,
    pub(crate) netg: Arena,
    pub(crate) netd: Arena,
    pub(crate) netg_running: Arena,
    pub(crate) netd_running: Arena,
    pub(crate) netg_gradients: Arena,
    pub(crate) netd_gradients: Arena,
}

impl Planner<'_> {
    /// Returns what must be zero before the first step.
    pub(crate) fn step(&self, b: &mut Builder) -> Vec<Buffer> {
        let (config, c, x) = (self.config, self.chains, self.x);
        let (netg, netd) = (self.netg, self.netd);
        let (latent_i, encoder1) = c.encoder1.forward(b, netg, x);
        let (fake, decoder) = c.decoder.forward(b, netg, latent_i);
        let (latent_o, encoder2) = c.encoder2.forward(b, netg, fake);
        let (feat_real, features_real) = c.features.forward(b, netd, x);
        let (feat_fake, features_fake) = c.features.forward(b, netd, fake);
        let (logit_real, classifier_real) = c.classifier.forward(b, netd, feat_real);
        let (logit_fake, classifier_fake) = c.classifier.forward(b, netd, feat_fake);
        let pred_real = self.sigmoid(b, logit_real);
        let pred_fake = self.sigmoid(b, logit_fake);
        c.encoder1.track(b, (self.netg_running, self.ports.active), &encoder1);
        c.decoder.track(b, (self.netg_running, self.ports.active), &decoder);
        c.encoder2.track(b, (self.netg_running, self.ports.active), &encoder2);
        for tape in [&features_real, &features_fake, &features_real, &features_fake] {
            c.features.track(b, (self.netd_running, self.ports.active), tape);
        }

        self.loss(
            b,
            match config.adversarial {
                Adversarial::Feature => (feat_fake, feat_real, 0, 0.0),
                Adversarial::Bce => (pred_fake, pred_fake, 2, 1.0),
            },
            0,
        );
        self.loss(b, (fake, x, 1, 0.0), 1);
        self.loss(b, (latent_o, latent_i, 0, 0.0), 2);
        self.loss(b, (pred_real, pred_real, 2, 1.0), 3);
        self.loss(b, (pred_fake, pred_fake, 2, 0.0), 4);
        b.launch("discriminator_loss", [1, 1, 1], &[self.ports.losses], &[x.extent.runs], &[]);
        let losses = [self.ports.losses, self.ports.loss_sums, self.ports.active];
        b.each("sum_losses", x.extent.runs * LOSS_STRIDE, &losses, &[], &[]);

        // The generator's gradients.
        let d_latent_o =
            self.pair(b, "mean_squared_backward", (latent_o, latent_i), config.w_enc, None);
        let d_feat_fake = match config.adversarial {
            Adversarial::Feature => {
                self.pair(b, "mean_squared_backward", (feat_fake, feat_real), config.w_adv, None)
            }
            Adversarial::Bce => {
                let d_logit = self.cross_entropy(b, pred_fake, true, config.w_adv);
                c.classifier.backward(b, netd, &classifier_fake, d_logit, None)
            }
        };
        let target = Target { gradients: self.netg_gradients, add: false };
        let d_fake = c.encoder2.backward(b, netg, &encoder2, d_latent_o, Some(target));
        let adversarial = c.features.backward(b, netd, &features_fake, d_feat_fake, None);
        self.add(b, d_fake, adversarial);
        self.pair(b, "mean_absolute_backward", (fake, x), config.w_con, Some(d_fake));
        let d_latent_i = c.decoder.backward(b, netg, &decoder, d_fake, Some(target));
        // z meets the encoder term directly, too, as the reference does not detach it.
        self.pair(b, "mean_squared_backward", (latent_i, latent_o), config.w_enc, Some(d_latent_i));
        c.encoder1.backward_parameters(b, netg, &encoder1, d_latent_i, target);

        // The discriminator's.
        for (add, real, prediction, features, classifier) in [
            (false, true, pred_real, &features_real, &classifier_real),
            (true, false, pred_fake, &features_fake, &classifier_fake),
        ] {
            let target = Target { gradients: self.netd_gradients, add };
            let d_logit = self.cross_entropy(b, prediction, real, 0.5);
            let d_features = c.classifier.backward(b, netd, classifier, d_logit, Some(target));
            c.features.backward_parameters(b, netd, features, d_features, target);
        }
        Chain::release(b, encoder1);
        Chain::release(b, decoder);
        Chain::release(b, encoder2);
        Chain::release(b, features_real);
        Chain::release(b, features_fake);
        Chain::release(b, classifier_real);
        Chain::release(b, classifier_fake);
        b.release(pred_real.buffer);
        b.release(pred_fake.buffer);
        self.update(b)
    }

    /// Both optimisers' step, and the discriminator's fresh start where its loss has vanished.
    fn update(&self, b: &mut Builder) -> Vec<Buffer> {
        let (config, runs) = (self.config, self.x.extent.runs);
        let Ports { netd_fresh, losses, started_anew, active, .. } = self.ports;
        let mut zeroed = Vec::new();
        for (weights, gradients) in
            [(self.netg, self.netg_gradients), (self.netd, self.netd_gradients)]
        {
            let len = runs * weights.distance;
            let (first, second, clock) = (b.keep(len), b.keep(len), b.keep(4 * runs));
            let AdamConfig { eps, .. } = AdamConfig::default();
            let factors = [config.lr, config.beta1, config.beta2];
            b.each("adam_clock", runs, &[clock, active], &[], &factors);
            b.launch(
                "adam",
                [weights.distance.div_ceil(THREADS), runs, 1],
                &[weights.buffer, first, second, gradients.buffer, clock, active],
                &[weights.distance],
                &[config.beta1, config.beta2, eps],
            );
            zeroed.extend([first, second, clock]);
        }
        b.launch(
            "start_anew",
            [self.netd.distance.div_ceil(THREADS), runs, 1],
            &[self.netd.buffer, netd_fresh, losses, started_anew, active],
            &[self.netd.distance, ERR_D],
            &[REINIT_BELOW],
        );
        zeroed
    }

    /// Fills the batch with `n` pictures of each run, whose order has room for `order`, and moves on.
    pub(crate) fn load(&self, b: &mut Builder, n: usize, order: usize) -> Extent {
        let (extent, ports) = (Extent { n, ..self.x.extent }, self.ports);
        b.launch(
            "gather",
            [extent.run_len().div_ceil(THREADS), extent.runs, 1],
            &[ports.pictures, ports.order, ports.batch, ports.position, ports.table],
            &[extent.run_len() / n, n, order, extent.c],
            &[],
        );
        b.each("advance", extent.runs, &[ports.position, ports.length, ports.active], &[n], &[]);
        extent
    }

    /// Loading and scoring `n` pictures of each run.
    pub(crate) fn pass(&self, b: &mut Builder, n: usize, order: usize) -> Pass {
        let extent = self.load(b, n, order);
        let load = b.take_launches();
        let x = Numbers { extent, ..self.x };
        self.score(b, x, Some(self.netg_running));
        let score_running = b.take_launches();
        self.score(b, x, None);
        Pass { pictures: n, load, score_running, score_batch: b.take_launches() }
    }

    /// x → z → x̂ → ẑ, and the three scores.
    fn score(&self, b: &mut Builder, x: Numbers, running: Option<Arena>) {
        let c = self.chains;
        let latent_i = c.encoder1.infer(b, self.netg, running, x);
        let fake = c.decoder.infer(b, self.netg, running, latent_i);
        let latent_o = c.encoder2.infer(b, self.netg, running, fake);
        let [l2, l1, con] = self.ports.scores;
        for (one, other, kind, to) in
            [(latent_i, latent_o, 0, l2), (latent_i, latent_o, 1, l1), (x, fake, 1, con)]
        {
            let pictures = one.extent.runs * one.extent.n;
            let len = one.extent.len() / pictures;
            b.launch(
                "picture_error",
                [pictures, 1, 1],
                &[one.buffer, other.buffer, to],
                &[len, kind],
                &[],
            );
        }
        for numbers in [latent_i, fake, latent_o] {
            b.release(numbers.buffer);
        }
    }

    fn sigmoid(&self, b: &mut Builder, logit: Numbers) -> Numbers {
        let y = Numbers { buffer: b.borrow(logit.extent.len()), ..logit };
        b.each("sigmoid", logit.extent.len(), &[logit.buffer, y.buffer], &[], &[]);
        y
    }

    fn loss(
        &self,
        b: &mut Builder,
        (one, other, kind, target): (Numbers, Numbers, usize, f64),
        which: usize,
    ) {
        let buffers = [one.buffer, other.buffer, self.ports.losses];
        let sizes = [one.extent.run_len(), kind, which];
        b.launch("mean_loss", [one.extent.runs, 1, 1], &buffers, &sizes, &[target]);
    }

    /// The gradient of a loss of two tensors for the first of them, added to what is in `onto` where that is given.
    fn pair(
        &self,
        b: &mut Builder,
        kernel: &'static str,
        (one, other): (Numbers, Numbers),
        factor: f64,
        onto: Option<Numbers>,
    ) -> Numbers {
        let to = onto.unwrap_or_else(|| Numbers { buffer: b.borrow(one.extent.len()), ..one });
        let buffers = [one.buffer, other.buffer, to.buffer];
        let sizes = [one.extent.run_len(), usize::from(onto.is_some())];
        b.each(kernel, one.extent.len(), &buffers, &sizes, &[factor]);
        to
    }

    fn cross_entropy(
        &self,
        b: &mut Builder,
        prediction: Numbers,
        target: bool,
        factor: f64,
    ) -> Numbers {
        let e = prediction.extent;
        let to = Numbers { buffer: b.borrow(e.len()), ..prediction };
        let factors = [factor, f64::from(u8::from(target))];
        let buffers = [prediction.buffer, to.buffer];
        b.each("cross_entropy_backward", e.len(), &buffers, &[e.run_len()], &factors);
        to
    }

    /// `one += other`, which is given back.
    fn add(&self, b: &mut Builder, one: Numbers, other: Numbers) {
        b.each("add", one.extent.len(), &[one.buffer, other.buffer, one.buffer], &[], &[]);
        b.release(other.buffer);
    }
}
