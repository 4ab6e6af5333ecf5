//! A chain of layers as launches: the forward pass and the requested gradients.

use super::tensors::{Activations, Arena, Target};
use super::{
    activate, activate_backward, after, batch_statistics, convolution_weight, convolve, normalise,
    normalise_backward,
};
use crate::machine::launch::{Buffer, Builder, THREADS};
use ganomaly_model::layers::{LayerKind, MOMENTUM};

/// Where a layer's tensors start in a run's part of the arenas.
#[derive(Clone, Copy, Debug)]
struct Place {
    parameters: usize,
    running: usize,
}

/// The layers with their positions in the arenas.
#[derive(Clone, Debug)]
pub struct Chain {
    layers: Vec<(LayerKind, Place)>,
    /// Elements of the parameters.
    pub parameters: usize,
    /// Elements of the running statistics.
    pub running: usize,
}

/// What a chain's backward pass needs from its forward pass.
#[derive(Debug)]
pub struct Tape(Vec<Saved>);

#[derive(Clone, Copy, Debug)]
struct Saved {
    /// The layer's input.
    x: Activations,
    /// The layer's output.
    y: Activations,
    /// A normalisation's statistics, [G, 2, C].
    statistics: Option<Buffer>,
}

impl Chain {
    /// Lays out the tensors of `layers`, starting at `parameters` and `running`.
    pub fn new(layers: &[LayerKind], parameters: usize, running: usize) -> Self {
        let (mut p, mut r) = (parameters, running);
        let layers = layers
            .iter()
            .map(|&kind| {
                let place = Place { parameters: p, running: r };
                match kind {
                    LayerKind::Conv { conv, input, output, .. } => {
                        p += conv.kernel * conv.kernel * input * output;
                    }
                    LayerKind::BatchNorm { channels, .. } => {
                        (p, r) = (p + 2 * channels, r + 2 * channels);
                    }
                    LayerKind::Activation(_) => {}
                }
                (kind, place)
            })
            .collect();
        Self { layers, parameters: p - parameters, running: r - running }
    }

    /// The forward pass of training: batch normalisation with each run's own batch.
    pub fn forward(&self, b: &mut Builder, weights: Arena, x: Activations) -> (Activations, Tape) {
        let mut tape = Vec::with_capacity(self.layers.len());
        let mut x = x;
        for &layer in &self.layers {
            let saved = layer_forward(b, weights, None, layer, x);
            x = saved.y;
            tape.push(saved);
        }
        (x, Tape(tape))
    }

    /// The forward pass of scoring, with the running statistics or, without them, each batch's own;
    /// nothing is kept.
    pub fn infer(
        &self,
        b: &mut Builder,
        weights: Arena,
        running: Option<Arena>,
        x: Activations,
    ) -> Activations {
        let input = x.buffer;
        let mut x = x;
        for &layer in &self.layers {
            let Saved { y, statistics, .. } = layer_forward(b, weights, running, layer, x);
            let done = (x.buffer != input).then_some(x.buffer);
            for buffer in statistics.into_iter().chain(done) {
                b.release(buffer);
            }
            x = y;
        }
        x
    }

    /// Moves the running statistics of active runs towards those of a training pass.
    pub fn track(&self, b: &mut Builder, (running, active): (Arena, Buffer), tape: &Tape) {
        for (&(kind, place), saved) in self.layers.iter().zip(&tape.0) {
            let (LayerKind::BatchNorm { .. }, Some(stats)) = (kind, saved.statistics) else {
                continue;
            };
            let extent = saved.x.extent;
            b.launch(
                "norm_track",
                [extent.c.div_ceil(THREADS), extent.runs, 1],
                &[stats, running.buffer, active],
                &[extent.rows(), extent.c, place.running, running.distance],
                &[MOMENTUM],
            );
        }
    }

