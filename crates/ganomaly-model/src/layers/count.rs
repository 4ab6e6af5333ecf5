//! Counts the multiplications in a chain's convolutions.

use super::{Op, Sequential};
use crate::Result;

/// Multiply-adds of a chain's convolutions in one pass, and of the first one alone, because the
/// gradient of its input is not always needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MultiplyAdds {
    pub all: usize,
    pub first: usize,
}

impl Sequential {
    /// Counts them for n images of the given side.
    pub(crate) fn multiply_adds(&self, n: usize, side: usize) -> Result<MultiplyAdds> {
        let (mut side, mut count) = (side, MultiplyAdds::default());
        for layer in &self.layers {
            let Op::Conv { conv, transposed, weight } = &layer.op else { continue };
            let (_, _, i, o) = weight.dims4()?;
            let next =
                if *transposed { conv.transposed_size(side)? } else { conv.output_size(side)? };
            // A transposed convolution is a plain one run backwards.
            let input = if *transposed { next } else { side };
            let own = conv.multiply_adds((n, input, input), (i, o))?;
            if count.all == 0 {
                count.first = own;
            }
            count.all += own;
            side = next;
        }
        Ok(count)
    }
}
