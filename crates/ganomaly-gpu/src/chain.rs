//! A chain of layers as launches: forward, and the gradients asked for.

use crate::launch::{Buffer, Builder, THREADS};
use ganomaly_kernels::{Activation, Conv2d};
use ganomaly_model::layers::LayerKind;

/// Rows that one block of a normalisation sums, as in `kernels.cu`.
const CHUNK: usize = 256;
/// Channels that it sums.
const CHANNELS: usize = 32;
/// A product's tile: rows, columns.
const TILE: (usize, usize) = (128, 64);
/// Momentum of the running statistics, PyTorch's default.
const MOMENTUM: f64 = 0.1;
/// Blocks that a weight's gradient should have, so that a card is full.
const BLOCKS: usize = 528;

/// Sizes of activations: runs, pictures of a run, height, width, channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub runs: usize,
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
}

impl Extent {
    /// Numbers of all runs.
    pub fn len(self) -> usize {
        self.runs * self.run_len()
    }

    /// Numbers of one run.
    pub fn run_len(self) -> usize {
        self.rows() * self.c
    }

    /// Pixels of one run.
    fn rows(self) -> usize {
        self.n * self.h * self.w
    }

    fn chunks(self) -> usize {
        self.rows().div_ceil(CHUNK)
    }
}

/// Activations: where, and of what size.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    pub buffer: Buffer,
    pub extent: Extent,
}

/// Tensors of all runs side by side: where, and how far apart runs are.
#[derive(Clone, Copy, Debug)]
pub struct Arena {
    pub buffer: Buffer,
    pub distance: usize,
}

/// Where a layer's tensors start in a run's part of the arenas.
#[derive(Clone, Copy, Debug)]
struct Place {
    parameters: usize,
    running: usize,
}

/// The layers with their places in the arenas.
#[derive(Clone, Debug)]
pub struct Chain {
    layers: Vec<(LayerKind, Place)>,
    /// Numbers that the parameters take.
    pub parameters: usize,
    /// Numbers that the running statistics take.
    pub running: usize,
}

/// What a chain's backward pass needs of its forward pass.
#[derive(Debug)]
pub struct Tape(Vec<Saved>);

#[derive(Clone, Copy, Debug)]
struct Saved {
    /// What went into the layer.
    x: Numbers,
    /// What came out.
    y: Numbers,
    /// A normalisation's statistics, [G, 2, C].
    statistics: Option<Buffer>,
}

/// Gradients to compute: where those of the parameters go, and whether they are added to what is there.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub gradients: Arena,
    pub add: bool,
}

impl Chain {
    /// Lays the tensors of `layers` out from `parameters` and `running` on.
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

    /// The forward pass of training: batch normalisation by each run's own batch.
    pub fn forward(&self, b: &mut Builder, weights: Arena, x: Numbers) -> (Numbers, Tape) {
        let mut tape = Vec::with_capacity(self.layers.len());
        let mut x = x;
        for &(kind, place) in &self.layers {
            let extent = after(kind, x.extent);
            let y = Numbers { buffer: b.borrow(extent.len()), extent };
            let mut statistics = None;
            match kind {
                LayerKind::Conv { conv, transposed, .. } => {
                    convolve(b, conv, transposed, (x, y), (weights, place.parameters));
                }
                LayerKind::BatchNorm { then, .. } => {
                    let stats = batch_statistics(b, x);
                    normalise(
                        b,
                        (x, y),
                        (stats, 0, 2 * x.extent.c),
                        (weights, place.parameters),
                        then,
                    );
                    statistics = Some(stats);
                }
                LayerKind::Activation(f) => activate(b, f, x, y),
            }
            tape.push(Saved { x, y, statistics });
            x = y;
        }
        (x, Tape(tape))
    }

