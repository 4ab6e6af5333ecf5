//! Shared by the kernels' tests.

#![allow(dead_code)] // Each test binary uses only a part.

use candle_core::{DType, Device, Result, Tensor};
use ganomaly_kernels::{Conv2d, reference};
use rayon::prelude::*;
use std::sync::LazyLock;

/// Pseudo-random numbers in [-1, 1): a hashed Weyl sequence is enough for tests.
pub fn random(shape: impl Into<candle_core::Shape>, seed: u64) -> Tensor {
    let shape = shape.into();
    let values = (0..shape.elem_count() as u64)
        .map(|i| {
            let mut z = (seed << 32 | i).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (z >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect::<Vec<f64>>();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub fn numbers(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Norm of the difference over norm of the expected values.
pub fn deviation(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.dims(), expected.dims());
    let (a, b) = (numbers(got), numbers(expected));
    let difference: f64 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
    let norm: f64 = b.iter().map(|b| b * b).sum();
    (difference / norm.max(1e-300)).sqrt()
}

/// Checks the gradient of `f` against central differences at every element of `x`.
pub fn check_finite_differences(
    x: &Tensor,
    gradient: &Tensor,
    f: impl Fn(&Tensor) -> Result<f64>,
) -> Result<()> {
    let values = numbers(x);
    let h = 1e-6;
    let mut expected = Vec::with_capacity(values.len());
    for i in 0..values.len() {
        let shifted = |by: f64| -> Result<f64> {
            let mut v = values.clone();
            v[i] += by;
            f(&Tensor::from_vec(v, x.shape(), &Device::Cpu)?)
        };
        expected.push((shifted(h)? - shifted(-h)?) / (2.0 * h));
    }
    let expected = Tensor::from_vec(expected, x.shape(), &Device::Cpu)?;
    let d = deviation(gradient, &expected);
    assert!(d < 1e-6, "deviation {d:e} from finite differences");
    Ok(())
}

pub fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    a.mul(b)?.sum_all()?.to_scalar()
}

/// (convolution, [N, H, W, I], O): the network's own kinds and unusual ones.
pub const CASES: &[(Conv2d, [usize; 4], usize)] = &[
    (Conv2d { kernel: 4, stride: 2, padding: 1 }, [1, 4, 4, 1], 1),
    (Conv2d { kernel: 4, stride: 2, padding: 1 }, [5, 8, 8, 3], 7),
    (Conv2d { kernel: 4, stride: 2, padding: 1 }, [9, 16, 16, 5], 17),
    (Conv2d { kernel: 4, stride: 2, padding: 1 }, [3, 6, 10, 2], 33),
    // Enough images and channels for minimal filtering, in tiles of 2 and of 4, whole and cut at
    // the edge.
    (Conv2d { kernel: 4, stride: 2, padding: 1 }, [64, 8, 8, 16], 32),
    (Conv2d { kernel: 4, stride: 2, padding: 1 }, [24, 8, 8, 16], 16),
    (Conv2d { kernel: 4, stride: 2, padding: 1 }, [13, 16, 16, 32], 16),
    (Conv2d { kernel: 4, stride: 2, padding: 1 }, [30, 11, 14, 16], 16),
    (Conv2d { kernel: 4, stride: 2, padding: 1 }, [9, 26, 22, 16], 16),
    (Conv2d { kernel: 4, stride: 2, padding: 0 }, [17, 12, 8, 16], 48),
    // Weights larger than the images, in tiles of 2 and of 4; more tiles than a weight gradient
    // holds at a time.
    (Conv2d { kernel: 4, stride: 2, padding: 1 }, [13, 8, 8, 48], 144),
    (Conv2d { kernel: 4, stride: 2, padding: 1 }, [59, 8, 8, 64], 160),
    (Conv2d { kernel: 4, stride: 2, padding: 1 }, [9, 32, 32, 64], 64),
    (Conv2d { kernel: 4, stride: 1, padding: 0 }, [5, 4, 4, 13], 11),
    (Conv2d { kernel: 4, stride: 1, padding: 0 }, [1, 4, 4, 3], 1),
    (Conv2d { kernel: 4, stride: 1, padding: 0 }, [2, 7, 5, 3], 4),
    (Conv2d { kernel: 3, stride: 1, padding: 1 }, [5, 8, 8, 3], 6),
    (Conv2d { kernel: 3, stride: 1, padding: 1 }, [1, 1, 1, 1], 1),
    (Conv2d { kernel: 2, stride: 3, padding: 1 }, [2, 5, 7, 3], 2),
];

/// The input, the weights and the gradient of the output of a case, and its three products by the
/// definition.
struct Case {
    x: Tensor,
    k: Tensor,
    dy: Tensor,
    expected: [Tensor; 3],
}

impl Case {
    fn new(&(conv, [n, h, w, i], o): &(Conv2d, [usize; 4], usize)) -> Result<Self> {
        let x = random((n, h, w, i), 1);
        let k = random((conv.kernel, conv.kernel, i, o), 2);
        let y = reference::forward(conv, &x, &k)?;
        let dy = random(y.shape(), 3);
        let dx = reference::backward_input(conv, &dy, &k, (h, w))?;
        let dk = reference::backward_weight(conv, &x, &dy)?;
        Ok(Self { x, k, dy, expected: [y, dx, dk] })
    }
}

/// Computed once, because the definition is slow.
static EXPECTED: LazyLock<Vec<Case>> =
    LazyLock::new(|| CASES.par_iter().map(Case::new).collect::<Result<_>>().unwrap());

/// Every case's three products in both precisions.
pub fn check_convolutions() -> Result<()> {
    for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 2e-6)] {
        for (&(conv, [n, h, w, i], o), case) in CASES.iter().zip(&*EXPECTED) {
            let cast = |t: &Tensor| t.to_dtype(dtype);
            let (x, k, dy) = (cast(&case.x)?, cast(&case.k)?, cast(&case.dy)?);
            let got = [
                conv.forward(&x, &k)?,
                conv.backward_input(&dy, &k, (h, w))?,
                conv.backward_weight(&x, &dy)?,
            ];
            for (which, (got, expected)) in got.iter().zip(&case.expected).enumerate() {
                let d = deviation(got, expected);
                assert!(d < tolerance, "{conv:?} {n}x{h}x{w}x{i}->{o} {dtype:?} #{which}: {d:e}");
            }
        }
    }
    Ok(())
}
