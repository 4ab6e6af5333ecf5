//! Single layers as launches.

pub(crate) mod chain;
pub(crate) mod single;
pub(crate) mod tensors;

use crate::machine::launch::{Buffer, Builder, THREADS};
use ganomaly_kernels::{Activation, Conv2d};
use ganomaly_model::layers::LayerKind;
use tensors::{Activations, Arena, Extent, Target};

/// Channels that one block of a normalisation sums.
const CHANNELS: usize = 32;
/// A product's tile: rows and columns.
const TILE: (usize, usize) = (128, 64);
/// Blocks that one run's product should have to fill a GPU: the number of multiprocessors of an
/// H200.
const BLOCKS: usize = 132;
/// Minimum size of a share of the inner dimension.
const SHARE: usize = 512;

/// The extent of a layer's output.
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

/// A convolution's sizes as the kernels take them; `x` is its input side and `y` its output side,
/// also when it runs backward.
fn sizes(conv: Conv2d, x: Extent, y: Extent) -> Vec<usize> {
    vec![x.n, x.h, x.w, x.c, y.h, y.w, y.c, conv.kernel, conv.stride, conv.padding]
}

/// The number of shares into which a product with few tiles splits its `inner` dimension. It
/// depends only on the sizes of one run, so that a run's sums do not depend on the other runs.
fn shares(tiles: usize, inner: usize) -> usize {
    (BLOCKS / tiles.max(1)).clamp(1, inner.div_ceil(SHARE).max(1))
}

/// Whether rows of `width` elements start at multiples of four, in parts `distance` apart that
/// begin at `start`.
fn aligned(width: usize, (start, distance): (usize, usize)) -> usize {
    usize::from([width, start, distance].iter().all(|n| n.is_multiple_of(4)))
}

/// `to` from `from`: the convolution or, if transposed, its input gradient.
pub(crate) fn convolve(
    b: &mut Builder,
    conv: Conv2d,
    transposed: bool,
    (from, to): (Activations, Activations),
    (weights, start): (Arena, usize),
) {
    let (x, y) = if transposed { (to.extent, from.extent) } else { (from.extent, to.extent) };
    // Backward, there is one product per phase of the pixels. The largest determines the grid;
    // spare blocks of the others do nothing.
    let phases = if transposed { conv.stride * conv.stride } else { 1 };
    let across = |size: usize| size.div_ceil(conv.stride);
    let (pixels, inner) = if transposed {
        let taps = across(conv.kernel) * across(conv.kernel);
        (x.n * across(x.h) * across(x.w), taps * y.c)
    } else {
        (y.rows(), conv.kernel * conv.kernel * x.c)
    };
    let tiles = [pixels.div_ceil(TILE.0), to.extent.c.div_ceil(TILE.1)];
    let shares = shares(tiles[0] * tiles[1] * phases, inner);
    let place = (start, weights.distance);
    let mut sizes = sizes(conv, x, y);
    let weights_aligned = aligned(y.c, place);
    sizes.extend([
        start,
        weights.distance,
        shares,
        aligned(from.extent.c, (0, 0)),
        weights_aligned,
    ]);
    let len = to.extent.run_len();
    let parts = if shares > 1 { b.borrow(x.runs * shares * len) } else { to.buffer };
    let kernel = if transposed { "conv_backward_input" } else { "conv_forward" };
    let grid = [tiles[0], tiles[1], x.runs * shares * phases];
    b.launch(kernel, grid, &[from.buffer, weights.buffer, parts], &sizes, &[]);
    let weight = conv.kernel * conv.kernel * x.c * y.c;
    b.work(product(conv, x, y), x.len() + y.len() + x.runs * weight);
    if shares > 1 {
        add_shares(b, (parts, shares, len, x.runs), to.buffer, (0, len), false);
        b.release(parts);
    }
}

/// Additions and multiplications of a convolution, forward or either gradient.
fn product(conv: Conv2d, x: Extent, y: Extent) -> usize {
    2 * y.len() * conv.kernel * conv.kernel * x.c
}

