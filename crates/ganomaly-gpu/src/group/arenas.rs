//! Which buffers hold which of a model's tensors.

use super::program::Program;
use crate::machine::launch::Buffer;
use candle_core::Tensor;
use ganomaly_model::ganomaly::Ganomaly;

/// Some of a model's tensors.
pub(crate) type Tensors = fn(&Ganomaly) -> Vec<Tensor>;

/// The buffers that hold all runs' tensors, and which tensors of a model they hold.
pub(crate) fn arenas(program: &Program) -> [(Buffer, Tensors); 4] {
    let ports = program.ports;
    [
        (ports.netg, |m| m.netg.parameters()),
        (ports.netd, |m| m.netd.parameters()),
        (ports.netg_running, |m| m.netg.running_statistics()),
        (ports.netd_running, |m| m.netd.running_statistics()),
    ]
}

/// The buffers that hold both optimisers' moments, and which moments they hold.
pub(crate) fn moments(program: &Program) -> [(Buffer, Tensors); 4] {
    let [g, d] = program.optimisers;
    [
        (g.first, |m| moment(m, 0, 0)),
        (g.second, |m| moment(m, 0, 1)),
        (d.first, |m| moment(m, 1, 0)),
        (d.second, |m| moment(m, 1, 1)),
    ]
}

fn moment(model: &Ganomaly, optimiser: usize, which: usize) -> Vec<Tensor> {
    model.optimisers()[optimiser].moments()[which].clone()
}
