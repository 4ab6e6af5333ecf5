//! Layers with an explicit gradient, and chains of them.
//!
//! A chain's forward pass returns a [`Tape`]; its backward pass takes the tape and computes only
//! the requested gradients: the generator's step needs no gradients of the discriminator's weights,
//! and the discriminator's step none of its input. Activations are channels-last, `[N, H, W, C]`.

mod count;
mod infer;
mod kinds;
mod kinks;
mod trace;

pub use kinds::LayerKind;
pub use kinks::Kinks;
pub(crate) use kinks::side_with;

use crate::random::normal;
use crate::{Error, NamedTensors, Result};
use candle_core::{DType, Device, Tensor};
use ganomaly_kernels::batch_norm::{self, BatchStats};
use ganomaly_kernels::{Activation, Conv2d, Fold, layout};
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};

/// Momentum of the running statistics, PyTorch's default.
pub const MOMENTUM: f64 = 0.1;

/// A layer, with the published code's name for its parameters.
#[derive(Debug)]
struct Layer {
    name: String,
    op: Op,
}

#[derive(Debug)]
enum Op {
    /// A convolution; if transposed, its forward pass is the plain one's input gradient.
    Conv { conv: Conv2d, transposed: bool, weight: Tensor },
    /// Batch normalisation and the activation after it.
    BatchNorm { norm: BatchNorm, then: Activation },
    /// An activation with no batch normalisation before it.
    Activation(Activation),
}

/// Learnt scale and shift, and running statistics, each `[C]`.
#[derive(Debug)]
struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batches_tracked: AtomicI64,
}

impl BatchNorm {
    /// Normalises with the batch's own statistics.
    fn forward(&self, x: &Tensor, stats: &BatchStats, f: Activation) -> Result<Tensor> {
        let (scale, shift) = self.scale_and_shift(&stats.mean, &stats.variance)?;
        Ok(batch_norm::affine(x, &scale, &shift, f)?)
    }

    fn scale_and_shift(&self, mean: &[f64], variance: &[f64]) -> Result<(Vec<f64>, Vec<f64>)> {
        let (weight, bias) = (numbers(&self.weight)?, numbers(&self.bias)?);
        Ok(batch_norm::scale_and_shift(mean, variance, &weight, &bias))
    }

    /// Scale and shift of the running statistics.
    fn running(&self) -> Result<(Vec<f64>, Vec<f64>)> {
        self.scale_and_shift(&numbers(&self.running_mean)?, &numbers(&self.running_var)?)
    }
}

/// What one layer's gradient needs from its forward pass.
#[derive(Debug)]
enum Saved {
    Conv { x: Tensor },
    BatchNorm { x: Tensor, stats: BatchStats },
    Activation { y: Tensor },
}

/// What a chain's backward pass needs from its forward pass.
#[derive(Debug)]
pub struct Tape(Vec<Saved>);

/// Which gradients a backward pass computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Only that of the input.
    Input,
    /// Only those of the parameters.
    Parameters,
    /// Both.
    All,
}

/// The requested gradients.
#[derive(Debug)]
pub struct Gradients {
    /// The input's, `[N, H, W, C]`.
    pub input: Option<Tensor>,
    /// The parameters', in the order of [`Sequential::parameters`]; empty if not requested.
    pub parameters: Vec<Tensor>,
}

/// A chain of layers.
#[derive(Debug, Default)]
pub struct Sequential {
    layers: Vec<Layer>,
}

/// Sizes of a new convolution: channels in and out, and its geometry.
#[derive(Clone, Copy, Debug)]
pub struct ConvSizes {
    /// Channels in.
    pub input: usize,
    /// Channels out.
    pub output: usize,
    /// Kernel, stride and padding.
    pub conv: Conv2d,
}

impl Sequential {
    /// Appends a convolution without bias; its weights are zero until [`Self::initialise`].
    pub fn conv(&mut self, name: impl Into<String>, sizes: ConvSizes, dtype: DType) -> Result<()> {
        self.push_conv(name.into(), sizes, dtype, false)
    }

    /// Appends a transposed convolution without bias.
    pub fn conv_transpose(
        &mut self,
        name: impl Into<String>,
        sizes: ConvSizes,
        dtype: DType,
    ) -> Result<()> {
        self.push_conv(name.into(), sizes, dtype, true)
    }

    fn push_conv(
        &mut self,
        name: String,
        ConvSizes { input, output, conv }: ConvSizes,
        dtype: DType,
        transposed: bool,
    ) -> Result<()> {
        let (i, o) = if transposed { (output, input) } else { (input, output) };
        let weight = Tensor::zeros((conv.kernel, conv.kernel, i, o), dtype, &Device::Cpu)?;
        self.layers.push(Layer { name, op: Op::Conv { conv, transposed, weight } });
        Ok(())
    }

