//! Weights from and to candle-nn's containers, under the names and with the shapes of
//! [`Detector::state`].

use super::{Ganomaly, GanomalyConfig};
use crate::{Detector, Error, NamedTensors, Result};
use candle_core::Var;
use candle_nn::{VarBuilder, VarMap};

impl Ganomaly {
    /// A network in the type of `vb` with the weights of `vb`; the seed is only that of the
    /// discriminator's re-initialisations.
    pub fn from_var_builder(
        config: GanomalyConfig,
        seed: u64,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let mut model = Self::with_dtype(config, seed, vb.dtype())?;
        model.load_var_builder(vb)?;
        Ok(model)
    }

    /// Replaces all weights and running statistics by the tensors of `vb`; others in it are
    /// ignored. Counters of batches, which candle-nn does not have, may be missing.
    pub fn load_var_builder(&mut self, vb: &VarBuilder<'_>) -> Result<()> {
        let load = |(name, own): (String, candle_core::Tensor)| {
            // Asking a `VarMap` for a tensor would create it.
            let tensor = match vb.contains_tensor(&name) {
                true => {
                    vb.get_with_hints_dtype(own.shape(), &name, Default::default(), own.dtype())?
                }
                false if name.ends_with(".num_batches_tracked") => own,
                false => {
                    return Err(Error::Weights(format!("there is no tensor named {name:?}")));
                }
            };
            Ok((name, tensor))
        };
        let state = self.state()?.into_iter().map(load).collect::<Result<NamedTensors>>()?;
        self.load_state(&state)
    }

    /// A copy of all weights, running statistics and counters as variables.
    pub fn to_var_map(&self) -> Result<VarMap> {
        let vars = VarMap::new();
        {
            let mut all = vars.data().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for (name, tensor) in self.state()? {
                all.insert(name, Var::from_tensor(&tensor)?);
            }
        }
        Ok(vars)
    }
}