    /// The forward pass of scoring, by the running statistics or, without them, by each batch's own; nothing is kept.
    pub fn infer(
        &self,
        b: &mut Builder,
        weights: Arena,
        running: Option<Arena>,
        x: Numbers,
    ) -> Numbers {
        let input = x.buffer;
        let mut x = x;
        for &(kind, place) in &self.layers {
            let extent = after(kind, x.extent);
            let y = Numbers { buffer: b.borrow(extent.len()), extent };
            let learnt = (weights, place.parameters);
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
                    b.release(stats);
                }
                (LayerKind::Activation(f), _) => activate(b, f, x, y),
            }
            if x.buffer != input {
                b.release(x.buffer);
            }
            x = y;
        }
        x
    }

    /// Moves the active runs' running statistics towards those of a training pass.
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

    /// The input's gradient, borrowed, from that of the output, which is given back; with a target, the parameters' too.
    pub fn backward(
        &self,
        b: &mut Builder,
        weights: Arena,
        tape: &Tape,
        dy: Numbers,
        target: Option<Target>,
    ) -> Numbers {
        let mut dy = dy;
        for (layer, saved) in self.layers.iter().zip(&tape.0).rev() {
            parameters_backward(b, *layer, *saved, dy, target);
            dy = input_backward(b, weights, *layer, *saved, dy, target);
        }
        dy
    }

    /// The parameters' gradients alone: nothing before the first layer asks for its input's.
    pub fn backward_parameters(
        &self,
        b: &mut Builder,
        weights: Arena,
        tape: &Tape,
        dy: Numbers,
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

    /// Gives back all that a tape holds but the chain's input.
    pub fn release(b: &mut Builder, tape: Tape) {
        for saved in tape.0 {
            b.release(saved.y.buffer);
            if let Some(statistics) = saved.statistics {
                b.release(statistics);
            }
        }
    }
}

/// The gradient of a convolution's weight. A normalisation's parameters get theirs on the way to its input's.
fn parameters_backward(
    b: &mut Builder,
    (kind, place): (LayerKind, Place),
    saved: Saved,
    dy: Numbers,
    target: Option<Target>,
) {
    if let (LayerKind::Conv { conv, transposed, .. }, Some(target)) = (kind, target) {
        let ends = if transposed { (dy, saved.x) } else { (saved.x, dy) };
        convolution_weight(b, conv, ends, target, place.parameters);
    }
}

