//! Exported models score as ours: in rten, and, where `GANOMALY_PYTHON` names a Python that has it,
//! in onnxruntime, after onnx's own checker.

#[path = "../../../tests/skip.rs"]
mod skip;

use candle_core::{Device, Tensor};
use ganomaly_data::{Normalization, Resize, Transform};
use ganomaly_experiment::registry::Registry;
use ganomaly_inference::model_file::{Calibrated, ModelFile};
use ganomaly_inference::onnx::Export;
use ganomaly_inference::scorer::Scorer;
use ganomaly_metrics::Calibration;
use ganomaly_model::Input;
use ganomaly_model::tiles::Tiles;
use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};
use rten::{Model, ValueOrView};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Scores may differ by this part of themselves, and by a rounding of numbers of about 1.
const TOLERANCE: f64 = 1e-4;
const ROUNDING: f64 = 1e-9;
const IMAGES: usize = 3;
const LARGEST_IN_RTEN: usize = 64;

struct Case {
    detector: &'static str,
    settings: &'static str,
    input: Input,
    tiles: Option<Tiles>,
    /// Height and width of its images.
    size: [usize; 2],
    resize: Resize,
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (detector, settings) in [
        ("ganomaly", "nz = 6\nngf = 4"),
        ("skip-ganomaly", "nz = 6\nngf = 4\nndf = 4"),
        ("vae", "nz = 6\nngf = 4\ndraws = 3"),
        ("egbad", "nz = 6\nwidth = 0.05"),
    ] {
        for side in [32, 64, 128] {
            for channels in [1, 3] {
                let input = Input { channels, side };
                let case = Case {
                    detector,
                    settings,
                    input,
                    tiles: None,
                    size: [side; 2],
                    resize: Resize::Crop,
                };
                all.push(case);
            }
        }
    }
    let settings = "nz = 6\nngf = 4\nextralayers = 1";
    let input = Input { channels: 3, side: 32 };
    for resize in [Resize::Crop, Resize::Stretch, Resize::Pad] {
        let case =
            Case { detector: "ganomaly", settings, input, tiles: None, size: [50, 75], resize };
        all.push(case);
    }
    let (tiles, input) = (Some(Tiles { tile: 16, stride: 8 }), Input { channels: 3, side: 40 });
    all.push(Case {
        detector: "ganomaly",
        settings,
        input,
        tiles,
        size: [40; 2],
        resize: Resize::Crop,
    });
    all
}

/// Numbers that look random, in [0, 1).
fn noise(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| (((i + 31 * seed) * 7919 % 1009) as f32) / 1009.0).collect()
}

impl Case {
    fn name(&self) -> String {
        let tiled = if self.tiles.is_some() { "-tiles" } else { "" };
        let Input { channels, side } = self.input;
        let [h, w] = self.size;
        format!("{}{tiled}-{side}-{channels}-{h}x{w}-{}", self.detector, self.resize)
    }

    /// Writes a model that a few steps have moved away from its start, with a threshold.
    fn write(&self, path: &Path) {
        let registry = Registry::builtin();
        let kind = registry.find_detector(self.detector).unwrap();
        let settings = (kind.parse)(self.settings).unwrap();
        let Input { channels, side } = self.input;
        let mut detector = kind.detector(&settings, self.input, self.tiles, 1).unwrap();
        for step in 0..3 {
            let values = noise(4 * channels * side * side, step).into_iter().map(|v| 2.0 * v - 1.0);
            let x = Tensor::from_iter(values, &Device::Cpu).unwrap();
            detector.train_step(&x.reshape((4, channels, side, side)).unwrap()).unwrap();
        }
        let normalization = Normalization::uniform(channels, 0.5, 0.5);
        let transform = Transform { image_size: side, resize: self.resize, normalization };
        let name = self.name();
        let mut model = ModelFile::new(name, self.detector, self.input, transform, 1, settings);
        (model.tile, model.stride) = self.tiles.map(|t| (t.tile, t.stride)).unzip();
        let calibration = Calibration::new(&[0.1, 0.2, 0.3]).unwrap();
        model.calibration = Some(Calibrated {
            score: "map_max".into(),
            threshold: calibration.threshold(0.5).unwrap(),
            normal_scores: calibration.scores().to_vec(),
            highest_error: 0.3,
            tested: None,
        });
        model.write(path, &detector.state().unwrap()).unwrap();
    }

