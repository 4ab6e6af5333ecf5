//! What a step and a score cost in multiplications.

use super::Ganomaly;
use crate::Result;

impl Ganomaly {
    /// Multiply-adds of the convolutions of a training step and of a score, for a batch of n pictures, in the way that the kernels
    /// choose for these sizes.
    pub fn multiply_adds(&self, n: usize) -> Result<(usize, usize)> {
        let (g, d, side) = (&self.netg, &self.netd, self.config.isize);
        let encoder1 = g.encoder1.multiply_adds(n, side)?;
        let decoder = g.decoder.multiply_adds(n, 1)?;
        let encoder2 = g.encoder2.multiply_adds(n, side)?;
        let features = d.features.multiply_adds(n, side)?;
        let classifier = d.classifier.multiply_adds(n, 4)?;
        let score = encoder1.all + decoder.all + encoder2.all;
        // Forward and both gradients; nobody wants that of the picture itself.
        let generator = 3 * score - encoder1.first;
        // Twice forward, the way back to x̂ for the generator, and twice both gradients but for the pictures'.
        let discriminator = 7 * features.all - 2 * features.first + 6 * classifier.all;
        Ok((generator + discriminator, score))
    }
}

#[cfg(test)]
mod tests {
    use crate::ganomaly::{Ganomaly, GanomalyConfig};

    #[test]
    fn one_picture_is_counted_layer_by_layer() {
        let model = Ganomaly::new(GanomalyConfig::default(), 0).unwrap();
        let (step, score) = model.multiply_adds(1).unwrap();
        // Each layer's outputs times a patch's numbers: 1 → 64 → 128 → 256 → 100 channels at 16, 8, 4 and 1.
        let pyramid = 256 * 64 * 16 + 64 * 128 * 1024 + 16 * 256 * 2048;
        let encoder = pyramid + 100 * 4096;
        assert_eq!(score, 3 * encoder);
        let first = 256 * 64 * 16;
        assert_eq!(step, 9 * encoder - first + 7 * pyramid - 2 * first + 6 * 4096);
    }
}
