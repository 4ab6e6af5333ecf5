//! A detector's scoring as a graph of ONNX operations, so that other programs can do it.
//!
//! Operations and attributes are those of ONNX's operator set 13, which later sets still have up to
//! 17. Batch normalisation is by running statistics, and folded into the convolution before it.

use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use ganomaly_kernels::Activation;

/// A value: the output of a node, a constant, or the graph's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value(pub String);

/// An attribute of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A whole number.
    Int(i64),
    /// Several.
    Ints(Vec<i64>),
    /// A number.
    Float(f32),
    /// A word.
    Text(&'static str),
}

/// An operation.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name in ONNX.
    pub op: &'static str,
    /// What it takes, in ONNX's order.
    pub inputs: Vec<Value>,
    /// What it gives.
    pub outputs: Vec<Value>,
    /// Its attributes.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// Nodes, each after those whose values it takes, and constants.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Constants, of type f32 or i64.
    pub constants: Vec<(Value, Tensor)>,
    values: usize,
}

/// What scoring gives.
#[derive(Clone, Debug)]
pub struct Scoring {
    /// Each score by its name, `[N]`.
    pub scores: Vec<(String, Value)>,
    /// The reconstructions, `[N, C, S, S]`.
    pub reconstruction: Value,
}

/// A chain of layers as a graph.
pub trait Traced {
    /// Adds its layers; `x` is `[N, C, H, W]`, and so is the result.
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value>;
}

/// A convolution before its batch normalisation is known.
pub(crate) struct Convolution {
    /// `[O, I, K, K]`; transposed, `[I, O, K, K]`.
    pub weight: Tensor,
    /// `[O]`.
    pub bias: Option<Tensor>,
    pub transposed: bool,
    pub stride: usize,
    /// Before and after, along both axes.
    pub padding: [usize; 2],
    /// Beyond the gradient's size, of a transposed one.
    pub output_padding: usize,
}

impl Convolution {
    /// The same with each output channel multiplied and shifted.
    pub fn folded(self, scale: &[f64], shift: &[f64]) -> Result<Self> {
        let outputs = scale.len();
        let shape = if self.transposed { [1, outputs, 1, 1] } else { [outputs, 1, 1, 1] };
        let of = |numbers: &[f64]| Tensor::new(numbers, &Device::Cpu);
        let weight = self.weight.to_dtype(DType::F64)?.detach();
        let weight = weight.broadcast_mul(&of(scale)?.reshape(&shape)?)?;
        let bias = match &self.bias {
            Some(bias) => ((bias.detach().to_dtype(DType::F64)? * of(scale)?)? + of(shift)?)?,
            None => of(shift)?,
        };
        Ok(Self { weight, bias: Some(bias), ..self })
    }
}

impl Graph {
    fn value(&mut self) -> Value {
        self.values += 1;
        Value(format!("v{}", self.values))
    }

    /// Adds a constant: i64 stays, anything else becomes f32.
    pub fn constant(&mut self, tensor: &Tensor) -> Result<Value> {
        let dtype = if tensor.dtype() == DType::I64 { DType::I64 } else { DType::F32 };
        let tensor = tensor.detach().to_dtype(dtype)?.contiguous()?;
        let value = self.value();
        self.constants.push((value.clone(), tensor));
        Ok(value)
    }

    /// Adds a list of whole numbers.
    pub fn ints(&mut self, numbers: &[i64]) -> Result<Value> {
        self.constant(&Tensor::new(numbers, &Device::Cpu)?)
    }

    /// Adds a number.
    pub fn number(&mut self, number: f64) -> Result<Value> {
        self.constant(&Tensor::new(number, &Device::Cpu)?)
    }

