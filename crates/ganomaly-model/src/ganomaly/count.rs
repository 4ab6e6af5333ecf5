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

#[cfg(test)]
mod tests {
    use crate::ganomaly::{Ganomaly, GanomalyConfig};

    #[test]
    fn one_image_is_counted_layer_by_layer() {
        let model = Ganomaly::new(GanomalyConfig::default(), 0).unwrap();
        let (step, score) = model.multiply_adds(1).unwrap();
        // Each layer's outputs times the elements of a patch: 1 → 64 → 128 → 256 → 100 channels at
        // 16, 8, 4 and 1.
        let pyramid = 256 * 64 * 16 + 64 * 128 * 1024 + 16 * 256 * 2048;
        let encoder = pyramid + 100 * 4096;
        assert_eq!(score, 3 * encoder);
        let first = 256 * 64 * 16;
        assert_eq!(step, 9 * encoder - first + 7 * pyramid - 2 * first + 6 * 4096);
    }
}
