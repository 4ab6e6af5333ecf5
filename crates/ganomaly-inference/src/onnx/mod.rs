//! A model as an ONNX file: images in, verdicts out, without this program.

mod messages;

use self::messages::{Axis, Kind, graph, value};
use crate::heat_map::{MAP_MAX, gaussian};
use crate::model_file::ModelFile;
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use ganomaly_data::{Resize, Transform};
use ganomaly_experiment::protobuf::Message;
use ganomaly_model::Detector;
use ganomaly_model::graph::{Attribute, Graph, Scoring, Value};

/// The operator sets that a model can be written for.
pub const OPSETS: std::ops::RangeInclusive<i64> = 13..=17;
/// The version of the format: that of ONNX 1.10, which operator set 15 came with.
const FORMAT: i64 = 8;

/// How a model is exported.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    /// Height and width of the images that it takes; they are resized inside.
    pub size: [usize; 2],
    /// The operator set, one of [`OPSETS`].
    pub opset: i64,
}

impl Export {
    /// The file's bytes. Fails if the detector's scoring cannot be written as a graph.
    ///
    /// Input: `images`, u8 `[N, H, W, C]`. Outputs: each score by its name, `[N]`; `reconstruction`,
    /// in [0, 1], and `error_map`, `[N, S, S, C]` and `[N, S, S]` for the network's side S. If the
    /// model is calibrated, also `verdict`, `[N]`, true for a score above `threshold`, an input with
    /// the calibration's as its default.
    pub fn write(
        &self,
        model: &ModelFile,
        names: &[&str],
        detector: &dyn Detector,
    ) -> Result<Vec<u8>> {
        ensure!(
            OPSETS.contains(&self.opset),
            "opset {}: use {} to {}",
            self.opset,
            OPSETS.start(),
            OPSETS.end()
        );
        let (transform, side, channels) = (model.transform()?, model.isize, model.channels);
        let mut graph_of = Graph::default();
        let g = &mut graph_of;
        let x = self.prepared(g, &transform)?;
        let Scoring { mut scores, reconstruction } = detector.graph(g, &x)?;
        let map = error_map(g, &x, &reconstruction, &transform, model.sees())?;
        scores.push((MAP_MAX.into(), g.max(&map, &[1, 2])));
        let shown = denormalised(g, &reconstruction, &transform)?;
        let named = |g: &mut Graph, value: &Value, name: &str| {
            g.nodes.push(ganomaly_model::graph::Node {
                op: "Identity",
                inputs: vec![value.clone()],
                outputs: vec![Value(name.into())],
                attributes: Vec::new(),
            });
        };
        let any = Axis::Any;
        let mut outputs = Vec::new();
        for (name, score) in &scores {
            named(g, score, name);
            outputs.push(value(name, Kind::Float, &[any]));
        }
        let square = [any, Axis::Of(side), Axis::Of(side)];
        for (of, name, shape) in [
            (&shown, "reconstruction", [&square[..], &[Axis::Of(channels)]].concat()),
            (&map, "error_map", square.to_vec()),
        ] {
            named(g, of, name);
            outputs.push(value(name, Kind::Float, &shape));
        }
        let [h, w] = self.size;
        let shape = [any, Axis::Of(h), Axis::Of(w), Axis::Of(channels)];
        let mut inputs = vec![value("images", Kind::Uint8, &shape)];
        let mut properties = vec![("model".to_string(), model.to_toml()?)];
        if let Some(calibrated) = &model.calibration {
            let threshold = Value("threshold".into());
            let counts = scores.iter().find(|(name, _)| *name == calibrated.score);
            let (_, counts) = counts.with_context(|| format!("no score {}", calibrated.score))?;
            let above = g.op("Greater", &[counts, &threshold], Vec::new());
            named(g, &above, "verdict");
            outputs.push(value("verdict", Kind::Bool, &[any]));
            // A constant of the name of an input is its default.
            let default = Tensor::new(calibrated.threshold.value as f32, &Device::Cpu)?;
            g.constants.push((threshold, default));
            inputs.push(value("threshold", Kind::Float, &[]));
            properties.push(("score".into(), calibrated.score.clone()));
            properties.push(("threshold".into(), calibrated.threshold.value.to_string()));
            properties.push(("false_alarms".into(), calibrated.threshold.promised.to_string()));
        }
        properties.push(("scores".into(), names.join(",")));
        let opset = Message::default().text(1, "").int(2, self.opset);
        let mut message = Message::default()
            .int(1, FORMAT)
            .text(2, "ganomaly")
            .text(3, env!("CARGO_PKG_VERSION"))
            .message(7, &graph(&graph_of, &inputs, &outputs)?)
            .message(8, &opset);
        for (key, text) in &properties {
            message = message.message(14, &Message::default().text(1, key).text(2, text));
        }
        Ok(message.finish())
    }

