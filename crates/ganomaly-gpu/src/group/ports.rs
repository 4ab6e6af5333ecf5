//! The buffers that the host uses, and what a group of runs is made for.

use crate::error::Result;
use crate::layers::chain::Chain;
use crate::machine::launch::{Buffer, Launch};
use ganomaly_model::ganomaly::Ganomaly;

/// The losses by their position in a run's eight values.
pub const LOSSES: [&str; 5] = ["err_g_adv", "err_g_con", "err_g_enc", "err_d_real", "err_d_fake"];
/// The position of `err_d` among them.
pub(crate) const ERR_D: usize = 5;
/// Values kept for a run's losses.
pub const LOSS_STRIDE: usize = 8;
/// Number of parts in which a run's losses are summed, as in the kernels.
pub(crate) const LOSS_PARTS: usize = 64;

/// The buffers that the host fills or reads, each with the parts of all runs in turn.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The data set's images, u8 [P, S, S, C], four bytes per number.
    pub images: Buffer,
    /// i32 [G, P']: the images that each run takes, in order.
    pub order: Buffer,
    /// i32 [G]: how many images of its order each run has taken.
    pub position: Buffer,
    /// i32 [G]: the number of images in each run's order.
    pub length: Buffer,
    /// i32 [G]: whether each run learns from the batch, which it does not after the end of its
    /// order.
    pub active: Buffer,
    /// [C, 256]: the value for each byte of a channel.
    pub table: Buffer,
    /// The batch, [G, N, S, S, C].
    pub batch: Buffer,
    /// [G, 8] in the order of [`LOSSES`], then `err_d`.
    pub losses: Buffer,
    /// f64 [G, 5, 64]: sums of parts of each loss.
    pub loss_parts: Buffer,
    /// The sums of the losses of all steps since it was last zeroed.
    pub loss_sums: Buffer,
    /// The generator's parameters, [G, P].
    pub netg: Buffer,
    /// The discriminator's.
    pub netd: Buffer,
    /// The generator's running statistics.
    pub netg_running: Buffer,
    /// The discriminator's.
    pub netd_running: Buffer,
    /// The weights for a re-initialisation of the discriminator.
    pub netd_fresh: Buffer,
    /// i32 [G]: how often each discriminator has been re-initialised.
    pub reinitialised: Buffer,
    /// The generator's gradients, [G, P].
    pub netg_gradients: Buffer,
    /// The discriminator's.
    pub netd_gradients: Buffer,
    /// [G, P'] each, in the runs' orders: l2, l1, con.
    pub scores: [Buffer; 3],
}

/// The buffers of an Adam optimiser's state.
#[derive(Clone, Copy, Debug)]
pub struct Optimiser {
    /// First moments, [G, P].
    pub first: Buffer,
    /// Second moments, [G, P].
    pub second: Buffer,
    /// [G, 4]: steps taken (i32), and two factors that each step derives from them.
    pub clock: Buffer,
}

/// Loading and scoring of a number of images per run.
#[derive(Debug)]
pub struct Pass {
    /// Images per run.
    pub images: usize,
    /// Fills the batch from the data set and advances the positions.
    pub load: Vec<Launch>,
    /// Scores the batch, with batch normalisation by running statistics.
    pub score_running: Vec<Launch>,
    /// The same with the batch's own statistics.
    pub score_batch: Vec<Launch>,
}

/// The sizes that a [`crate::Program`] is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// Number of runs; their configs differ only in seed and data.
    pub runs: usize,
    /// Images in a training batch.
    pub batch: usize,
    /// Images in a scoring batch.
    pub score_batch: usize,
    /// Images in the data set.
    pub images: usize,
    /// Maximum number of images in a run's order.
    pub order: usize,
    /// Sizes of the remainders of the runs' test sets after their last whole batches, each once.
    pub remainders: Vec<usize>,
}

/// The chains with their positions in the arenas.
pub(crate) struct Chains {
    pub(crate) encoder1: Chain,
    pub(crate) decoder: Chain,
    pub(crate) encoder2: Chain,
    pub(crate) features: Chain,
    pub(crate) classifier: Chain,
}

impl Chains {
    pub(crate) fn new(model: &Ganomaly) -> Result<Self> {
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