    /// Appends batch normalisation over `channels`, followed by `then`.
    pub fn batch_norm(
        &mut self,
        name: impl Into<String>,
        channels: usize,
        then: Activation,
        dtype: DType,
    ) -> Result<()> {
        let zeros = || Tensor::zeros(channels, dtype, &Device::Cpu);
        let ones = || Tensor::ones(channels, dtype, &Device::Cpu);
        let norm = BatchNorm {
            weight: ones()?,
            bias: zeros()?,
            running_mean: zeros()?,
            running_var: ones()?,
            batches_tracked: AtomicI64::new(0),
        };
        self.layers.push(Layer { name: name.into(), op: Op::BatchNorm { norm, then } });
        Ok(())
    }

    /// Appends an activation.
    pub fn activation(&mut self, f: Activation) {
        self.layers.push(Layer { name: String::new(), op: Op::Activation(f) });
    }

    /// The published code's `weights_init`: convolutions N(0, 0.02²), batch-norm scales
    /// N(1, 0.02²), shifts 0. Running statistics are left as they are.
    pub fn initialise(&self, rng: &mut ChaCha8Rng) -> Result<()> {
        for layer in &self.layers {
            match &layer.op {
                Op::Conv { weight, .. } => {
                    overwrite(weight, &normal(rng, (0.0, 0.02), weight.dims(), weight.dtype())?)?;
                }
                Op::BatchNorm { norm, .. } => {
                    let w = &norm.weight;
                    overwrite(w, &normal(rng, (1.0, 0.02), w.dims(), w.dtype())?)?;
                    overwrite(&norm.bias, &norm.bias.zeros_like()?)?;
                }
                Op::Activation(_) => {}
            }
        }
        Ok(())
    }

