//! The data set in the form a GPU takes.

use anyhow::Result;
use ganomaly_experiment::run_data::RunData;
use rayon::prelude::*;

/// All images as bytes `[P, S, S, C]` of the network's size, and the network's number for each byte
/// of a channel.
pub(super) fn prepared(data: &RunData) -> Result<(Vec<u8>, Vec<f32>)> {
    let (shape, transform) = (data.images.shape(), &data.transform);
    transform.check(shape[0])?;
    let (channels, side) = (shape[0], transform.image_size);
    let pixels = |index: usize| -> Result<Vec<u8>> {
        let planes = data.images.resized(index, side, transform.resize)?;
        let pixel = |at: usize| (0..channels).map(move |c| c * side * side + at);
        Ok((0..side * side).flat_map(pixel).map(|at| planes[at]).collect())
    };
    let all: Vec<Vec<u8>> =
        (0..data.images.len()).into_par_iter().map(pixels).collect::<Result<_>>()?;
    let normalization = &transform.normalization;
    let channel = |(mean, std): (&f32, &f32)| {
        let (mean, std) = (*mean, *std);
        (0..=u8::MAX).map(move |byte| (f32::from(byte) / 255.0 - mean) / std)
    };
    let table = normalization.mean.iter().zip(&normalization.std).flat_map(channel).collect();
    Ok((all.concat(), table))
}
