//! How many runs a GPU should train at once.

use crate::device;
use crate::interrupt::Cancel;
use crate::train::is_too_large;
use crate::train::start;
use anyhow::{Result, bail};
use ganomaly_experiment::config::{DeviceName, RunConfig};
use ganomaly_gpu::{Group, Images, Machine, Size};
use rayon::prelude::*;

/// Measured steps, after two to warm up.
const STEPS: usize = 5;

/// How many runs like this one train the most images per second side by side on a GPU: tries 1, 2,
/// 4 and so on up to `most`, as far as its memory allows. Fresh networks take a few steps each.
pub fn fastest(
    config: &RunConfig,
    most: usize,
    device: DeviceName,
    cancel: &Cancel,
) -> Result<usize> {
    best(most, |runs| {
        cancel.check()?;
        let precision = config.precision.0;
        let seconds = match device {
            DeviceName::Twin => {
                measure(config, runs, |buffers| device::twin(buffers, precision))?.1
            }
            DeviceName::Cuda(gpu) => {
                measure(config, runs, |buffers| device::gpu(gpu, buffers, precision))?.1
            }
            other => bail!("device = \"{other}\" trains one run at a time"),
        };
        Ok((STEPS * runs) as f64 / seconds)
    })
}

/// Which of 1, 2, 4 and so on up to `most` has the highest rate, as far as the GPU's memory allows.
fn best(most: usize, mut rate: impl FnMut(usize) -> Result<f64>) -> Result<usize> {
    let mut best = (0.0, 1);
    let powers = (0..usize::BITS).map(|p| 1 << p).take_while(|&n| n < most);
    for runs in powers.chain([most]) {
        match rate(runs) {
            Ok(rate) if rate > best.0 => best = (rate, runs),
            Ok(_) => {}
            Err(e) if best.0 > 0.0 && is_too_large(&e) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(best.1)
}

/// Trains fresh networks side by side for the measured steps; returns them and the time taken.
fn measure<M: Machine>(
    config: &RunConfig,
    runs: usize,
    make: impl FnOnce(&[usize]) -> ganomaly_gpu::Result<M>,
) -> Result<(Group<M>, f64)> {
    let channels = config.input().channels;
    let seeds = (0..runs as u64).into_par_iter();
    let mut models =
        seeds.map(|seed| start::model(config, channels, seed)).collect::<Result<Vec<_>, _>>()?;
    let table = vec![0.0; channels * 256];
    let nothing = Images { bytes: &[], table: &table };
    let size = Size {
        runs,
        batch: config.batch_size,
        score_batch: config.score_batch_size,
        images: 0,
        order: 0,
        remainders: Vec::new(),
    };
    let mut group = Group::new(&mut models, nothing, size, make)?;
    group.time_steps(2)?;
    let seconds = group.time_steps(STEPS)?.iter().sum();
    Ok((group, seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip;
    use ganomaly_experiment::config::Experiment;
    use ganomaly_experiment::registry::Registry;
    use ganomaly_gpu::Error;
    use ganomaly_model::ganomaly::Ganomaly;

    fn config() -> RunConfig {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.toml");
        let text = "dataset = \"synthetic\"\ndevice = \"twin\"\nepochs = 1\nabnormal_class = 0\n\
                    seed = 0\nisize = 16\nngf = 4\nnz = 4\nbatch_size = 2\n";
        std::fs::write(&path, text).unwrap();
        Experiment::read(&path, &[], None, &Registry::builtin()).unwrap().runs.remove(0)
    }

    #[test]
    fn the_highest_rate_wins_and_memory_is_the_end() {
        let too_large = || Error::Memory { free: 1, needed: 2 }.into();
        let measured = |most, rates: &[(usize, f64)]| {
            let mut asked = Vec::new();
            let best = best(most, |runs| {
                asked.push(runs);
                let rate = rates.iter().find(|(n, _)| *n == runs);
                rate.map(|r| r.1).ok_or_else(too_large)
            });
            (best.ok(), asked)
        };
        assert_eq!(measured(1, &[(1, 5.0)]), (Some(1), vec![1]));
        assert_eq!(measured(3, &[(1, 5.0), (2, 9.0), (3, 7.0)]), (Some(2), vec![1, 2, 3]));
        assert_eq!(measured(4, &[(1, 5.0), (2, 9.0), (4, 9.5)]), (Some(4), vec![1, 2, 4]));
        // Four do not fit, so eight are not tried; if not even one fits, that is the error.
        assert_eq!(measured(8, &[(1, 5.0), (2, 4.0)]), (Some(1), vec![1, 2, 4]));
        assert_eq!(measured(8, &[]), (None, vec![1]));
        let other = best(8, |runs| if runs == 1 { Ok(1.0) } else { bail!("the GPU is gone") });
        assert_eq!(other.unwrap_err().to_string(), "the GPU is gone");
    }

    /// A GPU's buffers start as zeros, so a run learns from a step only if it is told to.
    #[test]
    fn measured_steps_are_whole_ones() {
        let config = config();
        let zeros = |buffers: &[usize]| {
            let mut twin = device::twin(buffers, config.precision.0)?;
            twin.buffers.iter_mut().for_each(|buffer| buffer.fill(0.0));
            Ok(twin)
        };
        let mut group = match measure(&config, 2, zeros) {
            Ok((group, seconds)) => {
                assert!(seconds > 0.0);
                group
            }
            Err(e) if format!("{e:#}").contains("C compiler") => {
                return skip::missing(&format!("{e:#}"));
            }
            Err(e) => panic!("{e:#}"),
        };
        let fresh = |seed| start::model(&config, 1, seed).unwrap();
        let (mut after, before): (Vec<_>, Vec<_>) = (0..2).map(|s| (fresh(s), fresh(s))).unzip();
        group.training_states(&mut after).unwrap();
        let weights = |model: &Ganomaly| {
            let all = model.netg.parameters().into_iter().chain(model.netd.parameters());
            all.map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect::<Vec<_>>()
        };
        for (after, before) in after.iter().zip(&before) {
            assert_eq!(after.optimisers().map(|adam| adam.steps()), [2 + STEPS as u64; 2]);
            for (after, before) in weights(after).iter().zip(&weights(before)) {
                assert!(after != before && after.iter().all(|w| w.is_finite()));
            }
        }
    }
}
