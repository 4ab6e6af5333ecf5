//! A training step of several GANomaly runs at once, and their scoring, as launches, in the order
//! of `ganomaly-model`'s `step.rs`.

use crate::group::ports::{Chains, ERR_D, LOSS_PARTS, Optimiser, Pass, Ports};
use crate::layers::chain::Chain;
use crate::layers::tensors::{Activations, Arena, Extent, Target};
use crate::machine::launch::{Buffer, Builder, THREADS};
use ganomaly_kernels::AdamConfig;
use ganomaly_model::ganomaly::{Adversarial, GanomalyConfig, REINIT_BELOW};

/// Builds the launches of a step and of scoring.
pub(crate) struct Planner<'a> {
    pub(crate) config: &'a GanomalyConfig,
    pub(crate) chains: &'a Chains,
    pub(crate) ports: Ports,
    pub(crate) x: Activations,
    pub(crate) netg: Arena,
    pub(crate) netd: Arena,
    pub(crate) netg_running: Arena,
    pub(crate) netd_running: Arena,
    pub(crate) netg_gradients: Arena,
    pub(crate) netd_gradients: Arena,
}

impl Planner<'_> {
    /// Plans a step. Returns the optimisers' state, which must be zero before the first step.
    pub(crate) fn step(&self, b: &mut Builder) -> [Optimiser; 2] {
        let (config, c, x) = (self.config, self.chains, self.x);
        let (netg, netd) = (self.netg, self.netd);
        let (latent_i, encoder1) = c.encoder1.forward(b, netg, x);
        let (fake, decoder) = c.decoder.forward(b, netg, latent_i);
        let (latent_o, encoder2) = c.encoder2.forward(b, netg, fake);
        let (feat_real, features_real) = c.features.forward(b, netd, x);
        let (feat_fake, features_fake) = c.features.forward(b, netd, fake);
        let (logit_real, classifier_real) = c.classifier.forward(b, netd, feat_real);
        let (logit_fake, classifier_fake) = c.classifier.forward(b, netd, feat_fake);
        c.encoder1.track(b, (self.netg_running, self.ports.active), &encoder1);
        c.decoder.track(b, (self.netg_running, self.ports.active), &decoder);
        c.encoder2.track(b, (self.netg_running, self.ports.active), &encoder2);
        for tape in [&features_real, &features_fake, &features_real, &features_fake] {
            c.features.track(b, (self.netd_running, self.ports.active), tape);
        }

        // The losses, each with its gradient, in the order of LOSSES.
        let d_feat_fake = match config.adversarial {
            Adversarial::Feature => self.squared(b, (feat_fake, feat_real), 0, config.w_adv),
            Adversarial::Bce => {
                let d_logit = self.cross_entropy(b, logit_fake, (0, true), config.w_adv);
                c.classifier.backward(b, netd, &classifier_fake, d_logit, None)
            }
        };
        let d_latent_o = self.squared(b, (latent_o, latent_i), 2, config.w_enc);
        let d_logit_real = self.cross_entropy(b, logit_real, (3, true), 0.5);
        let d_logit_fake = self.cross_entropy(b, logit_fake, (4, false), 0.5);

        // The generator's gradients.
        let target = Target { gradients: self.netg_gradients, add: false };
        let d_fake = c.encoder2.backward(b, netg, &encoder2, d_latent_o, Some(target));
        let adversarial = c.features.backward(b, netd, &features_fake, d_feat_fake, None);
        self.absolute(b, (fake, x), (d_fake, adversarial), 1, config.w_con);
        let d_latent_i = c.decoder.backward(b, netg, &decoder, d_fake, Some(target));
        // z also receives a direct gradient from the encoder term, because the reference does not
        // detach it.
        let (len, run_len) = (latent_i.extent.len(), latent_i.extent.run_len());
        let buffers = [latent_i.buffer, latent_o.buffer, d_latent_i.buffer];
        b.each("add_squared_gradient", len, &buffers, &[run_len], &[config.w_enc]);
        c.encoder1.backward_parameters(b, netg, &encoder1, d_latent_i, target);
        let means = [
            match config.adversarial {
                Adversarial::Feature => feat_fake,
                Adversarial::Bce => logit_fake,
            },
            fake,
            latent_o,
            logit_real,
            logit_fake,
        ];
        let ports = self.ports;
        b.launch(
            "losses_merge",
            [x.extent.runs, 1, 1],
            &[ports.loss_parts, ports.losses, ports.loss_sums, ports.active],
            &means.map(|numbers| numbers.extent.run_len()),
            &[],
        );

        // The discriminator's.
        for (add, d_logit, features, classifier) in [
            (false, d_logit_real, &features_real, &classifier_real),
            (true, d_logit_fake, &features_fake, &classifier_fake),
        ] {
            let target = Target { gradients: self.netd_gradients, add };
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
        self.update(b)
    }

    /// Steps both optimisers, and re-initialises the discriminator if its loss has vanished.
    fn update(&self, b: &mut Builder) -> [Optimiser; 2] {
        let (config, runs) = (self.config, self.x.extent.runs);
        let Ports { netd_fresh, losses, reinitialised, active, .. } = self.ports;
        let optimisers = [(self.netg, self.netg_gradients), (self.netd, self.netd_gradients)].map(
            |(weights, gradients)| {
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
                b.work(0, 7 * len);
                Optimiser { first, second, clock }
            },
        );
        b.launch(
            "reinitialise",
            [self.netd.distance.div_ceil(THREADS), runs, 1],
            &[self.netd.buffer, netd_fresh, losses, reinitialised, active],
            &[self.netd.distance, ERR_D],
            &[REINIT_BELOW],
        );
        optimisers
    }

    /// Fills the batch with `n` images per run, whose order has room for `order`, and advances the
    /// positions.
    pub(crate) fn load(&self, b: &mut Builder, n: usize, order: usize) -> Extent {
        let (extent, ports) = (Extent { n, ..self.x.extent }, self.ports);
        b.launch(
            "gather",
            [extent.run_len().div_ceil(THREADS), extent.runs, 1],
            &[ports.images, ports.order, ports.batch, ports.position, ports.table],
            &[extent.run_len() / n, n, order, extent.c],
            &[],
        );
        b.each("advance", extent.runs, &[ports.position, ports.length, ports.active], &[n], &[]);
        extent
    }

    /// Loading and scoring of `n` images per run.
    pub(crate) fn pass(&self, b: &mut Builder, n: usize, order: usize) -> Pass {
        let extent = self.load(b, n, order);
        let load = b.take_launches();
        let x = Activations { extent, ..self.x };
        self.score(b, x, Some(self.netg_running), order);
        let score_running = b.take_launches();
        self.score(b, x, None, order);
        Pass { images: n, load, score_running, score_batch: b.take_launches() }
    }

    /// x → z → x̂ → ẑ, and the three scores.
    fn score(&self, b: &mut Builder, x: Activations, running: Option<Arena>, order: usize) {
        let c = self.chains;
        let latent_i = c.encoder1.infer(b, self.netg, running, x);
        let fake = c.decoder.infer(b, self.netg, running, latent_i);
        let latent_o = c.encoder2.infer(b, self.netg, running, fake);
        let [l2, l1, con] = self.ports.scores;
        for (one, other, kind, to) in
            [(latent_i, latent_o, 0, l2), (latent_i, latent_o, 1, l1), (x, fake, 1, con)]
        {
            let Extent { runs, n, .. } = one.extent;
            b.launch(
                "image_error",
                [n, runs, 1],
                &[one.buffer, other.buffer, to, self.ports.position],
                &[one.extent.run_len() / n, kind, n, order],
                &[],
            );
        }
        for numbers in [latent_i, fake, latent_o] {
            b.release(numbers.buffer);
        }
    }

    /// mean((one − other)²), and its gradient with respect to `one`, borrowed.
    fn squared(
        &self,
        b: &mut Builder,
        (one, other): (Activations, Activations),
        which: usize,
        weight: f64,
    ) -> Activations {
        let to = Activations { buffer: b.borrow(one.extent.len()), ..one };
        let buffers = [one.buffer, other.buffer, to.buffer, self.ports.loss_parts];
        self.loss(b, "squared_loss", (one, 3), &buffers, which, &[weight]);
        to
    }

    /// mean|one − other|. Its gradient with respect to `one` and the second of `sum` are added to
    /// the first of `sum`; the second is released.
    fn absolute(
        &self,
        b: &mut Builder,
        (one, other): (Activations, Activations),
        sum: (Activations, Activations),
        which: usize,
        weight: f64,
    ) {
        let buffers = [one.buffer, other.buffer, sum.0.buffer, self.ports.loss_parts, sum.1.buffer];
        self.loss(b, "absolute_loss", (one, 5), &buffers, which, &[weight]);
        b.release(sum.1.buffer);
    }

    /// BCE(sigmoid(logit), target), and its gradient with respect to the logit, borrowed.
    fn cross_entropy(
        &self,
        b: &mut Builder,
        logit: Activations,
        (which, target): (usize, bool),
        weight: f64,
    ) -> Activations {
        let to = Activations { buffer: b.borrow(logit.extent.len()), ..logit };
        let buffers = [logit.buffer, logit.buffer, to.buffer, self.ports.loss_parts];
        let factors = [weight, f64::from(u8::from(target))];
        self.loss(b, "cross_entropy_loss", (logit, 2), &buffers, which, &factors);
        to
    }

    /// A loss over `of`, which accesses `touched` values per element.
    fn loss(
        &self,
        b: &mut Builder,
        kernel: &'static str,
        (of, touched): (Activations, usize),
        buffers: &[Buffer],
        which: usize,
        factors: &[f64],
    ) {
        let grid = [LOSS_PARTS, of.extent.runs, 1];
        b.launch(kernel, grid, buffers, &[of.extent.run_len(), which], factors);
        b.work(0, touched * of.extent.len());
    }
}
