//! The launches for a group of runs, and the buffers that the host uses.

use super::ports::{Chains, LOSS_PARTS, LOSS_STRIDE, LOSSES, Optimiser, Pass, Ports, Size};
use crate::detectors::ganomaly::Planner;
use crate::error::Result;
use crate::layers::tensors::{Activations, Arena, Extent};
use crate::machine::launch::{Builder, Launch};
use ganomaly_model::ganomaly::Ganomaly;

/// All launches of a group of runs, and the buffers they share.
#[derive(Debug)]
pub struct Program {
    /// Four-byte numbers in each buffer.
    pub buffers: Vec<usize>,
    /// Fills the training batch from the data set, and advances the positions.
    pub load: Vec<Launch>,
    /// One training step on that batch.
    pub step: Vec<Launch>,
    /// Scoring a whole batch, then each remainder of a test set.
    pub passes: Vec<Pass>,
    /// The buffers that the host uses.
    pub ports: Ports,
    /// The generator's optimiser and the discriminator's. All zero before the first step.
    pub optimisers: [Optimiser; 2],
}

impl Program {
    /// Every launch.
    pub fn launches(&self) -> impl Iterator<Item = &Launch> {
        let passes = self.passes.iter().flat_map(|p| [&p.load, &p.score_running, &p.score_batch]);
        self.load.iter().chain(&self.step).chain(passes.flatten())
    }

    /// Plans a group of runs like `model`.
    pub fn new(model: &Ganomaly, size: &Size) -> Result<Self> {
        let config = model.config();
        let chains = Chains::new(model)?;
        let mut b = Builder::default();
        let runs = size.runs;
        let side = config.isize;
        let image = side * side * config.nc;
        let most = size.batch.max(size.score_batch);
        let netg =
            chains.encoder1.parameters + chains.decoder.parameters + chains.encoder2.parameters;
        let netd = chains.features.parameters + chains.classifier.parameters;
        let netg_running =
            chains.encoder1.running + chains.decoder.running + chains.encoder2.running;
        let netd_running = chains.features.running;
        let ports = Ports {
            images: b.keep((size.images * image).div_ceil(4)),
            order: b.keep(runs * size.order),
            position: b.keep(runs),
            length: b.keep(runs),
            active: b.keep(runs),
            table: b.keep(config.nc * 256),
            batch: b.keep(runs * most * image),
            losses: b.keep(runs * LOSS_STRIDE),
            loss_parts: b.keep(2 * runs * LOSSES.len() * LOSS_PARTS),
            loss_sums: b.keep(runs * LOSS_STRIDE),
            netg: b.keep(runs * netg),
            netd: b.keep(runs * netd),
            netg_running: b.keep(runs * netg_running),
            netd_running: b.keep((runs * netd_running).max(1)),
            netd_fresh: b.keep(runs * netd),
            reinitialised: b.keep(runs),
            netg_gradients: b.keep(runs * netg),
            netd_gradients: b.keep(runs * netd),
            scores: [0; 3].map(|_| b.keep(runs * size.order)),
        };
        let extent = Extent { runs, n: size.batch, h: side, w: side, c: config.nc };
        let x = Activations { buffer: ports.batch, extent };
        let arena = |buffer, distance| Arena { buffer, distance };
        let planner = Planner {
            config,
            chains: &chains,
            ports,
            x,
            netg: arena(ports.netg, netg),
            netd: arena(ports.netd, netd),
            netg_running: arena(ports.netg_running, netg_running),
            netd_running: arena(ports.netd_running, netd_running),
            netg_gradients: arena(ports.netg_gradients, netg),
            netd_gradients: arena(ports.netd_gradients, netd),
        };

        planner.load(&mut b, size.batch, size.order);
        let load = b.take_launches();
        let passes = std::iter::once(size.score_batch)
            .chain(size.remainders.iter().copied())
            .map(|n| planner.pass(&mut b, n, size.order))
            .collect();
        let optimisers = planner.step(&mut b);
        let step = b.take_launches();
        b.check()?;
        Ok(Self { buffers: b.buffers().to_vec(), load, step, passes, ports, optimisers })
    }
}
