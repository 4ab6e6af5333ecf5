//! The few messages of ONNX's format (onnx.proto3) that a model takes.

use candle_core::{DType, Tensor};
use ganomaly_experiment::protobuf::Message;
use ganomaly_model::graph::{Attribute, Graph, Node};

/// Types of numbers, by ONNX's numbers for them.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Float = 1,
    Uint8 = 2,
    Int64 = 7,
    Bool = 9,
}

/// An axis of an input or output.
#[derive(Clone, Copy)]
pub(super) enum Axis {
    /// Any number of images.
    Any,
    /// This size.
    Of(usize),
}

/// An input or output of the graph.
pub(super) fn value(name: &str, kind: Kind, shape: &[Axis]) -> Message {
    let shape = Message::default().each(shape, |shape, axis| {
        let axis = match axis {
            Axis::Any => Message::default().text(2, "N"),
            Axis::Of(size) => Message::default().int(1, *size as i64),
        };
        shape.message(1, &axis)
    });
    let tensor = Message::default().int(1, kind as i64).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

/// A constant by its name, of type f32 or i64.
fn constant(name: &str, tensor: &Tensor) -> candle_core::Result<Message> {
    let flat = tensor.flatten_all()?;
    let (kind, bytes): (_, Vec<u8>) = match tensor.dtype() {
        DType::I64 => {
            (Kind::Int64, flat.to_vec1::<i64>()?.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
        _ => (Kind::Float, flat.to_vec1::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect()),
    };
    let dims = Message::default().each(tensor.dims(), |dims, size| dims.int(1, *size as i64));
    Ok(dims.int(2, kind as i64).text(8, name).bytes(9, &bytes))
}

fn attribute(name: &str, attribute: &Attribute) -> Message {
    let message = Message::default().text(1, name);
    match attribute {
        Attribute::Float(value) => message.float(2, *value).int(20, 1),
        Attribute::Int(value) => message.int(3, *value).int(20, 2),
        Attribute::Text(text) => message.text(4, text).int(20, 3),
        Attribute::Ints(values) => {
            message.each(values, |message, value| message.int(8, *value)).int(20, 7)
        }
    }
}

fn node(number: usize, Node { op, inputs, outputs, attributes }: &Node) -> Message {
    Message::default()
        .each(inputs, |message, value| message.text(1, &value.0))
        .each(outputs, |message, value| message.text(2, &value.0))
        .text(3, &format!("{op}_{number}"))
        .text(4, op)
        .each(attributes, |message, (name, of)| message.message(5, &attribute(name, of)))
}

/// A graph with its inputs and outputs.
pub(super) fn graph(
    graph: &Graph,
    inputs: &[Message],
    outputs: &[Message],
) -> candle_core::Result<Message> {
    let mut message = Message::default();
    for (number, of) in graph.nodes.iter().enumerate() {
        message = message.message(1, &node(number, of));
    }
    message = message.text(2, "ganomaly");
    for (value, tensor) in &graph.constants {
        message = message.message(5, &constant(&value.0, tensor)?);
    }
    Ok(message
        .each(inputs, |message, input| message.message(11, input))
        .each(outputs, |message, output| message.message(12, output)))
}
