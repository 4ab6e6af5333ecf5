//! Each convolution of the 32×32 network at batch 64, forward and both gradients, and the passes
//! around it.
//!
//!     cargo bench -p ganomaly-kernels

use candle_core::{Device, Tensor};
use divan::Bencher;
use divan::counter::ItemsCount;
use ganomaly_kernels::batch_norm::{self, BatchStats};
use ganomaly_kernels::{Activation, Conv2d};

fn main() {
    divan::main();
}

const IMAGES: usize = 64;
const HALVE: Conv2d = Conv2d { kernel: 4, stride: 2, padding: 1 };
const WHOLE: Conv2d = Conv2d { kernel: 4, stride: 1, padding: 0 };
/// (convolution, side, channels in, channels out)
const LAYERS: [(&str, Conv2d, usize, usize, usize); 4] = [
    ("32x32 1-64", HALVE, 32, 1, 64),
    ("16x16 64-128", HALVE, 16, 64, 128),
    ("8x8 128-256", HALVE, 8, 128, 256),
    ("4x4 256-100", WHOLE, 4, 256, 100),
];
const NAMES: [&str; 4] = [LAYERS[0].0, LAYERS[1].0, LAYERS[2].0, LAYERS[3].0];

/// A layer's input, weight and output, and its multiply-adds.
fn layer(name: &str) -> (Conv2d, Tensor, Tensor, Tensor, ItemsCount) {
    let (_, conv, side, i, o) = LAYERS.into_iter().find(|l| l.0 == name).expect("a layer");
    let normal = |shape| Tensor::randn(0f32, 1., shape, &Device::Cpu).expect("numbers");
    let x = normal((IMAGES, side, side, i));
    let w = normal((conv.kernel, conv.kernel, i, o));
    let y = conv.forward(&x, &w).expect("a convolution");
    let products = y.elem_count() * conv.kernel * conv.kernel * i;
    (conv, x, w, y, ItemsCount::new(products))
}

#[divan::bench(args = NAMES)]
fn forward(bencher: Bencher, name: &str) {
    let (conv, x, w, _, products) = layer(name);
    bencher.counter(products).bench(|| conv.forward(&x, &w));
}

#[divan::bench(args = NAMES)]
fn backward_input(bencher: Bencher, name: &str) {
    let (conv, x, w, y, products) = layer(name);
    let side = x.dims()[1];
    bencher.counter(products).bench(|| conv.backward_input(&y, &w, (side, side)));
}

#[divan::bench(args = NAMES)]
fn backward_weight(bencher: Bencher, name: &str) {
    let (conv, x, _, y, products) = layer(name);
    bencher.counter(products).bench(|| conv.backward_weight(&x, &y));
}

#[divan::bench(args = NAMES)]
fn batch_norm_forward(bencher: Bencher, name: &str) {
    let (.., y, _) = layer(name);
    let ones = vec![1.0; *y.dims().last().expect("channels")];
    bencher.bench(|| {
        let stats = BatchStats::of(&y)?;
        let (scale, shift) =
            batch_norm::scale_and_shift(&stats.mean, &stats.variance, &ones, &ones);
        batch_norm::affine(&y, &scale, &shift, Activation::LeakyRelu(0.2))
    });
}

#[divan::bench(args = NAMES)]
fn batch_norm_backward(bencher: Bencher, name: &str) {
    let (.., y, _) = layer(name);
    let ones = vec![1.0; *y.dims().last().expect("channels")];
    let stats = BatchStats::of(&y).expect("statistics");
    let f = Activation::LeakyRelu(0.2);
    bencher.bench(|| batch_norm::backward(&y, &stats, (&ones, &ones), f, &y));
}