    /// Adds an operation with one output.
    pub fn op(
        &mut self,
        op: &'static str,
        inputs: &[&Value],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Value {
        let output = self.value();
        let inputs = inputs.iter().map(|value| (*value).clone()).collect();
        self.nodes.push(Node { op, inputs, outputs: vec![output.clone()], attributes });
        output
    }

    /// Adds an operation of which the outputs are parts of its input along the first axis, of equal
    /// size.
    pub fn parts(&mut self, x: &Value, count: usize) -> Vec<Value> {
        let outputs: Vec<Value> = (0..count).map(|_| self.value()).collect();
        let attributes = vec![("axis", Attribute::Int(0))];
        self.nodes.push(Node {
            op: "Split",
            inputs: vec![x.clone()],
            outputs: outputs.clone(),
            attributes,
        });
        outputs
    }

    /// Joins values along an axis.
    pub fn concat(&mut self, values: &[&Value], axis: i64) -> Value {
        self.op("Concat", values, vec![("axis", Attribute::Int(axis))])
    }

    /// The numbers of an axis from `start` to before `end`.
    pub fn slice(&mut self, x: &Value, axis: usize, start: usize, end: usize) -> Result<Value> {
        let bounds = [start, end, axis].map(|at| self.ints(&[at as i64]));
        let [start, end, axis] = bounds;
        Ok(self.op("Slice", &[x, &start?, &end?, &axis?], Vec::new()))
    }

    /// Another shape: 0 keeps an axis, −1 is what is left.
    pub fn reshape(&mut self, x: &Value, shape: &[i64]) -> Result<Value> {
        let shape = self.ints(shape)?;
        Ok(self.op("Reshape", &[x, &shape], Vec::new()))
    }

    /// The mean over axes, which go away.
    pub fn mean(&mut self, x: &Value, axes: &[i64]) -> Value {
        self.reduce("ReduceMean", x, axes)
    }

    /// The maximum over axes, which go away.
    pub fn max(&mut self, x: &Value, axes: &[i64]) -> Value {
        self.reduce("ReduceMax", x, axes)
    }

    fn reduce(&mut self, op: &'static str, x: &Value, axes: &[i64]) -> Value {
        let attributes =
            vec![("axes", Attribute::Ints(axes.to_vec())), ("keepdims", Attribute::Int(0))];
        self.op(op, &[x], attributes)
    }

    /// Each image's mean of (a − b)², or of |a − b|: `[N]` from `[N, C, H, W]`.
    pub fn error(&mut self, a: &Value, b: &Value, squared: bool) -> Value {
        let difference = self.op("Sub", &[a, b], Vec::new());
        let error = match squared {
            true => self.op("Mul", &[&difference, &difference], Vec::new()),
            false => self.op("Abs", &[&difference], Vec::new()),
        };
        self.mean(&error, &[1, 2, 3])
    }

    /// The sum of values, each with its weight.
    pub fn weighted(&mut self, terms: &[(&Value, f64)]) -> Result<Value> {
        let mut sum: Option<Value> = None;
        for (value, weight) in terms {
            let weight = self.number(*weight)?;
            let term = self.op("Mul", &[value, &weight], Vec::new());
            sum = Some(match sum {
                None => term,
                Some(sum) => self.op("Add", &[&sum, &term], Vec::new()),
            });
        }
        sum.ok_or_else(|| Error::Weights("a sum of nothing".into()))
    }

    /// An activation.
    pub fn activate(&mut self, x: Value, f: Activation) -> Value {
        match f {
            Activation::Identity => x,
            Activation::Tanh => self.op("Tanh", &[&x], Vec::new()),
            Activation::LeakyRelu(0.0) => self.op("Relu", &[&x], Vec::new()),
            Activation::LeakyRelu(slope) => {
                self.op("LeakyRelu", &[&x], vec![("alpha", Attribute::Float(slope as f32))])
            }
        }
    }

    /// A multiplication and a shift of each channel.
    pub(crate) fn affine(&mut self, x: &Value, scale: &[f64], shift: &[f64]) -> Result<Value> {
        let of = |numbers: &[f64]| Tensor::new(numbers, &Device::Cpu)?.reshape((1, (), 1, 1));
        let (scale, shift) = (self.constant(&of(scale)?)?, self.constant(&of(shift)?)?);
        let scaled = self.op("Mul", &[x, &scale], Vec::new());
        Ok(self.op("Add", &[&scaled, &shift], Vec::new()))
    }

    /// A convolution.
    pub(crate) fn convolution(&mut self, x: &Value, conv: &Convolution) -> Result<Value> {
        let Convolution { transposed, stride, padding, output_padding, .. } = *conv;
        let weight = self.constant(&conv.weight)?;
        let bias = conv.bias.as_ref().map(|bias| self.constant(bias)).transpose()?;
        let [before, after] = padding.map(|p| p as i64);
        let mut attributes = vec![
            ("strides", Attribute::Ints(vec![stride as i64; 2])),
            ("pads", Attribute::Ints(vec![before, before, after, after])),
            // The default; not every runtime knows that.
            ("dilations", Attribute::Ints(vec![1; 2])),
        ];
        if output_padding > 0 {
            attributes.push(("output_padding", Attribute::Ints(vec![output_padding as i64; 2])));
        }
        let inputs: Vec<&Value> = [x, &weight].into_iter().chain(&bias).collect();
        Ok(self.op(if transposed { "ConvTranspose" } else { "Conv" }, &inputs, attributes))
    }
}
