//! For detectors that are written with candle-nn: the variables of a [`VarMap`] and their
//! optimisers as the state that a [`Detector`](crate::Detector) gives and takes.

use crate::random::{normal, stream};
use crate::{Error, NamedTensors, Result};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use candle_nn::{Optimizer, VarMap};
use ganomaly_kernels::AdamConfig;
use ganomaly_kernels::autograd::VarAdam;
use std::sync::PoisonError;

/// Standard deviation of fresh weights, as in the published GANs (DCGAN's initial values).
const STD: f64 = 0.02;

/// A network's variables by name, and optimisers for parts of them.
#[derive(Debug)]
pub struct Variables {
    all: Vec<(String, Var)>,
    optimisers: Vec<(Vec<String>, VarAdam)>,
}

impl Variables {
    /// Takes the variables that a network was built from, and draws fresh weights from the seed:
    /// those of convolutions and linear layers from N(0, 0.02²), those of batch norms (one axis)
    /// from N(1, 0.02²). Biases become 0 (candle-nn draws them from a generator that cannot be
    /// seeded); running statistics stay. Each optimiser has the variables whose names begin with its
    /// prefix.
    pub fn new(map: &VarMap, seed: u64, optimisers: &[(&str, AdamConfig)]) -> Result<Self> {
        let vars = map.data().lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<(String, Var)> =
            vars.iter().map(|(name, var)| (name.clone(), var.clone())).collect();
        // A map's own order is another one every time.
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let mut rng = stream(seed, b"weights ");
        for (name, var) in &all {
            let fresh = if name.ends_with("weight") {
                let mean = if var.rank() == 1 { 1.0 } else { 0.0 };
                normal(&mut rng, (mean, STD), var.dims(), var.dtype())?
            } else if name.ends_with("bias") {
                var.zeros_like()?
            } else {
                continue;
            };
            var.set(&fresh)?;
        }
        let optimiser = |(prefix, config): &(&str, AdamConfig)| {
            let own =
                all.iter().filter(|(name, var)| name.starts_with(prefix) && var.dtype().is_float());
            let (names, vars) = own.cloned().unzip();
            Ok((names, VarAdam::new(vars, *config)?))
        };
        let optimisers = optimisers.iter().map(optimiser).collect::<Result<_>>()?;
        Ok(Self { all, optimisers })
    }

    /// Takes a step with one of the optimisers.
    pub fn step(&mut self, optimiser: usize, gradients: &GradStore) -> Result<()> {
        Ok(self.optimisers[optimiser].1.step(gradients)?)
    }

    /// Sets the learning rate of every optimiser.
    pub fn set_learning_rate(&mut self, lr: f64) {
        self.optimisers.iter_mut().for_each(|(_, optimiser)| optimiser.set_learning_rate(lr));
    }

    /// Copies of all variables, sorted by name.
    pub fn state(&self) -> Result<NamedTensors> {
        self.all.iter().map(|(name, var)| Ok((name.clone(), var.as_tensor().copy()?))).collect()
    }

    /// The moments of the optimisers, by name.
    fn moments(&self) -> NamedTensors {
        let mut all = NamedTensors::new();
        for (which, (names, optimiser)) in self.optimisers.iter().enumerate() {
            for (moment, tensors) in ["first", "second"].iter().zip(optimiser.adam().moments()) {
                let name = |name: &String| format!("adam{which}.{moment}.{name}");
                all.extend(names.iter().map(name).zip(tensors));
            }
        }
        all
    }

    /// [`Self::state`], the moments of the optimisers and their counts of steps.
    pub fn training_state(&self) -> Result<NamedTensors> {
        let mut all = self.state()?;
        for (name, moment) in self.moments() {
            all.push((name, moment.copy()?));
        }
        for (which, (_, optimiser)) in self.optimisers.iter().enumerate() {
            let steps = i64::try_from(optimiser.adam().steps()).unwrap_or(i64::MAX);
            all.push((format!("adam{which}.steps"), Tensor::new(steps, &Device::Cpu)?));
        }
        Ok(all)
    }

    /// Replaces all variables. If a name, type or shape is wrong, nothing is changed.
    pub fn load_state(&mut self, state: &NamedTensors) -> Result<()> {
        let targets = self.all.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        copy(state, targets.collect())
    }

    /// Restores what [`Self::training_state`] returned. If a name, type or shape is wrong, nothing
    /// is changed.
    pub fn load_training_state(&mut self, state: &NamedTensors) -> Result<()> {
        let (counts, tensors): (NamedTensors, NamedTensors) =
            state.iter().cloned().partition(|(name, _)| name.ends_with(".steps"));
        let mut steps = Vec::new();
        for which in 0..self.optimisers.len() {
            let name = format!("adam{which}.steps");
            let count = counts.iter().find(|(there, _)| *there == name);
            let count = count.and_then(|(_, count)| count.to_scalar::<i64>().ok());
            let count = count.and_then(|count| u64::try_from(count).ok());
            steps.push(count.ok_or_else(|| Error::Weights(format!("no number {name:?}")))?);
        }
        let targets = self.all.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        copy(&tensors, targets.chain(self.moments()).collect())?;
        for ((_, optimiser), steps) in self.optimisers.iter_mut().zip(steps) {
            optimiser.set_steps(steps);
        }
        Ok(())
    }
}

/// Copies each tensor into its target, once all of them are known to fit.
fn copy(from: &NamedTensors, targets: NamedTensors) -> Result<()> {
    let mut pairs = Vec::new();
    for (name, target) in &targets {
        let source = crate::weights::named(from, name)?;
        if source.dims() != target.dims() || source.dtype() != target.dtype() {
            return Err(Error::Weights(format!(
                "the tensor {name:?} is {:?} of shape {:?}, but this network needs {:?} of shape {:?}",
                source.dtype(),
                source.dims(),
                target.dtype(),
                target.dims()
            )));
        }
        pairs.push((target, source));
    }
    let known = |name: &String| targets.iter().any(|(there, _)| there == name);
    if let Some((name, _)) = from.iter().find(|(name, _)| !known(name)) {
        return Err(Error::Weights(format!("this network has no tensor {name:?}")));
    }
    for (target, source) in pairs {
        // Scalars have no axis to copy along.
        match target.rank() {
            0 => target.reshape(1)?.slice_set(&source.reshape(1)?, 0, 0)?,
            _ => target.slice_set(&source.contiguous()?, 0, 0)?,
        }
    }
    Ok(())
}
