//! How many runs a card should have at once.

use super::is_too_large;
use crate::config::{DeviceName, RunConfig};
use crate::{device, registry};
use anyhow::{Result, bail};
use ganomaly_gpu::{Group, Machine, Pictures, Size};
use ganomaly_model::ganomaly::Ganomaly;
use rayon::prelude::*;

/// Steps of a measurement behind two that warm up.
const STEPS: usize = 5;

/// How many runs like this one train the most pictures a second side by side on a card: 1, 2, 4 and so on up to `most`, as far as its memory
/// goes. Fresh networks take a few steps each.
pub fn fastest(config: &RunConfig, most: usize, device: DeviceName) -> Result<usize> {
    let mut best = (0.0, 1);
    let powers = (0..usize::BITS).map(|p| 1 << p).take_while(|&n| n < most);
    for runs in powers.chain([most]) {
        match steps_per_second(config, runs, device) {
            Ok(rate) if rate > best.0 => best = (rate, runs),
            Ok(_) => {}
            Err(e) if best.0 > 0.0 && is_too_large(&e) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(best.1)
}

/// Training steps a second of so many runs together.
fn steps_per_second(config: &RunConfig, runs: usize, device: DeviceName) -> Result<f64> {
    let channels = registry::dataset(&config.dataset)?.image_shape()[0];
    let seeds = (0..runs as u64).into_par_iter();
    let mut models = seeds
        .map(|seed| Ganomaly::new(config.model(channels), seed))
        .collect::<Result<Vec<_>, _>>()?;
    let table = vec![0.0; channels * 256];
    let nothing = Pictures { bytes: &[], table: &table };
    let size = Size {
        runs,
        batch: config.batch_size,
        score_batch: config.score_batch_size,
        pictures: 0,
        order: 0,
        remainders: Vec::new(),
    };
    let precision = config.precision.0;
    let seconds = match device {
        DeviceName::Twin => {
            let make = |buffers: &[usize]| device::twin(buffers, precision);
            time(Group::new(&mut models, nothing, size, make)?)?
        }
        DeviceName::Cuda(card) => {
            let make = |buffers: &[usize]| device::card(card, buffers, precision);
            time(Group::new(&mut models, nothing, size, make)?)?
        }
        other => bail!("device = \"{other}\" trains one run at a time"),
    };
    Ok((STEPS * runs) as f64 / seconds)
}

fn time<M: Machine>(mut group: Group<M>) -> Result<f64> {
    group.time_steps(2)?;
    Ok(group.time_steps(STEPS)?.iter().sum())
}
