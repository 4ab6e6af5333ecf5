//! Adam by candle-nn's interface.

use crate::{Adam, AdamConfig};
use candle_core::backprop::GradStore;
use candle_core::{Result, Var};
use candle_nn::Optimizer;

/// [`Adam`] over the float variables of a [`candle_nn::VarMap`], on the CPU. A variable without a
/// gradient, such as a running mean, stays as it is.
#[derive(Debug)]
pub struct VarAdam {
    vars: Vec<Var>,
    adam: Adam,
}

impl VarAdam {
    /// The variables, in the order of the optimiser's moments.
    pub fn vars(&self) -> &[Var] {
        &self.vars
    }

    /// The optimiser, with its moments and its count of steps.
    pub fn adam(&self) -> &Adam {
        &self.adam
    }

    /// Sets the count of steps, for resuming; the moments are tensors that can be written.
    pub fn set_steps(&mut self, steps: u64) {
        self.adam.set_steps(steps);
    }
}

impl Optimizer for VarAdam {
    type Config = AdamConfig;

    fn new(vars: Vec<Var>, config: AdamConfig) -> Result<Self> {
        let vars: Vec<Var> = vars.into_iter().filter(|var| var.dtype().is_float()).collect();
        let adam = Adam::new(vars.iter().map(|var| var.as_tensor().clone()).collect(), config)?;
        Ok(Self { vars, adam })
    }

    fn step(&mut self, gradients: &GradStore) -> Result<()> {
        let given: Vec<_> = self.vars.iter().map(|var| gradients.get(var)).collect();
        self.adam.step_some(&given)
    }

    fn learning_rate(&self) -> f64 {
        self.adam.lr()
    }

    fn set_learning_rate(&mut self, lr: f64) {
        self.adam.set_lr(lr);
    }
}
