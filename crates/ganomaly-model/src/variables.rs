//! For detectors that are written with candle-nn: a [`Network`] is what is special about one, and
//! [`VarDetector`] makes it a [`Detector`], with the variables of a [`VarMap`] and their optimisers
//! as its state.

use crate::detector::not_a_graph;
use crate::graph::{Graph, Scoring, Value};
use crate::random::{normal, stream};
use crate::{BatchNormMode, Detector, Error, Input, NamedTensors, Result, Scores};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Optimizer, VarBuilder, VarMap};
use ganomaly_kernels::AdamConfig;
use ganomaly_kernels::autograd::VarAdam;
use rand_chacha::ChaCha8Rng;
use std::sync::PoisonError;

/// Standard deviation of fresh weights, as in the published GANs (DCGAN's initial values).
const STD: f64 = 0.02;
/// The end of the name of a batch norm's counter of batches, as PyTorch has it.
pub(crate) const COUNTER: &str = "num_batches_tracked";

/// A network over [`Variables`]. Batches are `[N, C, S, S]`, of the network's type and input.
pub trait Network: Send {
    /// Takes a training step; returns its losses by name.
    fn train_step(
        &mut self,
        x: &Tensor,
        variables: &mut Variables,
    ) -> Result<Vec<(&'static str, f64)>>;

    /// As [`Detector::score`].
    fn score(&self, x: &Tensor, mode: BatchNormMode) -> Result<Scores>;

    /// As [`Detector::code`].
    fn code(&self, x: &Tensor) -> Result<Tensor>;

    /// As [`Detector::reconstruct`], in any layout.
    fn reconstruct(&self, x: &Tensor, mode: BatchNormMode) -> Result<Tensor>;

    /// As [`Detector::graph`].
    fn graph(&self, _graph: &mut Graph, _x: &Value) -> Result<Scoring> {
        Err(not_a_graph())
    }
}

/// A network with its variables, as a detector.
#[derive(Debug)]
pub struct VarDetector<N> {
    /// The network.
    pub network: N,
    /// Its variables and optimisers.
    pub variables: Variables,
    /// The images that it takes.
    pub input: Input,
}

impl<N: Network> VarDetector<N> {
    /// Builds a network from a `VarBuilder` of that type, and draws its weights from the seed; each
    /// optimiser has the variables with its prefix, as in [`Variables::new`].
    pub fn new(
        input: Input,
        seed: u64,
        dtype: DType,
        optimisers: &[(&str, AdamConfig)],
        network: impl FnOnce(&VarBuilder<'_>) -> Result<N>,
    ) -> Result<Self> {
        let vars = VarMap::new();
        let network = network(&VarBuilder::from_varmap(&vars, dtype, &Device::Cpu))?;
        Ok(Self { network, variables: Variables::new(&vars, seed, optimisers)?, input })
    }

    /// Checks a batch's shape and converts it to the network's type.
    pub fn batch(&self, x: &Tensor) -> Result<Tensor> {
        let Input { channels, side: size } = self.input;
        match *x.dims() {
            [n, c, h, w] if n > 0 && c == channels && h == size && w == size => {
                Ok(x.to_dtype(self.variables.dtype())?)
            }
            _ => Err(Error::BatchShape { got: x.dims().to_vec(), channels, size }),
        }
    }
}

impl<N: Network> Detector for VarDetector<N> {
    fn train_step(&mut self, x: &Tensor) -> Result<Vec<(&'static str, f64)>> {
        let x = self.batch(x)?;
        self.network.train_step(&x, &mut self.variables)
    }

    fn score(&self, x: &Tensor, mode: BatchNormMode) -> Result<Scores> {
        self.network.score(&self.batch(x)?, mode)
    }

    fn code(&self, x: &Tensor) -> Result<Tensor> {
        self.network.code(&self.batch(x)?)
    }

    fn reconstruct(&self, x: &Tensor, mode: BatchNormMode) -> Result<Tensor> {
        Ok(self.network.reconstruct(&self.batch(x)?, mode)?.contiguous()?)
    }

    fn graph(&self, graph: &mut Graph, x: &Value) -> Result<Scoring> {
        self.network.graph(graph, x)
    }

    fn state(&self) -> Result<NamedTensors> {
        self.variables.state()
    }

    fn load_state(&mut self, state: &NamedTensors) -> Result<()> {
        self.variables.load_state(state)
    }

