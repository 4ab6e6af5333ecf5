//! Images that look the same though their bytes differ: saved again, resized, or of the same moment.

use crate::image_file::planes;
use crate::{Resize, Result, resize};
use image::DynamicImage;

/// Side of a thumbnail.
const SIDE: usize = 16;
/// Two images look the same if their thumbnails differ by this many grey levels on average, and
/// nowhere by more than that.
const CLOSE: f32 = 0.5;
const NOWHERE_MORE: u8 = 3;
/// What is compared before the thumbnails themselves.
const PROJECTIONS: usize = 4;

/// A small grey image.
pub(super) struct Thumbnail {
    pixels: Vec<u8>,
    projections: [f32; PROJECTIONS],
}

impl Thumbnail {
    pub fn of(image: DynamicImage) -> Result<Self> {
        let (grey, shape) = planes(image, 1);
        let pixels = resize(&grey, shape, SIDE, Resize::Stretch)?.into_owned();
        // Sums of the pixels with signs that look random. A difference of the sums, over the number
        // of pixels, is never more than the mean difference of the pixels.
        let sign = |row: usize, at: usize| {
            let mixed = ((row * SIDE * SIDE + at) as u32).wrapping_mul(0x9e37_79b9);
            if (mixed >> 16).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 }
        };
        let sum = |row: usize| {
            let signed = pixels.iter().enumerate().map(|(at, &v)| sign(row, at) * f32::from(v));
            signed.sum::<f32>() / pixels.len() as f32
        };
        let projections = std::array::from_fn(sum);
        Ok(Self { pixels, projections })
    }

    fn is_close(&self, other: &Self) -> bool {
        let mut projections = self.projections.iter().zip(&other.projections);
        let differences = || self.pixels.iter().zip(&other.pixels).map(|(&a, &b)| a.abs_diff(b));
        projections.all(|(a, b)| (a - b).abs() <= CLOSE)
            && differences().all(|d| d <= NOWHERE_MORE)
            && differences().map(f32::from).sum::<f32>() <= CLOSE * self.pixels.len() as f32
    }
}

/// For each image that looks the same as another one, the pair of both, in the order of the images.
pub(super) fn similar(thumbnails: &[Thumbnail]) -> Vec<(usize, usize)> {
    let first = |at: usize| thumbnails[at].projections[0];
    let mut order: Vec<usize> = (0..thumbnails.len()).collect();
    order.sort_by(|&a, &b| first(a).total_cmp(&first(b)).then(a.cmp(&b)));
    let mut pairs = Vec::new();
    for (place, &at) in order.iter().enumerate() {
        let before = order[..place].iter().rev();
        let near = before.take_while(|&&other| first(at) - first(other) <= CLOSE);
        let close = near.copied().find(|&other| thumbnails[at].is_close(&thumbnails[other]));
        pairs.extend(close.map(|other| (other.min(at), other.max(at))));
    }
    pairs.sort_unstable();
    pairs
}
