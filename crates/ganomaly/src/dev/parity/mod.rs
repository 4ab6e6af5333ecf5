//! `ganomaly parity`: does this implementation match the published one?
//!
//! A trace holds what the published code computed in float64 from given weights and batches: the
//! losses of several steps, the first step's tensors and gradients, the final weights and the
//! scores. The same steps are taken here, in float32 and in float64, and every deviation is checked
//! against its limit.
//!
//! Where a rectifier's input is within rounding error of 0, float32 cannot tell which side the
//! published code took, and Adam turns that coin toss into deviations of 1e-3 within two steps. If
//! the float32 run exceeds a limit, it is therefore repeated with those sides, and only those,
//! taken from the float64 run. The table shows both runs, and how many of all sides were taken
//! over; the limits stay.

mod bigan;
mod detectors;
mod ganomaly;
mod gpu;
mod table;

pub use table::{Deviation, Guidance, Parity};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Tensor};
use ganomaly_experiment::config::DeviceName;
use ganomaly_experiment::files::read_text;
use ganomaly_model::layers::Kinks;
use ganomaly_model::{BatchNormMode, Input, NamedTensors, weights};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use table::Tally;

/// A trace's JSON part; its other content is for people.
#[derive(Debug, Deserialize)]
struct TraceFile {
    /// The detector; GANomaly if it is not named.
    #[serde(default)]
    model: String,
    config: serde_json::Map<String, serde_json::Value>,
    steps: Vec<HashMap<String, f64>>,
    /// Biases before a batch norm, whose gradients are rounding errors of 0.
    #[serde(default)]
    zero_grad: Vec<String>,
    float32_error: Float32Error,
}

/// The two ways of scoring, by the traces' names.
const MODES: [(&str, BatchNormMode); 2] =
    [("batch", BatchNormMode::Batch), ("running", BatchNormMode::Running)];

/// How far the published code's own float32 run strays from its float64 values.
#[derive(Debug, Deserialize)]
struct Float32Error {
    losses: Vec<f64>,
    final_norm: f64,
    #[serde(default)]
    scores: HashMap<String, f64>,
    /// AnoGAN's, of each kind of number along the search.
    #[serde(default)]
    search: HashMap<String, f64>,
}

/// A detector that takes a trace's steps.
trait Replay {
    /// Takes a step.
    fn step(&mut self, trace: &Trace, step: usize) -> Result<Record>;

    /// All weights and running statistics.
    fn state(&self) -> Result<NamedTensors>;

    /// What scoring gives, by the trace's names.
    fn test(&mut self, trace: &Trace) -> Result<NamedTensors>;

    /// How it was kept on the sides of the float64 run so far.
    fn guidance(&self) -> Guidance {
        Guidance::Kinks(Kinks::default())
    }
}

/// What a step gave, by the trace's names.
struct Record {
    losses: Vec<(&'static str, f64)>,
    tensors: NamedTensors,
    /// With PyTorch's axes.
    gradients: NamedTensors,
}

/// Runs every comparison of the trace `stem`: `stem.json`, `stem.safetensors` and, if there are any,
/// the two `.pth` files beside them. It runs on the CPU in both precisions, on a GPU or its twin in
/// float32.
pub fn check_trace(stem: &Path, device: DeviceName) -> Result<Parity> {
    let with = |suffix: &str| PathBuf::from(format!("{}{suffix}", stem.display()));
    let json = with(".json");
    let text = read_text(&json).context("cannot read a trace; name it without its extension")?;
    let file: TraceFile =
        serde_json::from_str(&text).with_context(|| format!("{}: not a trace", json.display()))?;
    let tensors = weights::read_safetensors(&with(".safetensors"))?.into_iter().collect();
    let trace = Trace { file, tensors };
    if device != DeviceName::Cpu {
        let mut gpu = Tally::default();
        trace.replay_on(device, &mut gpu)?;
        return Ok(Parity { trace: stem.to_path_buf(), deviations: gpu.0, free_run: None });
    }
    let mut float32 = Tally::default();
    trace.replay("f32", DType::F32, false, &mut float32)?;
    let mut free_run = None;
    let can_be_guided = trace.is_ganomaly() || trace.file.model == "anogan";
    if can_be_guided && !float32.0.iter().all(Deviation::holds) {
        let free = std::mem::take(&mut float32);
        let guidance = trace.replay("f32", DType::F32, true, &mut float32)?;
        free_run = Some((free.0, guidance));
    }
    let mut others = Tally::default();
    trace.replay("f64", DType::F64, false, &mut others)?;
    if with(".pth.safetensors").exists() {
        compare_pth(&with, &mut others)?;
    }
    let deviations = [float32.0, others.0].concat();
    Ok(Parity { trace: stem.to_path_buf(), deviations, free_run })
}

struct Trace {
    file: TraceFile,
    tensors: HashMap<String, Tensor>,
}

/// Which limits apply: float64 has one for everything, float32 one for each kind.
struct Tolerance(DType);

impl Tolerance {
    fn of(&self, float32: f64) -> f64 {
        if self.0 == DType::F64 { 1e-8 } else { float32 }
    }