    fn training_state(&self) -> Result<NamedTensors> {
        self.variables.training_state()
    }

    fn load_training_state(&mut self, state: &NamedTensors) -> Result<()> {
        self.variables.load_training_state(state)
    }

    fn set_learning_rate(&mut self, lr: f64) {
        self.variables.set_learning_rate(lr);
    }
}

/// A network's variables by name, and optimisers for parts of them.
#[derive(Debug)]
pub struct Variables {
    seed: u64,
    all: Vec<(String, Var)>,
    optimisers: Vec<(Vec<String>, VarAdam)>,
}

impl Variables {
    /// Takes the variables that a network was built from, and draws fresh weights from the seed:
    /// those of convolutions and linear layers from N(0, 0.02²), those of batch norms (one axis)
    /// from N(1, 0.02²). Biases become 0 (candle-nn draws them from a generator that cannot be
    /// seeded); running statistics stay. Each optimiser has the variables whose names begin with its
    /// prefix.
    pub fn new(map: &VarMap, seed: u64, optimisers: &[(&str, AdamConfig)]) -> Result<Self> {
        let vars = map.data().lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<(String, Var)> =
            vars.iter().map(|(name, var)| (name.clone(), var.clone())).collect();
        // A map's own order is another one every time.
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let mut rng = stream(seed, b"weights ");
        let optimiser = |(prefix, config): &(&str, AdamConfig)| {
            let own =
                all.iter().filter(|(name, var)| name.starts_with(prefix) && var.dtype().is_float());
            let (names, vars) = own.cloned().unzip();
            Ok((names, VarAdam::new(vars, *config)?))
        };
        let optimisers = optimisers.iter().map(optimiser).collect::<Result<_>>()?;
        drop(vars);
        let new = Self { seed, all, optimisers };
        new.draw("", &mut rng)?;
        Ok(new)
    }

    /// Draws fresh weights and biases for the variables whose names begin with the prefix.
    fn draw(&self, prefix: &str, rng: &mut ChaCha8Rng) -> Result<()> {
        for (name, var) in self.all.iter().filter(|(name, _)| name.starts_with(prefix)) {
            let fresh = if name.ends_with("weight") {
                let mean = if var.rank() == 1 { 1.0 } else { 0.0 };
                normal(rng, (mean, STD), var.dims(), var.dtype())?
            } else if name.ends_with("bias") {
                var.zeros_like()?
            } else {
                continue;
            };
            var.set(&fresh)?;
        }
        Ok(())
    }

    /// Draws the weights and biases below a prefix again. Running statistics and optimisers stay.
    pub fn reinitialise(&self, prefix: &str) -> Result<()> {
        let mut rng = stream(self.seed, b"reinit  ");
        // A stream for each step, so that there is no position to resume from.
        rng.set_stream(self.steps(0));
        self.draw(prefix, &mut rng)
    }

    /// Steps that an optimiser has taken.
    pub fn steps(&self, optimiser: usize) -> u64 {
        self.optimisers[optimiser].1.adam().steps()
    }

    /// Every variable, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.all.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// The variable of that name.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        let var = self.all.iter().find(|(there, _)| there == name);
        let var = var.ok_or_else(|| Error::Weights(format!("there is no variable {name:?}")))?;
        Ok(var.1.as_tensor())
    }

    /// The type of the variables.
    pub fn dtype(&self) -> DType {
        let float = self.all.iter().map(|(_, var)| var.dtype()).find(|dtype| dtype.is_float());
        float.unwrap_or(DType::F32)
    }

    /// Adds to the batch counters (`num_batches_tracked`) below a prefix.
    pub fn count_batches(&self, prefix: &str, batches: i64) -> Result<()> {
        let below = self.all.iter().filter(|(name, _)| name.starts_with(prefix));
        for (_, var) in below.filter(|(name, _)| name.ends_with(COUNTER)) {
            var.set(&Tensor::new(var.to_scalar::<i64>()? + batches, &Device::Cpu)?)?;
        }
        Ok(())
    }

    /// Takes a step with one of the optimisers.
    pub fn step(&mut self, optimiser: usize, gradients: &GradStore) -> Result<()> {
        Ok(self.optimisers[optimiser].1.step(gradients)?)
    }

