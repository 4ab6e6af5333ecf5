//! Scoring: x → z → x̂ → ẑ, without saving anything for gradients.

use super::Ganomaly;
use crate::{BatchNormMode, Result, Scores};
use candle_core::Tensor;
use ganomaly_kernels::loss;

/// What scoring computes for a batch, channels-last.
#[derive(Debug)]
pub struct Inference {
    /// The batch, `[N, S, S, nc]`.
    pub x: Tensor,
    /// The reconstruction, `[N, S, S, nc]`.
    pub fake: Tensor,
    /// z, `[N, 1, 1, nz]`.
    pub latent_i: Tensor,
    /// ẑ, `[N, 1, 1, nz]`.
    pub latent_o: Tensor,
}

impl Ganomaly {
    /// Runs the generator on a batch `[N, nc, S, S]` without learning.
    pub fn infer(&self, x: &Tensor, mode: BatchNormMode) -> Result<Inference> {
        let x = self.input(x)?;
        let latent_i = self.netg.encoder1.infer(&x, mode)?;
        let fake = self.netg.decoder.infer(&latent_i, mode)?;
        let latent_o = self.netg.encoder2.infer(&fake, mode)?;
        Ok(Inference { x, fake, latent_i, latent_o })
    }
}

impl Inference {
    /// All three scores of each image.
    pub fn scores(&self) -> Result<Scores> {
        let (l1, l2) = loss::image_errors(&self.latent_i, &self.latent_o)?;
        let (con, _) = loss::image_errors(&self.x, &self.fake)?;
        Ok(Scores::new([("l2", l2), ("l1", l1), ("con", con)]))
    }
}