    /// The gradient of the input (borrowed) from that of the output (released); with a target, also
    /// those of the parameters.
    pub fn backward(
        &self,
        b: &mut Builder,
        weights: Arena,
        tape: &Tape,
        dy: Activations,
        target: Option<Target>,
    ) -> Activations {
        let mut dy = dy;
        for (layer, saved) in self.layers.iter().zip(&tape.0).rev() {
            parameters_backward(b, *layer, *saved, dy, target);
            dy = input_backward(b, weights, *layer, *saved, dy, target);
        }
        dy
    }

    /// Only the parameters' gradients: the first layer's input gradient is not needed.
    pub fn backward_parameters(
        &self,
        b: &mut Builder,
        weights: Arena,
        tape: &Tape,
        dy: Activations,
        target: Target,
    ) {
        let mut dy = dy;
        for (index, (layer, saved)) in self.layers.iter().zip(&tape.0).enumerate().rev() {
            parameters_backward(b, *layer, *saved, dy, Some(target));
            if index == 0 && matches!(layer.0, LayerKind::Conv { .. }) {
                break;
            }
            dy = input_backward(b, weights, *layer, *saved, dy, Some(target));
        }
        b.release(dy.buffer);
    }

    /// Releases everything that a tape holds except the chain's input.
    pub fn release(b: &mut Builder, tape: Tape) {
        for saved in tape.0 {
            b.release(saved.y.buffer);
            if let Some(statistics) = saved.statistics {
                b.release(statistics);
            }
        }
    }
}

/// A layer's forward pass; a normalisation uses the running statistics or, without them, those of
/// its batch.
fn layer_forward(
    b: &mut Builder,
    weights: Arena,
    running: Option<Arena>,
    (kind, place): (LayerKind, Place),
    x: Activations,
) -> Saved {
    let extent = after(kind, x.extent);
    let y = Activations { buffer: b.borrow(extent.len()), extent };
    let learnt = (weights, place.parameters);
    let mut statistics = None;
    match (kind, running) {
        (LayerKind::Conv { conv, transposed, .. }, _) => {
            convolve(b, conv, transposed, (x, y), learnt);
        }
        (LayerKind::BatchNorm { then, .. }, Some(running)) => {
            let stats = (running.buffer, place.running, running.distance);
            normalise(b, (x, y), stats, learnt, then);
        }
        (LayerKind::BatchNorm { then, .. }, None) => {
            let stats = batch_statistics(b, x);
            normalise(b, (x, y), (stats, 0, 2 * x.extent.c), learnt, then);
            statistics = Some(stats);
        }
        (LayerKind::Activation(f), _) => activate(b, f, x, y),
    }
    Saved { x, y, statistics }
}

/// The gradient of a convolution's weight. Those of a normalisation's parameters are computed with
/// its input's.
fn parameters_backward(
    b: &mut Builder,
    (kind, place): (LayerKind, Place),
    saved: Saved,
    dy: Activations,
    target: Option<Target>,
) {
    if let (LayerKind::Conv { conv, transposed, .. }, Some(target)) = (kind, target) {
        let ends = if transposed { (dy, saved.x) } else { (saved.x, dy) };
        convolution_weight(b, conv, ends, target, place.parameters);
    }
}

/// The gradient of a layer's input; that of its output is released.
fn input_backward(
    b: &mut Builder,
    weights: Arena,
    (kind, place): (LayerKind, Place),
    saved: Saved,
    dy: Activations,
    target: Option<Target>,
) -> Activations {
    let extent = saved.x.extent;
    let dx = Activations { buffer: b.borrow(extent.len()), extent };
    match kind {
        LayerKind::Conv { conv, transposed, .. } => {
            convolve(b, conv, !transposed, (dy, dx), (weights, place.parameters));
        }
        LayerKind::BatchNorm { then, .. } => {
            if let Some(stats) = saved.statistics {
                let learnt = (weights, place.parameters);
                normalise_backward(b, (saved.x, dy, dx), (stats, learnt), target, then);
            }
        }
        LayerKind::Activation(f) => activate_backward(b, f, saved.y, dy, dx),
    }
    b.release(dy.buffer);
    dx
}