    /// The bytes `[H, W, C]` of an image.
    fn bytes(&self, image: usize) -> Vec<u8> {
        let [h, w] = self.size;
        let coarse = noise(h * w * self.input.channels, 17 * image + 1);
        coarse.into_iter().map(|v| (v * 255.0) as u8).collect()
    }

    fn write_image(&self, image: usize, path: &Path) {
        let ([h, w], channels) = (self.size, self.input.channels);
        let bytes = self.bytes(image);
        let at = |x: u32, y: u32, c: usize| bytes[(y as usize * w + x as usize) * channels + c];
        let image: DynamicImage = match channels {
            1 => GrayImage::from_fn(w as u32, h as u32, |x, y| Luma([at(x, y, 0)])).into(),
            _ => RgbImage::from_fn(w as u32, h as u32, |x, y| Rgb([0, 1, 2].map(|c| at(x, y, c))))
                .into(),
        };
        image.save(path).unwrap();
    }
}

#[test]
fn exported_models_score_as_ours() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = Vec::new();
    for case in cases() {
        let name = case.name();
        let path = |ending: &str| dir.path().join(format!("{name}.{ending}"));
        case.write(&path("gano"));
        let scorer = Scorer::load(&path("gano"), &Registry::builtin()).unwrap();
        let onnx = scorer.export(Export { size: case.size, opset: 17 }).unwrap();
        fs::write(path("onnx"), &onnx).unwrap();
        let images: Vec<PathBuf> = (0..IMAGES).map(|i| path(&format!("{i}.png"))).collect();
        images.iter().enumerate().for_each(|(at, path)| case.write_image(at, path));
        let ours: Vec<Vec<f64>> = scorer
            .prepare(&images)
            .into_iter()
            .map(|image| scorer.score(&image.unwrap()).unwrap())
            .collect();

        let ([h, w], channels) = (case.size, case.input.channels);
        let batch: Vec<u8> = (0..IMAGES).flat_map(|image| case.bytes(image)).collect();
        fs::write(path("raw"), &batch).unwrap();
        // In tests it is slow.
        if case.input.side <= LARGEST_IN_RTEN {
            let x = NdTensor::from_data([IMAGES, h, w, channels], batch);
            let model = Model::load(onnx).unwrap();
            let outputs = scorer.names().iter().map(|name| model.node_id(name).unwrap());
            let outputs: Vec<_> = outputs.collect();
            let input = (model.node_id("images").unwrap(), ValueOrView::from(x.view()));
            let theirs = model.run(vec![input], &outputs, None).unwrap();
            for (at, theirs) in theirs.into_iter().enumerate() {
                let theirs: NdTensor<f32, 1> = theirs.try_into().unwrap();
                for (ours, theirs) in ours.iter().zip(theirs.iter()) {
                    let off = (f64::from(*theirs) - ours[at]).abs();
                    let score = scorer.names()[at];
                    assert!(
                        off < TOLERANCE * ours[at] + ROUNDING,
                        "{name} {score}: {} and {theirs}",
                        ours[at]
                    );
                }
            }
        }
        let verdicts: Vec<bool> =
            ours.iter().map(|s| scorer.verdict(s).unwrap().anomalous).collect();
        lines.push(serde_json::json!({
            "name": name,
            "shape": [IMAGES, h, w, channels],
            "scores": scorer.names(),
            "ours": ours,
            "verdicts": verdicts,
        }));
    }
    fs::write(dir.path().join("cases.json"), serde_json::to_vec(&lines).unwrap()).unwrap();
    let Ok(python) = std::env::var("GANOMALY_PYTHON") else {
        return skip::missing("GANOMALY_PYTHON names no Python with onnx and onnxruntime");
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run_onnx.py");
    let output = Command::new(python).arg(script).arg(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gano");
    let input = Input { channels: 1, side: 32 };
    let settings = "nz = 6\nwidth = 0.05";
    let size = [32; 2];
    let case =
        Case { detector: "anogan", settings, input, tiles: None, size, resize: Resize::Crop };
    case.write(&path);
    let scorer = Scorer::load(&path, &Registry::builtin()).unwrap();
    let fails = |opset, words: &str| {
        let error = format!("{:#}", scorer.export(Export { size, opset }).unwrap_err());
        assert!(error.contains(words), "{error}");
    };
    fails(17, "more than a network's forward pass");
    fails(18, "opset 18: use 13 to 17");
}
