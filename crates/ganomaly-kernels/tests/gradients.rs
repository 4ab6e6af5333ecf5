//! Every kernel against the naive oracle, candle's own operations, finite differences, and itself
//! with other thread counts.

mod common;

use candle_core::{DType, Device, Result, Tensor, Var};
use common::{check_convolutions, check_finite_differences, deviation, dot, numbers, random};
use ganomaly_kernels::batch_norm::{self, BatchStats};
use ganomaly_kernels::{Activation, Adam, AdamConfig, Conv2d, Fold, layout, loss};

#[test]
fn convolutions_equal_the_oracle() -> Result<()> {
    check_convolutions()
}

#[test]
fn convolutions_equal_candles() -> Result<()> {
    let conv = Conv2d { kernel: 4, stride: 2, padding: 1 };
    let x = Var::from_tensor(&random((3, 5, 8, 8), 1))?; // NCHW
    let w = Var::from_tensor(&random((7, 5, 4, 4), 2))?; // OIKK
    let y = x.conv2d(&w, 1, 2, 1, 1)?;
    let dy = random(y.shape(), 3);
    let grads = y.mul(&dy)?.sum_all()?.backward()?;
    let (xs, ws) = (layout::nhwc_from_nchw(&x)?, layout::kernel_from_oikk(&w)?);
    let ds = layout::nhwc_from_nchw(&dy)?;
    let check = |got: Tensor, expected: &Tensor| assert!(deviation(&got, expected) < 1e-12);
    check(layout::nchw_from_nhwc(&conv.forward(&xs, &ws)?)?, &y);
    check(layout::nchw_from_nhwc(&conv.backward_input(&ds, &ws, (8, 8))?)?, grads.get(&x).unwrap());
    check(layout::oikk_from_kernel(&conv.backward_weight(&xs, &ds)?)?, grads.get(&w).unwrap());
    // A transposed convolution is the input gradient: PyTorch's [in, out, K, K] weight as
    // [O, I, K, K].
    let transposed = dy.conv_transpose2d(&w, 1, 0, 2, 1)?;
    let size = conv.transposed_size(4)?;
    assert_eq!(size, 8);
    check(layout::nchw_from_nhwc(&conv.backward_input(&ds, &ws, (size, size))?)?, &transposed);
    Ok(())
}

fn normalise(x: &Tensor, w: &[f64], b: &[f64], f: Activation) -> Result<Tensor> {
    let stats = BatchStats::of(x)?;
    let (scale, shift) = batch_norm::scale_and_shift(&stats.mean, &stats.variance, w, b);
    batch_norm::affine(x, &scale, &shift, f)
}

#[test]
fn batch_norm_gradients_equal_finite_differences() -> Result<()> {
    for f in [Activation::Identity, Activation::RELU, Activation::LeakyRelu(0.2)] {
        for shape in [vec![1, 2, 2, 1], vec![5, 3, 1, 3], vec![7, 5]] {
            let x = random(shape.clone(), 4);
            let c = *shape.last().unwrap();
            let (w, b) = (random(c, 5), random(c, 6));
            let (ws, bs) = (numbers(&w), numbers(&b));
            let dy = random(shape, 7);
            let g = batch_norm::backward(&x, &BatchStats::of(&x)?, (&ws, &bs), f, &dy)?;
            check_finite_differences(&x, &g.input, |x| dot(&normalise(x, &ws, &bs, f)?, &dy))?;
            check_finite_differences(&w, &g.weight, |w| {
                dot(&normalise(&x, &numbers(w), &bs, f)?, &dy)
            })?;
            check_finite_differences(&b, &g.bias, |b| {
                dot(&normalise(&x, &ws, &numbers(b), f)?, &dy)
            })?;
        }
    }
    Ok(())
}

#[test]
fn statistics_are_accurate_far_from_zero_and_over_many_blocks() -> Result<()> {
    let x = (random((50_000, 3), 8) + 1000.0)?;
    let stats = BatchStats::of(&x.to_dtype(DType::F32)?)?;
    let exact = BatchStats::of(&x)?;
    assert_eq!(exact.count, 50_000);
    for c in 0..3 {
        assert!((stats.mean[c] - exact.mean[c]).abs() < 1e-2);
        assert!((stats.variance[c] / exact.variance[c] - 1.0).abs() < 1e-3);
        assert!(
            (exact.variance[c] - 1.0 / 3.0).abs() < 5e-3,
            "uniform on [-1, 1) has variance 1/3"
        );
    }
    Ok(())
}

