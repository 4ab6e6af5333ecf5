//! Every layer's forward pass and gradients, in every precision, against the CPU's oracle in
//! float64: on the host with the kernels' source, and on a GPU if there is one.

mod common;

use candle_core::{DType, Device, Result, Tensor};
use common::{check, flat, machines};
use ganomaly_gpu::{Extent, LayerProgram, Machine, Precision};
use ganomaly_kernels::batch_norm::{self, BatchStats};
use ganomaly_kernels::{Activation, Conv2d, reference};
use ganomaly_model::layers::LayerKind;

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Tf32, Precision::Bf16];

/// Values in [-1, 1] without a pattern that could hide a wrong index.
fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// An operand rounded to a precision by the format's definition, ties away from zero or to even.
fn rounded(precision: Precision, x: f32) -> f32 {
    let at = |bits: i32, even: bool| {
        let unit = 2f64.powi(x.abs().log2().floor() as i32 - bits);
        let scaled = f64::from(x) / unit;
        let whole = if even { scaled.round_ties_even() } else { scaled.round() };
        (whole * unit) as f32
    };
    match precision {
        _ if x == 0.0 => x,
        Precision::F32 => x,
        Precision::Tf32 => at(10, false),
        Precision::Bf16 => at(7, true),
    }
}

fn tensor(numbers: &[f32], shape: [usize; 4]) -> Tensor {
    Tensor::from_slice(numbers, &shape, &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap()
}

fn shape(e: Extent) -> [usize; 4] {
    [e.n, e.h, e.w, e.c]
}

/// y, dx and the parameters' gradient of one run, from the oracle.
type Oracle = fn(LayerKind, &Tensor, &Tensor, &[f32]) -> Result<[Vec<f32>; 3]>;

fn check_layer(
    kind: LayerKind,
    extent: Extent,
    precision: Precision,
    oracle: Oracle,
) -> Result<()> {
    let program = LayerProgram::new(kind, extent);
    let x = noise(extent.runs * extent.run_len(), 1);
    let dy = noise(extent.runs * program.extent.run_len(), 2);
    let parameters = noise(extent.runs * program.len, 3);
    for mut machine in machines(&program.buffers, precision) {
        for (buffer, numbers) in
            [(program.x, &x), (program.dy, &dy), (program.parameters, &parameters)]
        {
            machine.set(buffer, numbers).unwrap();
        }
        machine.run(&program.forward);
        let y = machine.numbers(program.y);
        machine.run(&program.backward);
        let dx = machine.numbers(program.dx);
        let gradients = machine.numbers(program.gradients);
        for run in 0..extent.runs {
            let of = |numbers: &[f32], len: usize| numbers[run * len..][..len].to_vec();
            let operand = |numbers: &[f32], len| -> Vec<f32> {
                of(numbers, len).into_iter().map(|v| rounded(precision, v)).collect()
            };
            let (ins, outs) = (extent.run_len(), program.extent.run_len());
            let expected = oracle(
                kind,
                &tensor(&operand(&x, ins), shape(extent)),
                &tensor(&operand(&dy, outs), shape(program.extent)),
                &operand(&parameters, program.len),
            )?;
            let got = [of(&y, outs), of(&dx, ins), of(&gradients, program.len)];
            for ((what, got), expected) in ["y", "dx", "dw"].iter().zip(got).zip(expected) {
                let name = format!("{kind:?}, {extent:?}, {precision:?}: {what}");
                let limit = match precision {
                    Precision::F32 => 2e-6,
                    _ => machine.limits().tensor_cores,
                };
                if !expected.is_empty() {
                    check(&name, &got, &expected, limit);
                }
            }
        }
    }
    Ok(())
}

fn convolution(kind: LayerKind, x: &Tensor, dy: &Tensor, w: &[f32]) -> Result<[Vec<f32>; 3]> {
    let LayerKind::Conv { conv, transposed, input, output } = kind else { unreachable!() };
    let w = tensor(w, [conv.kernel, conv.kernel, input, output]);
    let size = |t: &Tensor| Ok::<_, candle_core::Error>((t.dim(1)?, t.dim(2)?));
    Ok(if transposed {
        [
            flat(&reference::backward_input(conv, x, &w, size(dy)?)?),
            flat(&reference::forward(conv, dy, &w)?),
            flat(&reference::backward_weight(conv, dy, x)?),
        ]
    } else {
        [
            flat(&reference::forward(conv, x, &w)?),
            flat(&reference::backward_input(conv, dy, &w, size(x)?)?),
            flat(&reference::backward_weight(conv, x, dy)?),
        ]
    })
}

/// Channel counts that are multiples of four and others, one share and several, tiles with and
/// without remainders, every convolution of the networks and some others.
#[test]
fn convolutions_in_every_precision() -> Result<()> {
    let down = Conv2d { kernel: 4, stride: 2, padding: 1 };
    let latent = Conv2d { kernel: 4, stride: 1, padding: 0 };
    let same = Conv2d { kernel: 3, stride: 1, padding: 1 };
    let sparse = Conv2d { kernel: 2, stride: 3, padding: 0 };
    for (conv, transposed, [input, output], [n, h, w]) in [
        (down, false, [1, 64], [3, 16, 16]),
        (down, false, [3, 12], [2, 8, 12]),
        (down, false, [12, 72], [3, 8, 8]),
        (down, true, [20, 68], [2, 4, 6]),
        (down, true, [3, 8], [2, 4, 4]),
        (latent, false, [36, 68], [3, 4, 4]),
        (latent, false, [36, 1], [3, 4, 4]),
        (latent, true, [20, 10], [3, 1, 1]),
        (same, false, [6, 5], [2, 5, 7]),
        (sparse, true, [4, 3], [2, 2, 2]),
    ] {
        let kind = LayerKind::Conv { conv, transposed, input, output };
        let c = if transposed { output } else { input };
        for precision in PRECISIONS {
            check_layer(kind, Extent { runs: 2, n, h, w, c }, precision, convolution)?;
        }
    }
    Ok(())
}

fn normalisation(kind: LayerKind, x: &Tensor, dy: &Tensor, p: &[f32]) -> Result<[Vec<f32>; 3]> {
    let LayerKind::BatchNorm { channels, then } = kind else { unreachable!() };
    let stats = BatchStats::of(x)?;
    let numbers: Vec<f64> = p.iter().map(|&v| f64::from(v)).collect();
    let (weight, bias) = numbers.split_at(channels);
    let (scale, shift) = batch_norm::scale_and_shift(&stats.mean, &stats.variance, weight, bias);
    let y = batch_norm::affine(x, &scale, &shift, then)?;
    let gradients = batch_norm::backward(x, &stats, (weight, bias), then, dy)?;
    let learnt = [flat(&gradients.weight), flat(&gradients.bias)].concat();
    Ok([flat(&y), flat(&gradients.input), learnt])
}

#[test]
fn normalisations_with_their_activations() -> Result<()> {
    for then in [Activation::Identity, Activation::RELU, Activation::LeakyRelu(0.2)] {
        for (channels, [n, h, w]) in [(40, [3, 8, 8]), (7, [2, 3, 5]), (33, [9, 8, 8])] {
            let kind = LayerKind::BatchNorm { channels, then };
            let extent = Extent { runs: 2, n, h, w, c: channels };
            check_layer(kind, extent, Precision::F32, normalisation)?;
        }
    }
    Ok(())
}

fn activation(kind: LayerKind, x: &Tensor, dy: &Tensor, _: &[f32]) -> Result<[Vec<f32>; 3]> {
    let LayerKind::Activation(f) = kind else { unreachable!() };
    let y = f.forward(x)?;
    Ok([flat(&y), flat(&f.backward(&y, dy)?), Vec::new()])
}

#[test]
fn activations() -> Result<()> {
    for f in [Activation::RELU, Activation::LeakyRelu(0.2), Activation::Tanh] {
        let extent = Extent { runs: 2, n: 3, h: 5, w: 7, c: 3 };
        check_layer(LayerKind::Activation(f), extent, Precision::F32, activation)?;
    }
    Ok(())
}

#[test]
fn operands_are_rounded_as_their_formats_say() {
    // Ties, in both directions, and a value that the format represents exactly.
    let tie = 1.0 + 2f32.powi(-11);
    assert_eq!(rounded(Precision::Tf32, tie), 1.0 + 2f32.powi(-10));
    assert_eq!(rounded(Precision::Tf32, -tie), -1.0 - 2f32.powi(-10));
    assert_eq!(rounded(Precision::Bf16, 1.0 + 2f32.powi(-8)), 1.0);
    assert_eq!(rounded(Precision::Bf16, 1.0 + 3.0 * 2f32.powi(-8)), 1.0 + 2f32.powi(-6));
    assert_eq!(rounded(Precision::Bf16, 0.75), 0.75);
}