    /// The gradients that each optimiser would take, by name.
    pub fn named_gradients(&self, gradients: &[GradStore]) -> NamedTensors {
        let mut all = NamedTensors::new();
        for ((names, optimiser), gradients) in self.optimisers.iter().zip(gradients) {
            let own = names.iter().zip(optimiser.vars());
            all.extend(own.filter_map(|(n, var)| Some((n.clone(), gradients.get(var)?.clone()))));
        }
        all
    }

    /// Sets the learning rate of every optimiser.
    pub fn set_learning_rate(&mut self, lr: f64) {
        self.optimisers.iter_mut().for_each(|(_, optimiser)| optimiser.set_learning_rate(lr));
    }

    /// Copies of all variables, sorted by name.
    pub fn state(&self) -> Result<NamedTensors> {
        self.all.iter().map(|(name, var)| Ok((name.clone(), var.as_tensor().copy()?))).collect()
    }

    /// The moments of the optimisers, by name.
    fn moments(&self) -> NamedTensors {
        let mut all = NamedTensors::new();
        for (which, (names, optimiser)) in self.optimisers.iter().enumerate() {
            for (moment, tensors) in ["first", "second"].iter().zip(optimiser.adam().moments()) {
                let name = |name: &String| format!("adam{which}.{moment}.{name}");
                all.extend(names.iter().map(name).zip(tensors));
            }
        }
        all
    }

    /// [`Self::state`], the moments of the optimisers and their counts of steps.
    pub fn training_state(&self) -> Result<NamedTensors> {
        let mut all = self.state()?;
        for (name, moment) in self.moments() {
            all.push((name, moment.copy()?));
        }
        for (which, (_, optimiser)) in self.optimisers.iter().enumerate() {
            let steps = i64::try_from(optimiser.adam().steps()).unwrap_or(i64::MAX);
            all.push((format!("adam{which}.steps"), Tensor::new(steps, &Device::Cpu)?));
        }
        Ok(all)
    }

    /// Replaces all variables. If a name, type or shape is wrong, nothing is changed.
    pub fn load_state(&mut self, state: &NamedTensors) -> Result<()> {
        let targets = self.all.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        copy(state, targets.collect())
    }

    /// Restores what [`Self::training_state`] returned. If a name, type or shape is wrong, nothing
    /// is changed.
    pub fn load_training_state(&mut self, state: &NamedTensors) -> Result<()> {
        let (counts, tensors): (NamedTensors, NamedTensors) =
            state.iter().cloned().partition(|(name, _)| name.ends_with(".steps"));
        let mut steps = Vec::new();
        for which in 0..self.optimisers.len() {
            let name = format!("adam{which}.steps");
            let count = counts.iter().find(|(there, _)| *there == name);
            let count = count.and_then(|(_, count)| count.to_scalar::<i64>().ok());
            let count = count.and_then(|count| u64::try_from(count).ok());
            steps.push(count.ok_or_else(|| Error::Weights(format!("no number {name:?}")))?);
        }
        let targets = self.all.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        copy(&tensors, targets.chain(self.moments()).collect())?;
        for ((_, optimiser), steps) in self.optimisers.iter_mut().zip(steps) {
            optimiser.set_steps(steps);
        }
        Ok(())
    }
}

/// Copies each tensor into its target, once all of them are known to fit.
fn copy(from: &NamedTensors, targets: NamedTensors) -> Result<()> {
    let mut pairs = Vec::new();
    for (name, target) in &targets {
        let source = crate::weights::named(from, name)?;
        if source.dims() != target.dims() || source.dtype() != target.dtype() {
            return Err(Error::Weights(format!(
                "the tensor {name:?} is {:?} of shape {:?}, but this network needs {:?} of shape {:?}",
                source.dtype(),
                source.dims(),
                target.dtype(),
                target.dims()
            )));
        }
        pairs.push((target, source));
    }
    let known = |name: &String| targets.iter().any(|(there, _)| there == name);
    if let Some((name, _)) = from.iter().find(|(name, _)| !known(name)) {
        return Err(Error::Weights(format!("this network has no tensor {name:?}")));
    }
    for (target, source) in pairs {
        // Scalars have no axis to copy along.
        match target.rank() {
            0 => target.reshape(1)?.slice_set(&source.reshape(1)?, 0, 0)?,
            _ => target.slice_set(&source.contiguous()?, 0, 0)?,
        }
    }
    Ok(())
}