    /// The limit for values that float32 itself blurs: the larger of 1e-4 and thirty times the
    /// reference's own deviation.
    fn blurred(&self, float32_error: f64) -> f64 {
        self.of((30.0 * float32_error).max(1e-4))
    }
}

impl Trace {
    fn is_ganomaly(&self) -> bool {
        ["", "ganomaly"].contains(&self.file.model.as_str())
    }

    /// The detector's settings: those of the trace's config that its type has.
    fn settings<S: Default + serde::Serialize + DeserializeOwned>(&self) -> Result<S> {
        let defaults = serde_json::to_value(S::default())?;
        let known = defaults.as_object().context("settings that are not an object")?;
        let own = known.keys().filter_map(|key| Some((key.clone(), self.config(key)?.clone())));
        let own: serde_json::Map<_, _> = own.collect();
        serde_json::from_value(own.into()).context("the trace's config")
    }

    fn config(&self, key: &str) -> Option<&serde_json::Value> {
        self.file.config.get(key)
    }

    fn input(&self) -> Result<Input> {
        let number = |key: &str| {
            let number = self.config(key).and_then(serde_json::Value::as_u64);
            number.with_context(|| format!("the trace's config has no number {key}"))
        };
        Ok(Input { channels: number("nc")? as usize, side: number("isize")? as usize })
    }

    fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).with_context(|| format!("the trace holds no tensor {name:?}"))
    }

    /// The tensors below `prefix`, with it removed.
    fn below(&self, prefix: &str) -> NamedTensors {
        let mut all: NamedTensors = self
            .tensors
            .iter()
            .filter_map(|(n, t)| Some((n.strip_prefix(prefix)?.to_string(), t.clone())))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// The detector with the trace's first weights. If it is guided, it takes the sides of the
    /// float64 run at kinks that float32 cannot resolve.
    fn detector(&self, dtype: DType, guided: bool) -> Result<Box<dyn Replay>> {
        Ok(match self.file.model.as_str() {
            _ if self.is_ganomaly() => Box::new(ganomaly::Guided::new(self, dtype, guided)?),
            "skipganomaly" => Box::new(detectors::skip_ganomaly(self, dtype)?),
            "vae" => Box::new(detectors::vae(self, dtype)?),
            "egbad" => Box::new(bigan::egbad(self, dtype)?),
            "anogan" => Box::new(bigan::AnoganReplay::new(self, dtype, guided)?),
            other => bail!("a trace of {other:?}, which is not a detector of this program"),
        })
    }

    /// Takes the trace's steps and records every deviation; returns how it was guided.
    fn replay(
        &self,
        precision: &'static str,
        dtype: DType,
        guided: bool,
        tally: &mut Tally,
    ) -> Result<Guidance> {
        let mut detector = self.detector(dtype, guided)?;
        let limits = Tolerance(dtype);
        let mut note = |kind: &str, at: &str, deviation: f64, limit: f64| {
            tally.note(precision, kind, at, deviation, limit);
        };
        for (step, expected) in self.file.steps.iter().enumerate() {
            let record = detector.step(self, step)?;
            let (kind, limit) = if step == 0 {
                ("losses, step 0", limits.of(1e-5))
            } else {
                let own = self.file.float32_error.losses.get(step).copied().unwrap_or(0.0);
                ("losses, later steps", limits.blurred(own))
            };
            for (name, deviation) in loss_deviations(record.losses, expected)? {
                note(kind, &format!("step {step} {name}"), deviation, limit);
            }
            if step == 0 {
                for (name, got) in &record.tensors {
                    let d = deviation(got, self.get(&format!("step0/{name}"))?)?;
                    note("tensors, step 0", name, d, limits.of(1e-5));
                }
                let expected = self.below("grad0/");
                let (got, wanted) = (record.gradients.len(), expected.len());
                ensure!(got == wanted, "{got} gradients, and {wanted} in the trace");
                for (name, expected) in expected {
                    if self.file.zero_grad.contains(&name) {
                        continue;
                    }
                    let d = deviation(&weights::named(&record.gradients, &name)?, &expected)?;
                    note("gradients, step 0", &name, d, limits.of(1e-4));
                }
            }
        }

        self.compare_final(&detector.state()?, &limits, &mut note)?;

        for (name, got) in detector.test(self)? {
            let at = name.strip_prefix("test/").unwrap_or(&name);
            let Float32Error { scores, search, .. } = &self.file.float32_error;
            let own = scores.get(at).or(search.get(at.trim_end_matches(char::is_numeric)));
            let kind = if own.is_some() { "scores" } else { "tensors while scoring" };
            let d = deviation(&got, self.get(&name)?)?;
            note(kind, at, d, limits.blurred(own.copied().unwrap_or(0.0)));
        }
        Ok(detector.guidance())
    }
}