    /// The images as the network takes them.
    fn prepared(&self, g: &mut Graph, transform: &Transform) -> Result<Value> {
        let images = Value("images".into());
        let numbers = g.op("Cast", &[&images], vec![("to", Attribute::Int(Kind::Float as i64))]);
        let order = vec![("perm", Attribute::Ints(vec![0, 3, 1, 2]))];
        let mut x = g.op("Transpose", &[&numbers], order);
        let side = transform.image_size;
        if self.size != [side; 2] {
            // Along each axis a product with a matrix, to whole grey levels, as resizing does.
            let [rows, columns] = resizing(self.size, side, transform.resize)?;
            let (columns, rows) = (g.constant(&columns.t()?)?, g.constant(&rows)?);
            let half = g.number(0.5)?;
            for down in [true, false] {
                let factors = if down { [&rows, &x] } else { [&x, &columns] };
                x = g.op("MatMul", &factors, Vec::new());
                x = g.op("Add", &[&x, &half], Vec::new());
                x = g.op("Floor", &[&x], Vec::new());
            }
        }
        let of = |numbers: Vec<f64>| Tensor::new(numbers, &Device::Cpu)?.reshape((1, (), 1, 1));
        let pairs = transform.normalization.mean.iter().zip(&transform.normalization.std);
        let pairs = pairs.map(|(mean, std)| (f64::from(*mean), f64::from(*std)));
        let (scale, shift) = pairs.map(|(m, s)| (1.0 / (255.0 * s), -m / s)).unzip();
        let (scale, shift) = (g.constant(&of(scale)?)?, g.constant(&of(shift)?)?);
        let scaled = g.op("Mul", &[&x, &scale], Vec::new());
        Ok(g.op("Add", &[&scaled, &shift], Vec::new()))
    }
}

/// `[N, C, S, S]` as `[N, S, S, C]`, in [0, 1].
fn denormalised(g: &mut Graph, x: &Value, transform: &Transform) -> Result<Value> {
    let of = |numbers: &[f32]| Tensor::new(numbers, &Device::Cpu)?.reshape((1, (), 1, 1));
    let (std, mean) = (of(&transform.normalization.std)?, of(&transform.normalization.mean)?);
    let (std, mean) = (g.constant(&std)?, g.constant(&mean)?);
    let scaled = g.op("Mul", &[x, &std], Vec::new());
    let shown = g.op("Add", &[&scaled, &mean], Vec::new());
    let (zero, one) = (g.number(0.0)?, g.number(1.0)?);
    let shown = g.op("Clip", &[&shown, &zero, &one], Vec::new());
    Ok(g.op("Transpose", &[&shown], vec![("perm", Attribute::Ints(vec![0, 2, 3, 1]))]))
}

