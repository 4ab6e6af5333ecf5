//! The cost of a training step and of scoring, in multiply-adds.

use super::Ganomaly;
use crate::Result;

impl Ganomaly {
    /// Multiply-adds of the convolutions of a training step and of scoring, for a batch of n
    /// images, with the methods that the kernels choose for these sizes.
    pub fn multiply_adds(&self, n: usize) -> Result<(usize, usize)> {
        let (g, d, side) = (&self.netg, &self.netd, self.config.isize);
        let encoder1 = g.encoder1.multiply_adds(n, side)?;
        let decoder = g.decoder.multiply_adds(n, 1)?;
        let encoder2 = g.encoder2.multiply_adds(n, side)?;
        let features = d.features.multiply_adds(n, side)?;
        let classifier = d.classifier.multiply_adds(n, 4)?;
        let score = encoder1.all + decoder.all + encoder2.all;
        // Forward and both gradients, except the gradient of the image itself.
        let generator = 3 * score - encoder1.first;
        // Two forward passes, the gradient of x̂ for the generator, and twice both gradients except
        // the images'.
        let discriminator = 7 * features.all - 2 * features.first + 6 * classifier.all;
        Ok((generator + discriminator, score))
    }
}
