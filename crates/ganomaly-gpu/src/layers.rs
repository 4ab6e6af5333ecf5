//! Single layers as launches.

use crate::chain::{Arena, Extent, Numbers, Target};
use crate::launch::{Buffer, Builder, THREADS};
use ganomaly_kernels::{Activation, Conv2d};
use ganomaly_model::layers::LayerKind;

/// Rows that one block of a normalisation sums, as in `kernels.cu`.
pub(crate) const CHUNK: usize = 256;
/// Channels that it sums.
const CHANNELS: usize = 32;
/// A product's tile: rows, columns.
const TILE: (usize, usize) = (128, 64);
/// Blocks that a weight's gradient should have, so that a card is full.
const BLOCKS: usize = 528;

/// What comes out of a layer.
pub(crate) fn after(kind: LayerKind, x: Extent) -> Extent {
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
pub(crate) fn convolve(
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

pub(crate) fn convolution_weight(
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
pub(crate) fn batch_statistics(b: &mut Builder, x: Numbers) -> Buffer {
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

pub(crate) fn normalise(
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

pub(crate) fn normalise_backward(
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

pub(crate) fn activate(b: &mut Builder, f: Activation, x: Numbers, y: Numbers) {
    let (len, buffers) = (x.extent.len(), [x.buffer, y.buffer]);
    match f {
        Activation::Tanh => b.each("tanh_forward", len, &buffers, &[], &[]),
        f => b.each("rectify", len, &buffers, &[], &[slope(f)]),
    }
}

pub(crate) fn activate_backward(
    b: &mut Builder,
    f: Activation,
    y: Numbers,
    dy: Numbers,
    dx: Numbers,
) {
    let (len, buffers) = (y.extent.len(), [y.buffer, dy.buffer, dx.buffer]);
    match f {
        Activation::Tanh => b.each("tanh_backward", len, &buffers, &[], &[]),
        f => b.each("rectify_backward", len, &buffers, &[], &[slope(f)]),
    }
}
