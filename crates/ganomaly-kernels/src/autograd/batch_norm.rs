//! Batch normalisation as a layer.

use super::{Value, activate, node, suits};
use crate::Activation;
use crate::batch_norm::{self, BatchStats, EPS};
use candle_core::{DType, Result, Tensor, bail};
use candle_nn::{BatchNorm, BatchNormConfig, ModuleT, VarBuilder};

/// Batch normalisation of the channels of `[N, C, H, W]`, as [`candle_nn::BatchNorm`], and the
/// activation after it. Its tensors are `running_mean` and `running_var` and, if it is affine,
/// `weight` and `bias`, all `[C]`.
///
/// In training it normalises with the batch's statistics and moves the running ones towards them:
/// `r ← (1 − momentum)·r + momentum·b`, with the unbiased variance. Otherwise it normalises with
/// the running ones.
#[derive(Clone, Debug)]
pub struct BatchNorm2d {
    inner: BatchNorm,
    then: Activation,
    biased: bool,
}

/// A layer for `channels` channels from the tensors of `vb`, as [`candle_nn::batch_norm()`]. The
/// mean must be removed.
pub fn batch_norm2d<C: Into<BatchNormConfig>>(
    channels: usize,
    config: C,
    vb: VarBuilder<'_>,
) -> Result<BatchNorm2d> {
    let config = config.into();
    if !config.remove_mean {
        bail!("BatchNorm2d removes the mean; use candle_nn::BatchNorm to keep it");
    }
    Ok(candle_nn::batch_norm(channels, config, vb)?.into())
}

impl From<BatchNorm> for BatchNorm2d {
    fn from(inner: BatchNorm) -> Self {
        Self { inner, then: Activation::Identity, biased: false }
    }
}

impl BatchNorm2d {
    /// This layer with an activation after it, in the same pass if it is a rectifier.
    pub fn then(self, then: Activation) -> Self {
        Self { then, ..self }
    }

    /// This layer with a running variance that moves towards the batch's biased one, as in
    /// TensorFlow 1 after dense layers.
    pub fn biased(self) -> Self {
        Self { biased: true, ..self }
    }

    /// This layer as a constant: gradients pass through it, but its tensors get none. They share
    /// their storage, running statistics included.
    pub fn frozen(&self) -> Result<Self> {
        self.constant(self.inner.momentum())
    }

    /// As [`Self::frozen`]; in training it leaves the running statistics as they are. The published
    /// codes score with it.
    pub fn by_batch(&self) -> Result<Self> {
        self.constant(0.0)
    }

    fn constant(&self, momentum: f64) -> Result<Self> {
        let (mean, var) = (self.inner.running_mean(), self.inner.running_var());
        let (c, mean, var) = (mean.elem_count(), mean.clone(), var.clone());
        let eps = self.inner.eps();
        let inner = match self.inner.weight_and_bias() {
            Some((w, b)) => {
                BatchNorm::new_with_momentum(c, mean, var, w.detach(), b.detach(), eps, momentum)?
            }
            None => BatchNorm::new_no_bias_with_momentum(c, mean, var, eps, momentum)?,
        };
        Ok(Self { inner, ..*self })
    }

    /// Normalises with the batch's statistics.
    fn train(&self, x: &Tensor, then: Activation) -> Result<Tensor> {
        let x = Value::of(x)?;
        let mut stats = BatchStats::of(&x.numbers)?;
        let (mean, variance) = (self.inner.running_mean(), self.inner.running_var());
        // Not by 0 times what may be infinite.
        if self.inner.momentum() != 0.0 {
            let momentum = self.inner.momentum();
            match self.biased {
                true => stats.update_running_by(mean, variance, momentum, 1.0)?,
                false => stats.update_running(mean, variance, momentum)?,
            }
        }
        stats.variance = self.with_eps(stats.variance);
        let (w, b) = self.affine()?;
        let (scale, shift) = batch_norm::scale_and_shift(&stats.mean, &stats.variance, &w, &b);
        let y = batch_norm::affine(&x.numbers, &scale, &shift, then)?;
        let (weight, bias) = self.inner.weight_and_bias().unzip();
        let input = x.numbers.clone();
        let wants = [Some(&x.source), weight, bias].map(|t| t.is_some_and(Tensor::track_op));
        node(&x, [weight, bias], y, move |_, dy| {
            let g = batch_norm::backward(&input, &stats, (&w, &b), then, dy)?;
            let [x, weight, bias] = wants;
            Ok([x.then_some(g.input), weight.then_some(g.weight), bias.then_some(g.bias)])
        })
    }

    /// Normalises with the running statistics; differentiable by x alone.
    fn infer(&self, x: &Tensor, then: Activation) -> Result<Tensor> {
        let x = Value::of(x)?;
        let (scale, shift) = self.running()?;
        let y = batch_norm::affine(&x.numbers, &scale, &shift, then)?;
        let none = vec![0.0; scale.len()];
        node(&x, [None; 2], y, move |y, dy| {
            let dy = then.backward(y, dy)?;
            let dx = batch_norm::affine(&dy, &scale, &none, Activation::Identity)?;
            Ok([Some(dx), None, None])
        })
    }

    /// What it multiplies each channel with, and then adds, by its running statistics.
    pub fn running(&self) -> Result<(Vec<f64>, Vec<f64>)> {
        let mean = numbers(self.inner.running_mean())?;
        let variance = self.with_eps(numbers(self.inner.running_var())?);
        let (w, b) = self.affine()?;
        Ok(batch_norm::scale_and_shift(&mean, &variance, &w, &b))
    }

    /// The activation after it.
    pub fn activation(&self) -> Activation {
        self.then
    }

    /// Variances to which the kernels add their own constant, [`EPS`], instead of this layer's.
    fn with_eps(&self, variance: Vec<f64>) -> Vec<f64> {
        variance.into_iter().map(|v| v + (self.inner.eps() - EPS)).collect()
    }

    /// The learnt scale and shift.
    fn affine(&self) -> Result<(Vec<f64>, Vec<f64>)> {
        match self.inner.weight_and_bias() {
            Some((weight, bias)) => Ok((numbers(weight)?, numbers(bias)?)),
            None => {
                let c = self.inner.running_mean().elem_count();
                Ok((vec![1.0; c], vec![0.0; c]))
            }
        }
    }
}

impl ModuleT for BatchNorm2d {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let (weight, bias) = self.inner.weight_and_bias().unzip();
        let mean = self.inner.running_mean();
        // Not the running statistics: they are variables, but nothing is differentiated by them.
        let learns = [weight, bias].into_iter().flatten().any(Tensor::track_op);
        let tensors = [weight, bias, Some(mean), Some(self.inner.running_var())];
        let tensors = tensors.into_iter().flatten();
        let suits = suits(x, tensors) && x.rank() == 4 && x.dim(1)? == mean.elem_count();
        // The kernels' gradient is that of a rectifier, in training.
        let linear = self.then.negative_slope().is_some();
        let (then, after) = if linear {
            (self.then, Activation::Identity)
        } else {
            (Activation::Identity, self.then)
        };
        match (suits, train, learns) {
            (true, true, _) => activate(&self.train(x, then)?, after),
            (true, false, false) => activate(&self.infer(x, then)?, after),
            _ => activate(&self.inner.forward_t(x, train)?, self.then),
        }
    }
}

fn numbers(t: &Tensor) -> Result<Vec<f64>> {
    t.to_dtype(DType::F64)?.to_vec1()
}