#[test]
fn running_statistics_follow_pytorchs_rule() -> Result<()> {
    let x = Tensor::new(&[[1.0f64], [3.0]], &Device::Cpu)?;
    let mean = Tensor::new(&[10.0f32], &Device::Cpu)?;
    let variance = Tensor::new(&[1.0f32], &Device::Cpu)?;
    BatchStats::of(&x)?.update_running(&mean, &variance, 0.1)?;
    assert!((numbers(&mean)[0] - (0.9 * 10.0 + 0.1 * 2.0)).abs() < 1e-6);
    assert!((numbers(&variance)[0] - (0.9 + 0.1 * 2.0)).abs() < 1e-6, "the unbiased variance is 2");
    Ok(())
}

#[test]
fn activation_and_loss_gradients_equal_finite_differences() -> Result<()> {
    let (x, other, dy) = (random((3, 5), 9), random((3, 5), 10), random((3, 5), 11));
    for f in [Activation::Identity, Activation::LeakyRelu(0.2), Activation::RELU, Activation::Tanh]
    {
        let g = f.backward(&f.forward(&x)?, &dy)?;
        check_finite_differences(&x, &g, |x| dot(&f.forward(x)?, &dy))?;
    }
    let g = loss::mean_squared_grad(&x, &other, 3.0)?;
    check_finite_differences(&x, &g, |x| Ok(3.0 * loss::mean_squared(x, &other)?))?;
    let g = loss::mean_absolute_grad(&x, &other, 50.0)?;
    check_finite_differences(&x, &g, |x| Ok(50.0 * loss::mean_absolute(x, &other)?))?;
    for target in [true, false] {
        let g = loss::binary_cross_entropy_grad(&loss::sigmoid(&x)?, target, 0.5)?;
        check_finite_differences(&x, &g, |x| {
            Ok(0.5 * loss::binary_cross_entropy(&loss::sigmoid(x)?, target)?)
        })?;
    }
    Ok(())
}

#[test]
fn cross_entropy_is_clamped_as_in_pytorch() -> Result<()> {
    let sure = Tensor::new(&[0.0f32], &Device::Cpu)?;
    assert_eq!(loss::binary_cross_entropy(&sure, true)?, 100.0);
    assert_eq!(loss::binary_cross_entropy(&sure, false)?, 0.0);
    assert_eq!(numbers(&loss::binary_cross_entropy_grad(&sure, true, 1.0)?), [0.0]);
    Ok(())
}

#[test]
fn adam_takes_pytorchs_steps() -> Result<()> {
    // torch.optim.Adam([1., -2.], lr=0.1, betas=(0.5, 0.999)) after gradients [1, -3] and [0.5, 2].
    let p = Tensor::new(&[1.0f64, -2.0], &Device::Cpu)?;
    let config = AdamConfig { lr: 0.1, ..AdamConfig::default() };
    let mut adam = Adam::new(vec![p.clone()], config)?;
    for g in [[1.0, -3.0], [0.5, 2.0]] {
        adam.step(&[Tensor::new(&g, &Device::Cpu)?])?;
    }
    assert_eq!(adam.steps(), 2);
    let by_hand = |p: f64, g: [f64; 2]| {
        let (m1, v1) = (0.5 * g[0], 0.001 * g[0] * g[0]);
        let p = p - 0.1 * (m1 / 0.5) / ((v1 / 0.001f64).sqrt() + 1e-8);
        let (m2, v2) = (0.5 * m1 + 0.5 * g[1], 0.999 * v1 + 0.001 * g[1] * g[1]);
        p - 0.1 * (m2 / 0.75) / ((v2 / (1.0 - 0.999f64 * 0.999)).sqrt() + 1e-8)
    };
    let expected = [by_hand(1.0, [1.0, 0.5]), by_hand(-2.0, [-3.0, 2.0])];
    for (got, expected) in numbers(&p).iter().zip(expected) {
        assert!((got - expected).abs() < 1e-12, "{got} against {expected}");
    }
    assert!(adam.step(&[]).is_err(), "a missing gradient is an error");
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let run = |threads: usize| -> Result<Vec<Vec<u32>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let f32s = |t: Tensor| t.to_dtype(DType::F32);
            let mut out = Vec::new();
            for (conv, n, s, i, o) in [
                (Conv2d { kernel: 4, stride: 2, padding: 1 }, 64, 16, 24, 40),
                (Conv2d { kernel: 4, stride: 2, padding: 1 }, 64, 16, 32, 48),
                (Conv2d { kernel: 4, stride: 1, padding: 0 }, 64, 4, 256, 100),
            ] {
                let x = f32s(random((n, s, s, i), 12))?;
                let w = f32s(random((4, 4, i, o), 13))?;
                let y = conv.forward(&x, &w)?;
                let stats = BatchStats::of(&y)?;
                let ones = vec![1.0; o];
                let g = batch_norm::backward(&y, &stats, (&ones, &ones), Activation::RELU, &y)?;
                out.push(conv.backward_input(&g.input, &w, (s, s))?);
                out.push(conv.backward_weight(&x, &g.input)?);
                out.extend([y, g.weight]);
            }
            out.push(Tensor::new(
                &[loss::mean_absolute(&out[0], &out[0].affine(0.5, 0.1)?)? as f32],
                &Device::Cpu,
            )?);
            out.iter()
                .map(|t| {
                    Ok(t.flatten_all()?.to_vec1::<f32>()?.iter().map(|v| v.to_bits()).collect())
                })
                .collect()
        })
    };
    let one = run(1)?;
    for threads in [2, 3, 7] {
        assert!(run(threads)? == one, "{threads} threads give other bits than one");
    }
    Ok(())
}