impl Trace {
    /// The weights and running statistics after the last step. In float64 each tensor is checked
    /// against the limit. The trace records its own float32 deviation as one norm over all of them,
    /// so float32 is compared in that norm.
    fn compare_final(
        &self,
        state: &NamedTensors,
        limits: &Tolerance,
        note: &mut impl FnMut(&str, &str, f64, f64),
    ) -> Result<()> {
        let (mut got_all, mut expected_all) = (Vec::new(), Vec::new());
        for (name, expected) in self.below("final/") {
            if self.file.zero_grad.iter().any(|zero| name.ends_with(zero.as_str())) {
                continue;
            }
            let got = weights::named(state, &name)?;
            if expected.dtype().is_int() {
                note("counters at the end", &name, deviation(&got, &expected)?, 0.0);
                continue;
            }
            if limits.0 == DType::F64 {
                note("weights at the end", &name, deviation(&got, &expected)?, limits.of(0.0));
            }
            got_all.push(got.to_dtype(DType::F64)?.flatten_all()?);
            expected_all.push(expected.to_dtype(DType::F64)?.flatten_all()?);
        }
        let d = deviation(&Tensor::cat(&got_all, 0)?, &Tensor::cat(&expected_all, 0)?)?;
        note("weights at the end", "all", d, limits.blurred(self.file.float32_error.final_norm));
        Ok(())
    }
}

/// The `.pth` files must hold exactly the bytes of the safetensors file with the same weights.
fn compare_pth(with: &impl Fn(&str) -> PathBuf, tally: &mut Tally) -> Result<()> {
    let pth = weights::read_pth(&with(".netG.pth"), &with(".netD.pth"))?;
    let expected = weights::read_safetensors(&with(".pth.safetensors"))?;
    let missing = expected.iter().filter(|(n, _)| pth.iter().all(|(m, _)| m != n)).count();
    let extra = pth.iter().filter(|(n, _)| expected.iter().all(|(m, _)| m != n)).count();
    ensure!(
        missing + extra == 0,
        "{}: {missing} tensors are missing from the .pth files and {extra} are there in excess",
        with(".pth.safetensors").display()
    );
    for (name, expected) in &expected {
        let got = weights::named(&pth, name)?;
        let same = got.dims() == expected.dims() && bytes(&got)? == bytes(expected)?;
        tally.note("bytes", ".pth files", name, f64::from(u8::from(!same)), 0.0);
    }
    Ok(())
}

fn bytes(t: &Tensor) -> Result<Vec<u8>> {
    Ok(weights::to_safetensors(&vec![("t".to_string(), t.clone())], None)?)
}

fn loss_deviations(
    losses: Vec<(&'static str, f64)>,
    expected: &HashMap<String, f64>,
) -> Result<Vec<(&'static str, f64)>> {
    losses
        .into_iter()
        .map(|(name, got)| {
            let expected = expected.get(name).with_context(|| format!("the trace lacks {name}"))?;
            Ok((name, (got - expected).abs() / expected.abs().max(f64::MIN_POSITIVE)))
        })
        .collect()
}

/// Norm of the difference over norm of the expected values, in float64.
fn deviation(got: &Tensor, expected: &Tensor) -> Result<f64> {
    let numbers = |t: &Tensor| t.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
    let (got, expected) = (numbers(got)?, numbers(expected)?);
    ensure!(got.len() == expected.len(), "{} numbers against {}", got.len(), expected.len());
    let norm = |sum: f64| sum.sqrt();
    let difference = norm(got.iter().zip(&expected).map(|(a, b)| (a - b) * (a - b)).sum());
    let scale = norm(expected.iter().map(|b| b * b).sum());
    Ok(if difference == 0.0 { 0.0 } else { difference / scale.max(f64::MIN_POSITIVE) })
}