/// Adds up the shares of a product, `len` elements each, into a buffer at the given start and
/// distance between runs.
fn add_shares(
    b: &mut Builder,
    (parts, shares, len, runs): (Buffer, usize, usize, usize),
    to: Buffer,
    (start, distance): (usize, usize),
    add: bool,
) {
    b.launch(
        "add_shares",
        [len.div_ceil(THREADS), runs, 1],
        &[parts, to],
        &[len, shares, start, distance, usize::from(add)],
        &[],
    );
    b.work(0, runs * len * (shares + 1 + usize::from(add)));
}

pub(crate) fn convolution_weight(
    b: &mut Builder,
    conv: Conv2d,
    (x, dy): (Activations, Activations),
    target: Target,
    start: usize,
) {
    let (xe, ye) = (x.extent, dy.extent);
    let height = conv.kernel * conv.kernel * xe.c;
    let tiles = [height.div_ceil(TILE.0), ye.c.div_ceil(TILE.1)];
    let shares = shares(tiles[0] * tiles[1], ye.rows());
    let len = height * ye.c;
    let parts = b.borrow(xe.runs * shares * len);
    let mut sizes = sizes(conv, xe, ye);
    sizes.extend([0, 0, shares, aligned(xe.c, (0, 0)), aligned(ye.c, (0, 0))]);
    let grid = [tiles[0], tiles[1], xe.runs * shares];
    b.launch("conv_backward_weight", grid, &[x.buffer, dy.buffer, parts], &sizes, &[]);
    b.work(product(conv, xe, ye), xe.len() + ye.len() + xe.runs * len);
    let place = (start, target.gradients.distance);
    add_shares(b, (parts, shares, len, xe.runs), target.gradients.buffer, place, target.add);
    b.release(parts);
}

/// Mean and variance of each run's batch: [G, 2, C], borrowed.
pub(crate) fn batch_statistics(b: &mut Builder, x: Activations) -> Buffer {
    let e = x.extent;
    let chunks = b.borrow(e.runs * e.chunks() * 2 * e.c);
    let stats = b.borrow(e.runs * 2 * e.c);
    let sizes = [e.rows(), e.c];
    let grid = [e.c.div_ceil(CHANNELS), e.chunks(), e.runs];
    b.launch("norm_chunks", grid, &[x.buffer, chunks], &sizes, &[]);
    b.work(0, e.len());
    b.launch("norm_merge", [e.c.div_ceil(THREADS), e.runs, 1], &[chunks, stats], &sizes, &[]);
    b.release(chunks);
    stats
}

/// A piecewise linear activation's slope for negative values; the networks have no others after a
/// normalisation.
fn slope(f: Activation) -> f64 {
    f.negative_slope().unwrap_or(1.0)
}

pub(crate) fn normalise(
    b: &mut Builder,
    (x, y): (Activations, Activations),
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
    b.work(0, 2 * e.len());
}

pub(crate) fn normalise_backward(
    b: &mut Builder,
    (x, dy, dx): (Activations, Activations, Activations),
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
    b.work(0, 2 * e.len());
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
    b.work(0, 3 * e.len());
    b.release(chunks);
    b.release(terms);
}

pub(crate) fn activate(b: &mut Builder, f: Activation, x: Activations, y: Activations) {
    let (len, buffers) = (x.extent.len(), [x.buffer, y.buffer]);
    match f {
        Activation::Tanh => b.each("tanh_forward", len, &buffers, &[], &[]),
        f => b.each("rectify", len, &buffers, &[], &[slope(f)]),
    }
    b.work(0, 2 * len);
}

pub(crate) fn activate_backward(
    b: &mut Builder,
    f: Activation,
    y: Activations,
    dy: Activations,
    dx: Activations,
) {
    let (len, buffers) = (y.extent.len(), [y.buffer, dy.buffer, dx.buffer]);
    match f {
        Activation::Tanh => b.each("tanh_backward", len, &buffers, &[], &[]),
        f => b.each("rectify_backward", len, &buffers, &[], &[slope(f)]),
    }
    b.work(0, 3 * len);
}