#[test]
fn wrong_shapes_are_errors_that_say_so() {
    let conv = Conv2d { kernel: 4, stride: 2, padding: 1 };
    let check = |result: Result<Tensor>, expected: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    };
    let (x, w) = (random((1, 8, 8, 3), 1), random((4, 4, 3, 5), 2));
    check(conv.forward(&x, &random((4, 4, 2, 5), 2)), "expected [K, K, I, O] = [4, 4, 3, 5]");
    check(conv.forward(&random((1, 1, 1, 3), 1), &w), "does not fit an input of size 1");
    check(conv.backward_weight(&x, &random((1, 3, 4, 5), 3)), "expected [1, 4, 4, 5]");
    check(conv.forward(&x.to_dtype(DType::F16).unwrap(), &w), "F16 tensors are not supported");
    check(conv.forward(&x.to_dtype(DType::F32).unwrap(), &w), "unexpected dtype");
    check(conv.forward(&x.transpose(1, 2).unwrap(), &w), "is not contiguous");
    check(loss::mean_squared_grad(&x, &w, 1.0), "differ");
    check(batch_norm::affine(&x, &[1.0], &[0.0], Activation::RELU), "for 3 channels");
}

#[test]
fn what_is_folded_into_a_convolution_equals_its_own_pass() -> Result<()> {
    let conv = Conv2d { kernel: 4, stride: 2, padding: 1 };
    // Direct, one image, tiles of 2, tiles of 4; then an image that is one patch.
    for (conv, [n, s, i], o) in [
        (conv, [5, 8, 3], 7),
        (conv, [1, 8, 16], 32),
        (conv, [64, 4, 16], 16),
        (conv, [24, 16, 16], 32),
        (Conv2d { kernel: 4, stride: 1, padding: 0 }, [3, 4, 5], 6),
    ] {
        let (x, w) = (random((n, s, s, i), 1), random((conv.kernel, conv.kernel, i, o), 2));
        let f = Activation::LeakyRelu(0.2);
        let (scale, shift) = (numbers(&random(i.max(o), 3)), numbers(&random(i.max(o), 4)));
        let y = conv.forward(&x, &w)?;
        let fold = Fold { scale: &scale[..o], shift: &shift[..o], activation: f };
        let expected = batch_norm::affine(&y, fold.scale, fold.shift, f)?;
        assert!(deviation(&conv.forward_folded(&x, &w, Some(&fold))?, &expected) < 1e-14);
        let fold = Fold { scale: &scale[..i], shift: &shift[..i], activation: f };
        let back = conv.backward_input(&y, &w, (s, s))?;
        let expected = batch_norm::affine(&back, fold.scale, fold.shift, f)?;
        assert!(
            deviation(&conv.backward_input_folded(&y, &w, (s, s), Some(&fold))?, &expected) < 1e-14
        );
        let tanh = Fold { activation: Activation::Tanh, ..fold };
        assert!(conv.backward_input_folded(&y, &w, (s, s), Some(&tanh)).is_err());
    }
    Ok(())
}
