//! The oracle: every convolution as naive float64 loops, straight from its definition. Slow; for
//! tests only.

use crate::Conv2d;
use candle_core::{DType, Device, Result, Tensor};

/// Calls back with the flat indices into x `[N, H, W, I]`, w `[K, K, I, O]` and y `[N, H', W', O]`
/// of each product that a convolution sums.
fn for_each_product(
    conv: Conv2d,
    (n, h, wd, i): (usize, usize, usize, usize),
    o: usize,
    mut visit: impl FnMut(usize, usize, usize),
) -> Result<(usize, usize)> {
    let (oh, ow) = (conv.output_size(h)?, conv.output_size(wd)?);
    let k = conv.kernel;
    for p in 0..n {
        for oy in 0..oh {
            for ox in 0..ow {
                for (ky, kx) in (0..k * k).map(|t| (t / k, t % k)) {
                    let y = (oy * conv.stride + ky).wrapping_sub(conv.padding);
                    let x = (ox * conv.stride + kx).wrapping_sub(conv.padding);
                    if y >= h || x >= wd {
                        continue;
                    }
                    for (ci, co) in (0..i * o).map(|t| (t / o, t % o)) {
                        visit(
                            ((p * h + y) * wd + x) * i + ci,
                            ((ky * k + kx) * i + ci) * o + co,
                            ((p * oh + oy) * ow + ox) * o + co,
                        );
                    }
                }
            }
        }
    }
    Ok((oh, ow))
}

fn numbers(t: &Tensor) -> Result<Vec<f64>> {
    t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// [`Conv2d::forward`] in float64.
pub fn forward(conv: Conv2d, x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let (n, h, wd, i) = x.dims4()?;
    let o = w.dim(3)?;
    let (xs, ws) = (numbers(x)?, numbers(w)?);
    let mut y = vec![0.0; n * conv.output_size(h)? * conv.output_size(wd)? * o];
    let (oh, ow) = for_each_product(conv, (n, h, wd, i), o, |a, b, c| y[c] += xs[a] * ws[b])?;
    Tensor::from_vec(y, (n, oh, ow, o), &Device::Cpu)
}

/// [`Conv2d::backward_input`] in float64.
pub fn backward_input(
    conv: Conv2d,
    dy: &Tensor,
    w: &Tensor,
    (h, wd): (usize, usize),
) -> Result<Tensor> {
    let (n, i, o) = (dy.dim(0)?, w.dim(2)?, w.dim(3)?);
    let (ds, ws) = (numbers(dy)?, numbers(w)?);
    let mut dx = vec![0.0; n * h * wd * i];
    for_each_product(conv, (n, h, wd, i), o, |a, b, c| dx[a] += ds[c] * ws[b])?;
    Tensor::from_vec(dx, (n, h, wd, i), &Device::Cpu)
}

/// [`Conv2d::backward_weight`] in float64.
pub fn backward_weight(conv: Conv2d, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (n, h, wd, i) = x.dims4()?;
    let (o, k) = (dy.dim(3)?, conv.kernel);
    let (xs, ds) = (numbers(x)?, numbers(dy)?);
    let mut dw = vec![0.0; k * k * i * o];
    for_each_product(conv, (n, h, wd, i), o, |a, b, c| dw[b] += xs[a] * ds[c])?;
    Tensor::from_vec(dw, (k, k, i, o), &Device::Cpu)
}
