//! The same checks for every instruction set of this CPU. A separate binary, because the level is
//! set for the whole process.

mod common;
#[path = "../../../tests/skip.rs"]
mod skip;

use candle_core::{DType, Result, Tensor};
use common::{check_convolutions, check_finite_differences, deviation, dot, numbers, random};
use ganomaly_kernels::batch_norm::{self, BatchStats};
use ganomaly_kernels::cpu::{self, Level};
use ganomaly_kernels::{Activation, Adam, AdamConfig, Conv2d};

const HALVE: Conv2d = Conv2d { kernel: 4, stride: 2, padding: 1 };

/// Both gradients of a convolution against central differences in float64.
fn check_convolution(conv: Conv2d, [n, h, w, i]: [usize; 4], o: usize) -> Result<()> {
    let (x, k) = (random((n, h, w, i), 1), random((conv.kernel, conv.kernel, i, o), 2));
    let dy = random(conv.forward(&x, &k)?.shape(), 3);
    let dx = conv.backward_input(&dy, &k, (h, w))?;
    check_finite_differences(&x, &dx, |x| dot(&conv.forward(x, &k)?, &dy))?;
    let dk = conv.backward_weight(&x, &dy)?;
    check_finite_differences(&k, &dk, |k| dot(&conv.forward(&x, k)?, &dy))
}

/// Batch normalisation and rectifier in float32 against float64, including channel counts that do
/// not fill a register.
fn check_batch_norm(shape: &[usize]) -> Result<()> {
    let c = shape[shape.len() - 1];
    let (x, dy) = (random(shape, 4), random(shape, 5));
    let (w, b) = (numbers(&random(c, 6)), numbers(&random(c, 7)));
    let run = |x: &Tensor, dy: &Tensor| -> Result<[Tensor; 2]> {
        let stats = BatchStats::of(x)?;
        let (scale, shift) = batch_norm::scale_and_shift(&stats.mean, &stats.variance, &w, &b);
        let f = Activation::LeakyRelu(0.2);
        let y = batch_norm::affine(x, &scale, &shift, f)?;
        Ok([y, batch_norm::backward(x, &stats, (&w, &b), f, dy)?.input])
    };
    let exact = run(&x, &dy)?;
    let single = run(&x.to_dtype(DType::F32)?, &dy.to_dtype(DType::F32)?)?;
    for (got, expected) in single.iter().zip(&exact) {
        let d = deviation(got, expected);
        assert!(d < 1e-5, "{shape:?}: deviation {d:e}");
    }
    Ok(())
}

fn check_adam() -> Result<Vec<f64>> {
    let p = random(37, 8).to_dtype(DType::F32)?;
    let mut adam = Adam::new(vec![p.clone()], AdamConfig::default())?;
    for seed in 0..3 {
        adam.step(&[random(37, seed).to_dtype(DType::F32)?])?;
    }
    Ok(numbers(&p))
}

#[test]
fn every_level_computes_the_same() -> Result<()> {
    let mut adams: Vec<Vec<f64>> = Vec::new();
    for level in [Level::Portable, Level::Avx2, Level::Avx512] {
        if cpu::set_level(level) != level {
            skip::allowed(&format!("this processor has no {level}"));
            continue;
        }
        check_convolutions()?;
        // 1 image and 1 channel; 3 channels; 5 images; channels that do not fill a register.
        for (shape, o) in
            [([1, 4, 4, 1], 1), ([2, 6, 6, 3], 5), ([5, 4, 4, 2], 3), ([1, 4, 6, 17], 2)]
        {
            check_convolution(HALVE, shape, o)?;
        }
        check_convolution(Conv2d { kernel: 4, stride: 1, padding: 0 }, [2, 4, 4, 3], 7)?;
        check_convolution(Conv2d { kernel: 3, stride: 1, padding: 1 }, [1, 3, 5, 2], 3)?;
        for shape in [&[1, 3, 3, 1][..], &[5, 2, 2, 3], &[3, 4, 4, 21], &[6, 16], &[64, 8, 8, 48]] {
            check_batch_norm(shape)?;
        }
        let activated = Activation::LeakyRelu(0.2).forward(&random(37, 9))?;
        for (y, x) in numbers(&activated).into_iter().zip(numbers(&random(37, 9))) {
            assert_eq!(y, if x > 0.0 { x } else { x * 0.2 });
        }
        adams.push(check_adam()?);
    }
    cpu::set_level(cpu::best());
    for adam in &adams {
        for (a, b) in adam.iter().zip(&adams[0]) {
            assert!((a - b).abs() < 1e-7, "Adam differs between levels: {a} and {b}");
        }
    }
    Ok(())
}
