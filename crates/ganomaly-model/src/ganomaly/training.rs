//! The state needed to resume training: weights, both optimisers, and the random stream.
//!
//! In addition to the tensors of [`Detector::state`], for `g` (the generator) and `d` (the
//! discriminator), with the parameters' names:
//!
//! | tensor | shape | what |
//! |---|---|---|
//! | `adam_g.first.NAME`, `adam_g.second.NAME` | as the kernels lay the parameter out | Adam's moments |
//! | `adam_g.steps` | i64 scalar | Adam's steps |
//! | `random.position` | u8 `[16]` | 32-bit words drawn from the stream of weights, little endian |

use super::Ganomaly;
use crate::{Detector, Error, NamedTensors, Result};
use candle_core::{Device, Tensor};
use ganomaly_kernels::Adam;
use std::collections::HashMap;

const POSITION: &str = "random.position";

impl Ganomaly {
    /// The generator's optimiser and the discriminator's.
    pub fn optimisers(&self) -> [&Adam; 2] {
        [&self.adam_g, &self.adam_d]
    }

    /// Sets both optimisers' counts of steps, the generator's first.
    pub fn set_optimiser_steps(&mut self, [g, d]: [u64; 2]) {
        self.adam_g.set_steps(g);
        self.adam_d.set_steps(d);
    }

    /// The number of 32-bit words drawn so far from the random stream of weights.
    pub fn random_position(&self) -> u128 {
        self.rng.get_word_pos()
    }

    /// Sets the position from which the next words are drawn.
    pub fn set_random_position(&mut self, words: u128) {
        self.rng.set_word_pos(words);
    }

    /// Each moment's name and tensor.
    fn moments(&self) -> NamedTensors {
        let names = [self.netg.parameter_names(), self.netd.parameter_names()];
        let mut all = Vec::new();
        for ((network, names), adam) in ["g", "d"].iter().zip(&names).zip(self.optimisers()) {
            for (moment, tensors) in ["first", "second"].iter().zip(adam.moments()) {
                let name = |name: &String| format!("adam_{network}.{moment}.{name}");
                all.extend(names.iter().map(name).zip(tensors));
            }
        }
        all
    }

    pub(super) fn training(&self) -> Result<NamedTensors> {
        let mut all = self.state()?;
        for (name, tensor) in self.moments() {
            all.push((name, tensor.copy()?));
        }
        for (network, adam) in ["g", "d"].iter().zip(self.optimisers()) {
            let steps = i64::try_from(adam.steps()).unwrap_or(i64::MAX);
            all.push((format!("adam_{network}.steps"), Tensor::new(steps, &Device::Cpu)?));
        }
        let position = self.random_position().to_le_bytes();
        all.push((POSITION.into(), Tensor::new(&position, &Device::Cpu)?));
        Ok(all)
    }

    pub(super) fn load_training(&mut self, state: &NamedTensors) -> Result<()> {
        let ours = |name: &str| name.starts_with("adam_") || name == POSITION;
        let (own, weights): (NamedTensors, NamedTensors) =
            state.iter().cloned().partition(|(name, _)| ours(name));
        let mut own: HashMap<String, Tensor> = own.into_iter().collect();
        let mut take = |name: &str, like: &Tensor| match own.remove(name) {
            Some(tensor) if tensor.dims() == like.dims() && tensor.dtype() == like.dtype() => {
                Ok(tensor)
            }
            Some(tensor) => Err(Error::Weights(format!(
                "the tensor {name:?} is {:?} of shape {:?}, but this detector needs {:?} of shape {:?}",
                tensor.dtype(),
                tensor.dims(),
                like.dtype(),
                like.dims()
            ))),
            None => Err(Error::Weights(format!("the training state has no tensor {name:?}"))),
        };
        let mut moments = Vec::new();
        for (name, target) in self.moments() {
            let source = take(&name, &target)?;
            moments.push((target, source));
        }
        let mut steps = [0; 2];
        for (network, steps) in ["g", "d"].iter().zip(&mut steps) {
            let name = format!("adam_{network}.steps");
            let given = take(&name, &Tensor::new(0i64, &Device::Cpu)?)?.to_scalar::<i64>()?;
            *steps = u64::try_from(given)
                .map_err(|_| Error::Weights(format!("the tensor {name:?} is {given}")))?;
        }
        let position = take(POSITION, &Tensor::new(&[0u8; 16], &Device::Cpu)?)?.to_vec1::<u8>()?;
        let mut words = [0; 16];
        words.copy_from_slice(&position);
        if let Some(name) = own.keys().min() {
            return Err(Error::Weights(format!(
                "the training state has a tensor {name:?}, which this detector does not know"
            )));
        }
        // Everything else has been checked; `load_state` restores the old weights if it fails.
        self.load_state(&weights)?;
        for (target, source) in moments {
            target.slice_set(&source.contiguous()?, 0, 0)?;
        }
        self.set_optimiser_steps(steps);
        self.set_random_position(u128::from_le_bytes(words));
        Ok(())
    }
}
