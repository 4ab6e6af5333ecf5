//! Losses of images and features.

use super::graph::{Value, raw};
use super::suits;
use crate::loss;
use candle_core::{DType, Device, Result, Tensor};

/// mean((a − b)²) over all elements, a scalar, as [`candle_nn::loss::mse`].
pub fn mse(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !both_suit(a, b) {
        return candle_nn::loss::mse(a, b);
    }
    distance(a, b, loss::mean_squared, loss::mean_squared_grad)
}

/// mean|a − b| over all elements, a scalar. The gradient where both are equal is 0.
pub fn l1(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !both_suit(a, b) {
        return (a - b)?.abs()?.mean_all();
    }
    distance(a, b, loss::mean_absolute, loss::mean_absolute_grad)
}

fn both_suit(a: &Tensor, b: &Tensor) -> bool {
    suits(a, [b]) && a.rank() == 4 && a.shape() == b.shape()
}

fn distance(
    a: &Tensor,
    b: &Tensor,
    value: fn(&Tensor, &Tensor) -> Result<f64>,
    gradient: fn(&Tensor, &Tensor, f64) -> Result<Tensor>,
) -> Result<Tensor> {
    let (a, b) = (Value::of(a)?, Value::of(b)?);
    let mean = value(&a.numbers, &b.numbers)?;
    let mean = Tensor::new(mean, &Device::Cpu)?.to_dtype(a.numbers.dtype())?;
    let [from_a, from_b] = [&a, &b].map(|value| value.source.clone());
    raw([&from_a, &from_b, &from_a], mean, move |_, weight| {
        let weight: f64 = weight.to_dtype(DType::F64)?.to_scalar()?;
        let toward = |a: &Value, b: &Value| {
            // The kernels take weights from 0; the gradient by b is the negative.
            let (c, d) = if weight < 0.0 { (b, a) } else { (a, b) };
            let wanted =
                a.source.track_op().then(|| gradient(&c.numbers, &d.numbers, weight.abs()));
            wanted.transpose()?.map(|gradient| a.receive(gradient)).transpose()
        };
        Ok([toward(&a, &b)?, toward(&b, &a)?, None])
    })
}