/// [`crate::heat_map::HeatMap::of`], `[N, S, S]`.
fn error_map(
    g: &mut Graph,
    x: &Value,
    made: &Value,
    transform: &Transform,
    sees: usize,
) -> Result<Value> {
    let difference = g.op("Sub", &[x, made], Vec::new());
    let error = g.op("Abs", &[&difference], Vec::new());
    let std = Tensor::new(transform.normalization.std.as_slice(), &Device::Cpu)?;
    let std = g.constant(&std.reshape((1, (), 1, 1))?)?;
    let error = g.op("Mul", &[&error, &std], Vec::new());
    let mean = vec![("axes", Attribute::Ints(vec![1])), ("keepdims", Attribute::Int(1))];
    let mut map = g.op("ReduceMean", &[&error], mean);
    let weights = gaussian(sees);
    let (length, reach) = (weights.len(), (weights.len() / 2) as i64);
    let weights = Tensor::new(weights, &Device::Cpu)?;
    for (shape, pads) in [
        ((1, 1, length, 1), [0, 0, reach, 0, 0, 0, reach, 0]),
        ((1, 1, 1, length), [0, 0, 0, reach, 0, 0, 0, reach]),
    ] {
        let pads = g.ints(&pads)?;
        map = g.op("Pad", &[&map, &pads], vec![("mode", Attribute::Text("edge"))]);
        let weights = g.constant(&weights.reshape(shape)?)?;
        map = g.op(
            "Conv",
            &[&map, &weights],
            vec![
                ("strides", Attribute::Ints(vec![1; 2])),
                ("pads", Attribute::Ints(vec![0; 4])),
                ("dilations", Attribute::Ints(vec![1; 2])),
            ],
        );
    }
    let side = transform.image_size as i64;
    Ok(g.reshape(&map, &[-1, side, side])?)
}

/// The matrices `[S, H]` and `[S, W]` by which [`ganomaly_data::resize`] multiplies columns and rows.
fn resizing([h, w]: [usize; 2], side: usize, mode: Resize) -> Result<[Tensor; 2]> {
    let (short, long) = (h.min(w) as f64, h.max(w));
    let along = |length: usize| -> Result<Tensor> {
        let size = length as f64;
        // The part that is used, and where the result begins and ends.
        let (from, part) = match mode {
            Resize::Crop => ((size - short) / 2.0, short),
            Resize::Stretch | Resize::Pad => (0.0, size),
        };
        let to = match mode {
            Resize::Pad => ((length * side) as f64 / long as f64).round().max(1.0) as usize,
            Resize::Crop | Resize::Stretch => side,
        };
        let mut matrix = vec![0.0; side * length];
        let scale = part / to as f64;
        let reach = scale.max(1.0);
        for row in 0..to {
            let centre = from + (row as f64 + 0.5) * scale;
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(length);
            let weight = |at: usize| (1.0 - ((at as f64 + 0.5 - centre) / reach).abs()).max(0.0);
            let sum: f64 = (first..end).map(weight).sum();
            for at in first..end {
                matrix[(row + (side - to) / 2) * length + at] = weight(at) / sum;
            }
        }
        Ok(Tensor::from_vec(matrix, (side, length), &Device::Cpu)?)
    };
    Ok([along(h)?, along(w)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;

    /// The matrices give what resizing gives, to a grey level.
    #[test]
    fn matrices_resize_as_images_are_resized() {
        let sizes =
            [([40, 40], 16), ([30, 50], 16), ([50, 30], 32), ([11, 23], 16), ([16, 16], 16)];
        for mode in [Resize::Crop, Resize::Stretch, Resize::Pad] {
            for ([h, w], side) in sizes {
                let image: Vec<u8> =
                    (0..h * w).map(|i| ((i * 7919 + i / w * 31) % 251) as u8).collect();
                let expected = ganomaly_data::resize(&image, [1, h, w], side, mode).unwrap();
                let x = Tensor::from_slice(&image, (h, w), &Device::Cpu).unwrap();
                let x = x.to_dtype(DType::F64).unwrap();
                let [rows, columns] = resizing([h, w], side, mode).unwrap();
                let whole = |x: Tensor| (x + 0.5).unwrap().floor().unwrap();
                let x = whole(rows.matmul(&x).unwrap());
                let found = whole(x.matmul(&columns.t().unwrap()).unwrap());
                let found = found.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                let off = found.iter().zip(&*expected).map(|(a, &b)| (a - f64::from(b)).abs());
                assert!(off.clone().all(|off| off <= 1.0), "{mode} {h}×{w} to {side}");
                // The other's weights are rounded.
                let others = off.filter(|&off| off > 0.0).count();
                assert!(others <= expected.len() / 50, "{mode} {h}×{w} to {side}: {others}");
            }
        }
    }
}
