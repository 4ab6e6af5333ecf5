//! Where a model's tensors are on a machine, and how they get back.

use super::Group;
use super::arenas::{Tensors, arenas, moments};
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::machine::launch::Buffer;
use candle_core::{Device, Tensor};
use ganomaly_model::ganomaly::Ganomaly;
use ganomaly_model::{Detector, NamedTensors};

impl<M: Machine> Group<M> {
    /// Copies weights, running statistics and batch counts back into `models`.
    pub fn download(&mut self, models: &[Ganomaly]) -> Result<()> {
        self.bring_back(arenas(&self.program), models)?;
        for (model, steps) in models.iter().zip(&mut self.steps) {
            model.count_steps(std::mem::take(steps));
        }
        Ok(())
    }

    /// Copies everything back into `models`, and returns each run's training state: a group made
    /// from models that have [loaded](Detector::load_training_state) these states gives
    /// bit-identical results.
    pub fn training_states(&mut self, models: &mut [Ganomaly]) -> Result<Vec<NamedTensors>> {
        self.download(models)?;
        self.bring_back(moments(&self.program), models)?;
        let [g, d] = self.program.optimisers;
        let mut steps = |clock| {
            let numbers = self.machine.get(clock)?;
            Ok::<_, Error>(numbers.chunks(4).map(|c| u64::from(c[0].to_bits())).collect::<Vec<_>>())
        };
        let (steps_g, steps_d) = (steps(g.clock)?, steps(d.clock)?);
        let mut states = Vec::new();
        for (run, model) in models.iter_mut().enumerate() {
            model.set_optimiser_steps([steps_g[run], steps_d[run]]);
            // Resuming from here draws the weights for a re-initialisation again; this group
            // already has them.
            let drawn = model.random_position();
            model.set_random_position(self.drawn_from[run]);
            let state = model.training_state();
            model.set_random_position(drawn);
            states.push(state?);
        }
        Ok(states)
    }

    fn bring_back(&mut self, from: [(Buffer, Tensors); 4], to: &[Ganomaly]) -> Result<()> {
        for (buffer, tensors) in from {
            let numbers = self.machine.get(buffer)?;
            let mut at = 0;
            for tensor in to.iter().flat_map(tensors) {
                let len = tensor.elem_count();
                let part =
                    Tensor::from_slice(&numbers[at..at + len], tensor.shape(), &Device::Cpu)?;
                tensor.slice_set(&part.to_dtype(tensor.dtype())?, 0, 0)?;
                at += len;
            }
        }
        Ok(())
    }
}
