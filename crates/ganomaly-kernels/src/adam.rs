//! Adam (Kingma & Ba, 2015) as in `torch.optim.Adam`: one fused pass over each parameter.

use crate::activation::BLOCK;
use crate::cpu::vectorised;
use crate::storage::{Real, dispatch, read, update};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

/// Adam's settings. The defaults are the published code's: learning rate 2e-4, β 0.5 and 0.999.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Whether `eps` stands beside the root of the second moment before its correction, as in
    /// TensorFlow 1, where it weighs more in the first steps. PyTorch has it after the correction.
    pub early_eps: bool,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { lr: 2e-4, beta1: 0.5, beta2: 0.999, eps: 1e-8, early_eps: false }
    }
}

/// The optimiser for a list of parameters, which it updates in place.
#[derive(Debug)]
pub struct Adam {
    config: AdamConfig,
    steps: u64,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    parameter: Tensor,
    first: Tensor,
    second: Tensor,
}

impl Adam {
    /// Starts with zero moments. The parameters are contiguous `f32` or `f64` tensors that share
    /// their storage with the caller's.
    pub fn new(parameters: Vec<Tensor>, config: AdamConfig) -> Result<Self> {
        let slots = parameters
            .into_iter()
            .map(|p| Ok(Slot { first: p.zeros_like()?, second: p.zeros_like()?, parameter: p }))
            .collect::<Result<_>>()?;
        Ok(Self { config, steps: 0, slots })
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Sets the number of steps taken so far.
    pub fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// The learning rate of the next step.
    pub fn lr(&self) -> f64 {
        self.config.lr
    }

    /// Changes the learning rate; moments and step count stay.
    pub fn set_lr(&mut self, lr: f64) {
        self.config.lr = lr;
    }

    /// The first and the second moments, each in parameter order. They share their storage with the
    /// optimiser.
    pub fn moments(&self) -> [Vec<Tensor>; 2] {
        let first = self.slots.iter().map(|slot| slot.first.clone());
        let second = self.slots.iter().map(|slot| slot.second.clone());
        [first.collect(), second.collect()]
    }

    /// Takes one step along `gradients`: one per parameter, in parameter order.
    pub fn step(&mut self, gradients: &[Tensor]) -> Result<()> {
        self.step_some(&gradients.iter().map(Some).collect::<Vec<_>>())
    }

    /// [`Self::step`] that leaves parameters without a gradient as they are.
    pub(crate) fn step_some(&mut self, gradients: &[Option<&Tensor>]) -> Result<()> {
        if gradients.len() != self.slots.len() {
            bail!("{} gradients for {} parameters", gradients.len(), self.slots.len());
        }
        self.steps += 1;
        let t = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let AdamConfig { lr, beta1, beta2, eps, early_eps } = self.config;
        let step_size = lr / (1.0 - beta1.powi(t));
        let second_scale = (1.0 - beta2.powi(t)).sqrt();
        let eps = if early_eps { eps / second_scale } else { eps };
        for (slot, gradient) in self.slots.iter().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            if slot.parameter.shape() != gradient.shape() {
                bail!(
                    "a gradient of shape {:?} for a parameter of shape {:?}",
                    gradient.shape(),
                    slot.parameter.shape()
                );
            }
            let rate = Rate { step_size, second_scale, beta1, beta2, eps };
            dispatch!(slot.parameter, T => slot.step::<T>(gradient, rate)?);
        }
        Ok(())
    }
}

/// Moves an average of weights by this share of its distance towards them, in place. Both are
/// contiguous, of one type and shape.
pub fn move_average(average: &Tensor, weights: &Tensor, share: f64) -> Result<()> {
    if average.shape() != weights.shape() {
        bail!("an average of shape {:?} of {:?}", average.shape(), weights.shape());
    }
    dispatch!(average, T => read(weights, |w: &[T]| {
        update(average, |a: &mut [T]| {
            let share = T::from_f64(share);
            a.par_chunks_mut(BLOCK).zip(w.par_chunks(BLOCK)).for_each(|(a, w)| {
                a.iter_mut().zip(w).for_each(|(a, &w)| *a = *a - (*a - w) * share);
            });
        })
    })??);
    Ok(())
}

#[derive(Clone, Copy)]
struct Rate {
    step_size: f64,
    second_scale: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
}

impl Slot {
    fn step<T: Real>(&self, gradient: &Tensor, rate: Rate) -> Result<()> {
        let Self { parameter, first, second } = self;
        read(gradient, |g: &[T]| {
            update(parameter, |p: &mut [T]| {
                update(first, |m: &mut [T]| update(second, |v: &mut [T]| fused(p, m, v, g, rate)))
            })
        })????;
        Ok(())
    }
}

fn fused<T: Real>(p: &mut [T], m: &mut [T], v: &mut [T], g: &[T], rate: Rate) {
    let f = T::from_f64;
    let (beta1, beta2) = (f(rate.beta1), f(rate.beta2));
    let (rest1, rest2) = (f(1.0 - rate.beta1), f(1.0 - rate.beta2));
    let (step_size, second_scale, eps) = (f(rate.step_size), f(rate.second_scale), f(rate.eps));
    p.par_chunks_mut(BLOCK)
        .zip(m.par_chunks_mut(BLOCK))
        .zip(v.par_chunks_mut(BLOCK))
        .zip(g.par_chunks(BLOCK))
        .for_each(|(((p, m), v), g)| {
            vectorised!({
                for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
                    *m = beta1 * *m + rest1 * g;
                    *v = beta2 * *v + rest2 * g * g;
                    *p -= step_size * *m / (v.sqrt() / second_scale + eps);
                }
            });
        });
}