/// The gradient of a layer's input; that of its output is given back.
fn input_backward(
    b: &mut Builder,
    weights: Arena,
    (kind, place): (LayerKind, Place),
    saved: Saved,
    dy: Numbers,
    target: Option<Target>,
) -> Numbers {
    let extent = saved.x.extent;
    let dx = Numbers { buffer: b.borrow(extent.len()), extent };
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

/// What comes out of a layer.
fn after(kind: LayerKind, x: Extent) -> Extent {
    match kind {
        LayerKind::Conv { conv, transposed, input, output } => {
            let size = |s: usize| {
                let size = if transposed { conv.transposed_size(s) } else { conv.output_size(s) };
                size.unwrap_or(0)
            };
            let c = if transposed { input } else { output };
            Extent { h: size(x.h), w: size(x.w), c, ..x }
        }
        _ => x,
    }
}

/// A convolution's sizes as the kernels take them; `x` is its input's end, `y` its output's, also where it runs backward.
fn sizes(conv: Conv2d, x: Extent, y: Extent) -> Vec<usize> {
    vec![x.n, x.h, x.w, x.c, y.h, y.w, y.c, conv.kernel, conv.stride, conv.padding]
}

/// `to` from `from`: the convolution, or, transposed, its input's gradient.
fn convolve(
    b: &mut Builder,
    conv: Conv2d,
    transposed: bool,
    (from, to): (Numbers, Numbers),
    (weights, start): (Arena, usize),
) {
    let (x, y) = if transposed { (to.extent, from.extent) } else { (from.extent, to.extent) };
    let mut sizes = sizes(conv, x, y);
    sizes.extend([start, weights.distance]);
    let buffers = [from.buffer, weights.buffer, to.buffer];
    if transposed {
        // The largest phase decides; the others' spare blocks have nothing to do.
        let across = |size: usize| size.div_ceil(conv.stride);
        let pixels = x.n * across(x.h) * across(x.w);
        let phases = conv.stride * conv.stride;
        let grid = [pixels.div_ceil(TILE.0), x.c.div_ceil(TILE.1), x.runs * phases];
        b.launch("conv_backward_input", grid, &buffers, &sizes, &[]);
    } else {
        let grid = [y.rows().div_ceil(TILE.0), y.c.div_ceil(TILE.1), y.runs];
        b.launch("conv_forward", grid, &buffers, &sizes, &[]);
    }
}

fn convolution_weight(
    b: &mut Builder,
    conv: Conv2d,
    (x, dy): (Numbers, Numbers),
    target: Target,
    start: usize,
) {
    let (xe, ye) = (x.extent, dy.extent);
    let height = conv.kernel * conv.kernel * xe.c;
    let tiles = height.div_ceil(TILE.0) * ye.c.div_ceil(TILE.1);
    // By the sizes of one run alone, so that a run's sums do not depend on its neighbours.
    let shares = (BLOCKS / 4 / tiles).clamp(1, ye.rows().div_ceil(64));
    let parts = b.borrow(xe.runs * shares * height * ye.c);
    let mut sizes = sizes(conv, xe, ye);
    sizes.push(shares);
    let grid = [height.div_ceil(TILE.0), ye.c.div_ceil(TILE.1), xe.runs * shares];
    b.launch("conv_backward_weight", grid, &[x.buffer, dy.buffer, parts], &sizes, &[]);
    let len = height * ye.c;
    b.launch(
        "add_shares",
        [len.div_ceil(THREADS), xe.runs, 1],
        &[parts, target.gradients.buffer],
        &[len, shares, start, target.gradients.distance, usize::from(target.add)],
        &[],
    );
    b.release(parts);
}

/// Mean and variance of each run's batch: [G, 2, C], borrowed.
fn batch_statistics(b: &mut Builder, x: Numbers) -> Buffer {
    let e = x.extent;
    let chunks = b.borrow(e.runs * e.chunks() * 2 * e.c);
    let stats = b.borrow(e.runs * 2 * e.c);
    let sizes = [e.rows(), e.c];
    let grid = [e.c.div_ceil(CHANNELS), e.chunks(), e.runs];
    b.launch("norm_chunks", grid, &[x.buffer, chunks], &sizes, &[]);
    b.launch("norm_merge", [e.c.div_ceil(THREADS), e.runs, 1], &[chunks, stats], &sizes, &[]);
    b.release(chunks);
    stats
}

/// A piecewise linear activation's slope for negative numbers; the networks have no other behind a normalisation.
fn slope(f: Activation) -> f64 {
    f.negative_slope().unwrap_or(1.0)
}

fn normalise(
    b: &mut Builder,
    (x, y): (Numbers, Numbers),
    (stats, stats_start, stats_distance): (Buffer, usize, usize),
    (weights, start): (Arena, usize),
    f: Activation,
) {
    let e = x.extent;
    b.launch(
        "norm_forward",
        [e.run_len().div_ceil(THREADS), e.runs, 1],
        &[x.buffer, stats, weights.buffer, y.buffer],
        &[e.rows(), e.c, start, weights.distance, stats_start, stats_distance],
        &[slope(f)],
    );
}

fn normalise_backward(
    b: &mut Builder,
    (x, dy, dx): (Numbers, Numbers, Numbers),
    (stats, (weights, start)): (Buffer, (Arena, usize)),
    target: Option<Target>,
    f: Activation,
) {
    let e = x.extent;
    let chunks = b.borrow(e.runs * e.chunks() * 2 * e.c);
    let terms = b.borrow(e.runs * 2 * e.c);
    let sizes = [e.rows(), e.c, start, weights.distance];
    b.launch(
        "norm_backward_chunks",
        [e.c.div_ceil(CHANNELS), e.chunks(), e.runs],
        &[x.buffer, dy.buffer, stats, weights.buffer, chunks],
        &sizes,
        &[slope(f)],
    );
    let gradients = target.map_or(weights, |t| t.gradients);
    let (write, add) = (target.is_some(), target.is_some_and(|t| t.add));
    b.launch(
        "norm_backward_merge",
        [e.c.div_ceil(THREADS), e.runs, 1],
        &[chunks, stats, gradients.buffer, terms],
        &[e.rows(), e.c, start, gradients.distance, usize::from(write), usize::from(add)],
        &[],
    );
    b.launch(
        "norm_backward_input",
        [e.run_len().div_ceil(THREADS), e.runs, 1],
        &[x.buffer, dy.buffer, stats, weights.buffer, terms, dx.buffer],
        &sizes,
        &[slope(f)],
    );
    b.release(chunks);
    b.release(terms);
}

fn activate(b: &mut Builder, f: Activation, x: Numbers, y: Numbers) {
    let (len, buffers) = (x.extent.len(), [x.buffer, y.buffer]);
    match f {
        Activation::Tanh => b.each("tanh_forward", len, &buffers, &[], &[]),
        f => b.each("rectify", len, &buffers, &[], &[slope(f)]),
    }
}

fn activate_backward(b: &mut Builder, f: Activation, y: Numbers, dy: Numbers, dx: Numbers) {
    let (len, buffers) = (y.extent.len(), [y.buffer, dy.buffer, dx.buffer]);
    match f {
        Activation::Tanh => b.each("tanh_backward", len, &buffers, &[], &[]),
        f => b.each("rectify_backward", len, &buffers, &[], &[slope(f)]),
    }
}
