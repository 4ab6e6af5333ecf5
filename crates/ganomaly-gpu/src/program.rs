//! All that a card is asked to do for a group of runs, and where the host meets it.

use crate::chain::{Arena, Chain, Extent, Numbers};
use crate::error::Result;
use crate::launch::{Buffer, Builder, Launch};
use crate::step::Planner;
use ganomaly_model::ganomaly::Ganomaly;

/// The losses' places in a run's eight numbers.
pub const LOSSES: [&str; 5] = ["err_g_adv", "err_g_con", "err_g_enc", "err_d_real", "err_d_fake"];
/// Where `err_d` lies among them.
pub(crate) const ERR_D: usize = 5;
/// Numbers kept for a run's losses.
pub const LOSS_STRIDE: usize = 8;
/// Parts that a run's losses are summed in, as in the kernels.
pub(crate) const LOSS_PARTS: usize = 64;

/// The buffers that the host fills or reads, each with all runs' parts side by side.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The data set's pictures, u8 [P, S, S, C], four bytes to a number.
    pub pictures: Buffer,
    /// Which pictures each run takes, in its order: i32 [G, P'].
    pub order: Buffer,
    /// i32 [G]: how many pictures of its order each run has taken.
    pub position: Buffer,
    /// i32 [G]: how many pictures each run's order has.
    pub length: Buffer,
    /// i32 [G]: whether each run learns from the batch: not where it ran over the end of its order.
    pub active: Buffer,
    /// [C, 256]: what each byte of a channel stands for.
    pub table: Buffer,
    /// The batch, [G, N, S, S, C].
    pub batch: Buffer,
    /// [G, 8] in the order of [`LOSSES`], then `err_d`.
    pub losses: Buffer,
    /// f64 [G, 5, 64]: sums of parts of each loss.
    pub loss_parts: Buffer,
    /// The losses of all steps since it was last zeroed, added up.
    pub loss_sums: Buffer,
    /// The generator's parameters, [G, P].
    pub netg: Buffer,
    /// The discriminator's.
    pub netd: Buffer,
    /// The generator's running statistics.
    pub netg_running: Buffer,
    /// The discriminator's.
    pub netd_running: Buffer,
    /// What a discriminator that starts anew starts from.
    pub netd_fresh: Buffer,
    /// i32 [G]: how often each has.
    pub started_anew: Buffer,
    /// Gradients, [G, P].
    pub netg_gradients: Buffer,
    /// The discriminator's.
    pub netd_gradients: Buffer,
    /// [G, P'] each, in the runs' orders: l2, l1, con.
    pub scores: [Buffer; 3],
}

/// All launches of a group of runs, and the buffers they share.
#[derive(Debug)]
pub struct Program {
    /// Four-byte numbers in each buffer.
    pub buffers: Vec<usize>,
    /// Fills the training batch from the data set, and moves the positions on.
    pub load: Vec<Launch>,
    /// One training step on it.
    pub step: Vec<Launch>,
    /// Scoring a whole batch, then each remainder of a test set.
    pub passes: Vec<Pass>,
    /// Where the host meets them.
    pub ports: Ports,
    /// The generator's optimiser and the discriminator's. All zero before the first step.
    pub optimisers: [Optimiser; 2],
}

/// Where an Adam keeps what it remembers.
#[derive(Clone, Copy, Debug)]
pub struct Optimiser {
    /// First moments, [G, P].
    pub first: Buffer,
    /// Second moments, [G, P].
    pub second: Buffer,
    /// [G, 4]: steps taken (i32), and two factors that each step derives from them.
    pub clock: Buffer,
}

/// What is done with so many pictures of each run.
#[derive(Debug)]
pub struct Pass {
    /// Pictures of each run.
    pub pictures: usize,
    /// Fills the batch from the data set and moves the position on.
    pub load: Vec<Launch>,
    /// Scores of the batch, batch normalisation by running statistics.
    pub score_running: Vec<Launch>,
    /// The same by the batch's own statistics.
    pub score_batch: Vec<Launch>,
}

/// How many of what a [`Program`] is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// Runs side by side; their configs differ in seed and data alone.
    pub runs: usize,
    /// Pictures in a training batch.
    pub batch: usize,
    /// Pictures in a scoring batch.
    pub score_batch: usize,
    /// Pictures in the data set.
    pub pictures: usize,
    /// Most pictures in a run's order.
    pub order: usize,
    /// Pictures of the runs' test sets behind their last whole batches, each number once.
    pub remainders: Vec<usize>,
}

/// The four chains with their places in the arenas.
pub(crate) struct Chains {
    pub(crate) encoder1: Chain,
    pub(crate) decoder: Chain,
    pub(crate) encoder2: Chain,
    pub(crate) features: Chain,
    pub(crate) classifier: Chain,
}

impl Chains {
    fn new(model: &Ganomaly) -> Result<Self> {
        let (g, d) = (&model.netg, &model.netd);
        let encoder1 = Chain::new(&g.encoder1.kinds()?, 0, 0);
        let decoder = Chain::new(&g.decoder.kinds()?, encoder1.parameters, encoder1.running);
        let (p, r) = (encoder1.parameters + decoder.parameters, encoder1.running + decoder.running);
        let encoder2 = Chain::new(&g.encoder2.kinds()?, p, r);
        let features = Chain::new(&d.features.kinds()?, 0, 0);
        let classifier = Chain::new(&d.classifier.kinds()?, features.parameters, features.running);
        Ok(Self { encoder1, decoder, encoder2, features, classifier })
    }
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
        let picture = side * side * config.nc;
        let most = size.batch.max(size.score_batch);
        let netg =
            chains.encoder1.parameters + chains.decoder.parameters + chains.encoder2.parameters;
        let netd = chains.features.parameters + chains.classifier.parameters;
        let netg_running =
            chains.encoder1.running + chains.decoder.running + chains.encoder2.running;
        let netd_running = chains.features.running;
        let ports = Ports {
            pictures: b.keep((size.pictures * picture).div_ceil(4)),
            order: b.keep(runs * size.order),
            position: b.keep(runs),
            length: b.keep(runs),
            active: b.keep(runs),
            table: b.keep(config.nc * 256),
            batch: b.keep(runs * most * picture),
            losses: b.keep(runs * LOSS_STRIDE),
            loss_parts: b.keep(2 * runs * LOSSES.len() * LOSS_PARTS),
            loss_sums: b.keep(runs * LOSS_STRIDE),
            netg: b.keep(runs * netg),
            netd: b.keep(runs * netd),
            netg_running: b.keep(runs * netg_running),
            netd_running: b.keep((runs * netd_running).max(1)),
            netd_fresh: b.keep(runs * netd),
            started_anew: b.keep(runs),
            netg_gradients: b.keep(runs * netg),
            netd_gradients: b.keep(runs * netd),
            scores: [0; 3].map(|_| b.keep(runs * size.order)),
        };
        let extent = Extent { runs, n: size.batch, h: side, w: side, c: config.nc };
        let x = Numbers { buffer: ports.batch, extent };
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