    /// The forward pass of training: batch normalisation with the batch's own statistics.
    pub fn forward(&self, x: &Tensor) -> Result<(Tensor, Tape)> {
        let mut x = x.clone();
        let mut tape = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let y;
            tape.push(match &layer.op {
                Op::Conv { conv, transposed, weight } => {
                    y = convolve(*conv, *transposed, &x, weight, None)?;
                    Saved::Conv { x }
                }
                Op::BatchNorm { norm, then } => {
                    let stats = BatchStats::of(&x)?;
                    y = norm.forward(&x, &stats, *then)?;
                    Saved::BatchNorm { x, stats }
                }
                Op::Activation(f) => {
                    y = f.forward(&x)?;
                    Saved::Activation { y: y.clone() }
                }
            });
            x = y;
        }
        Ok((x, Tape(tape)))
    }

    /// Moves the running statistics towards those of a training pass.
    pub fn track(&self, tape: &Tape) -> Result<()> {
        for (layer, saved) in self.layers.iter().zip(&tape.0) {
            if let (Op::BatchNorm { norm, .. }, Saved::BatchNorm { stats, .. }) = (&layer.op, saved)
            {
                stats.update_running(&norm.running_mean, &norm.running_var, MOMENTUM)?;
                norm.batches_tracked.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// The requested gradients, from the gradient `dy` of the output.
    pub fn backward(&self, tape: &Tape, dy: &Tensor, wanted: Wanted) -> Result<Gradients> {
        let parameters = wanted != Wanted::Input;
        let mut reversed = Vec::new(); // parameters' gradients, last layer first
        let mut dy = dy.clone();
        for (index, (layer, saved)) in self.layers.iter().zip(&tape.0).enumerate().rev() {
            // The first layer's input gradient is needed only if the caller wants it.
            let input = index > 0 || wanted != Wanted::Parameters;
            dy = match (&layer.op, saved) {
                (Op::Conv { conv, transposed, weight }, Saved::Conv { x }) => {
                    if parameters {
                        let (x, dy) = if *transposed { (&dy, x) } else { (x, &dy) };
                        reversed.push(conv.backward_weight(x, dy)?);
                    }
                    if !input {
                        break;
                    }
                    if *transposed {
                        conv.forward(&dy, weight)?
                    } else {
                        conv.backward_input(&dy, weight, (x.dim(1)?, x.dim(2)?))?
                    }
                }
                (Op::BatchNorm { norm, then }, Saved::BatchNorm { x, stats }) => {
                    let (weight, bias) = (numbers(&norm.weight)?, numbers(&norm.bias)?);
                    let g = batch_norm::backward(x, stats, (&weight, &bias), *then, &dy)?;
                    if parameters {
                        reversed.extend([g.bias, g.weight]);
                    }
                    g.input
                }
                (Op::Activation(f), Saved::Activation { y }) => f.backward(y, &dy)?,
                _ => return Err(Error::Weights("a tape of another network was given".into())),
            };
        }
        reversed.reverse();
        let input = (wanted != Wanted::Parameters).then_some(dy);
        Ok(Gradients { input, parameters: reversed })
    }

    /// The learnt tensors in the kernels' layout, first layer first; they share storage with the
    /// layers.
    pub fn parameters(&self) -> Vec<Tensor> {
        self.named_parameters().into_iter().map(|(_, t)| t).collect()
    }

    /// Each parameter's name, in the order of [`Self::parameters`].
    pub fn parameter_names(&self) -> Vec<String> {
        self.named_parameters().into_iter().map(|(name, _)| name).collect()
    }

    fn named_parameters(&self) -> NamedTensors {
        let mut all = Vec::new();
        for Layer { name, op } in &self.layers {
            match op {
                Op::Conv { weight, .. } => all.push((format!("{name}.weight"), weight.clone())),
                Op::BatchNorm { norm, .. } => all.extend([
                    (format!("{name}.weight"), norm.weight.clone()),
                    (format!("{name}.bias"), norm.bias.clone()),
                ]),
                Op::Activation(_) => {}
            }
        }
        all
    }

    /// Parameters, running statistics and counters with PyTorch's names and shapes;
    /// `num_batches_tracked` is an i64 scalar.
    pub fn state(&self) -> Result<NamedTensors> {
        let mut all = Vec::new();
        for Layer { name, op } in &self.layers {
            match op {
                Op::Conv { weight, .. } => {
                    all.push((format!("{name}.weight"), layout::oikk_from_kernel(weight)?));
                }
                Op::BatchNorm { norm, .. } => {
                    let tracked = norm.batches_tracked.load(Ordering::Relaxed);
                    all.extend([
                        // Copies: training changes the layer's own tensors in place.
                        (format!("{name}.weight"), norm.weight.copy()?),
                        (format!("{name}.bias"), norm.bias.copy()?),
                        (format!("{name}.running_mean"), norm.running_mean.copy()?),
                        (format!("{name}.running_var"), norm.running_var.copy()?),
                        (
                            format!("{name}.num_batches_tracked"),
                            Tensor::new(tracked, &Device::Cpu)?,
                        ),
                    ]);
                }
                Op::Activation(_) => {}
            }
        }
        Ok(all)
    }

    /// Removes every tensor of this chain from `state`; the rest belongs to other chains.
    pub fn load_state(&self, state: &mut HashMap<String, Tensor>) -> Result<()> {
        for Layer { name, op } in &self.layers {
            let mut load = |suffix: &str, target: &Tensor, shape: &[usize]| -> Result<()> {
                let given = take(state, &format!("{name}.{suffix}"), shape)?;
                let given =
                    if shape.len() == 4 { layout::kernel_from_oikk(&given)? } else { given };
                overwrite(target, &given.to_dtype(target.dtype())?)
            };
            match op {
                Op::Conv { weight, .. } => {
                    let (k, _, i, o) = weight.dims4()?;
                    load("weight", weight, &[o, i, k, k])?;
                }
                Op::BatchNorm { norm, .. } => {
                    let shape = norm.weight.dims();
                    load("weight", &norm.weight, shape)?;
                    load("bias", &norm.bias, shape)?;
                    load("running_mean", &norm.running_mean, shape)?;
                    load("running_var", &norm.running_var, shape)?;
                    let tracked = take(state, &format!("{name}.num_batches_tracked"), &[])?;
                    let tracked = tracked.to_dtype(DType::I64)?.to_scalar()?;
                    norm.batches_tracked.store(tracked, Ordering::Relaxed);
                }
                Op::Activation(_) => {}
            }
        }
        Ok(())
    }
}

fn convolve(
    conv: Conv2d,
    transposed: bool,
    x: &Tensor,
    weight: &Tensor,
    fold: Option<&Fold<'_>>,
) -> Result<Tensor> {
    if !transposed {
        return Ok(conv.forward_folded(x, weight, fold)?);
    }
    let size = (conv.transposed_size(x.dim(1)?)?, conv.transposed_size(x.dim(2)?)?);
    Ok(conv.backward_input_folded(x, weight, size, fold)?)
}

fn take(state: &mut HashMap<String, Tensor>, name: &str, shape: &[usize]) -> Result<Tensor> {
    let tensor = state
        .remove(name)
        .ok_or_else(|| Error::Weights(format!("the weights have no tensor named {name:?}")))?;
    if tensor.dims() != shape {
        return Err(Error::Weights(format!(
            "the tensor {name:?} has shape {:?}, but this network needs {shape:?}",
            tensor.dims()
        )));
    }
    Ok(tensor)
}

/// Replaces a tensor's values in place, so that everything that shares its storage sees the change.
fn overwrite(target: &Tensor, source: &Tensor) -> Result<()> {
    Ok(target.slice_set(&source.contiguous()?, 0, 0)?)
}

fn numbers(t: &Tensor) -> Result<Vec<f64>> {
    Ok(t.to_dtype(DType::F64)?.to_vec1()?)
}
