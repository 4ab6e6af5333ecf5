//! The comparison on a GPU, or on its twin: float32, with the kernels and launches that train
//! there.

use super::table::Tally;
use super::{Tolerance, Trace, deviation, loss_deviations};
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use ganomaly_experiment::config::DeviceName;
use ganomaly_experiment::config::Precision;
use ganomaly_gpu::{Group, Images, Machine, Size};
use ganomaly_model::ganomaly::Ganomaly;
use ganomaly_model::kernels::layout;
use ganomaly_model::{BatchNormMode, Detector};
use ganomaly_runner::device;

/// The limit for the first step's gradients: where a rectifier's input is within rounding of its
/// kink, the GPU, which fuses multiplications and additions, may take the other side.
const GRADIENTS: f64 = 1e-3;

impl Trace {
    /// Takes the trace's steps on `device` and records every deviation.
    pub(super) fn replay_on(&self, device: DeviceName, tally: &mut Tally) -> Result<()> {
        ensure!(self.is_ganomaly(), "--device {device}: only GANomaly trains there; use cpu");
        let mut models = [self.ganomaly(DType::F32)?];
        let images = |name: &str| Ok::<_, anyhow::Error>(self.get(name)?.dims4()?.0);
        let (batch, score_batch) = (images("step0/x")?, images("test/x")?);
        let size = Size {
            runs: 1,
            batch,
            score_batch,
            images: 0,
            order: score_batch,
            remainders: Vec::new(),
        };
        let table = vec![0.0; models[0].config().nc * 256];
        let nothing = Images { bytes: &[], table: &table };
        match device {
            DeviceName::Twin => {
                let make = |buffers: &[usize]| device::twin(buffers, Precision::F32);
                self.steps_on(Group::new(&mut models, nothing, size, make)?, &models[0], tally)
            }
            DeviceName::Cuda(gpu) => {
                let make = |buffers: &[usize]| device::gpu(gpu, buffers, Precision::F32);
                self.steps_on(Group::new(&mut models, nothing, size, make)?, &models[0], tally)
            }
            other => anyhow::bail!("--device {other}: use cuda:0, or twin"),
        }
    }

    fn steps_on<M: Machine>(
        &self,
        mut group: Group<M>,
        model: &Ganomaly,
        tally: &mut Tally,
    ) -> Result<()> {
        let limits = Tolerance(DType::F32);
        let mut note = |kind: &str, at: &str, deviation: f64, limit: f64| {
            tally.note("GPU", kind, at, deviation, limit);
        };
        for (step, expected) in self.file.steps.iter().enumerate() {
            let losses = group.step(&pixels(self.get(&format!("step{step}/x"))?)?)?;
            let losses = losses.into_iter().next().context("no losses")?;
            let own = self.file.float32_error.losses.get(step).copied().unwrap_or(0.0);
            let (kind, limit) = match step {
                0 => ("losses, step 0", limits.of(1e-5)),
                _ => ("losses, later steps", limits.blurred(own)),
            };
            for (name, deviation) in loss_deviations(losses, expected)? {
                note(kind, &format!("step {step} {name}"), deviation, limit);
            }
            if step == 0 {
                for (name, got) in gradients(&mut group, model)? {
                    let d = deviation(&got, self.get(&format!("grad0/{name}"))?)?;
                    note("gradients, step 0", &name, d, GRADIENTS);
                }
            }
        }
        group.download(std::slice::from_ref(model))?;
        self.compare_final(&model.state()?, &limits, &mut note)?;
        let x = pixels(self.get("test/x")?)?;
        for (name, mode) in [("batch", BatchNormMode::Batch), ("running", BatchNormMode::Running)] {
            let scores = group.score_batch(&x, mode)?.into_iter().next().context("no scores")?;
            for (score, got) in scores.columns() {
                let at = format!("{name}/score_{score}");
                let own = self.file.float32_error.scores.get(&at).copied().unwrap_or(0.0);
                let got = Tensor::new(got.as_slice(), &Device::Cpu)?;
                let d = deviation(&got, self.get(&format!("test/{at}"))?)?;
                note("scores", &at, d, limits.blurred(own));
            }
        }
        Ok(())
    }
}

/// Images `[N, C, S, S]` in the form the GPU takes.
fn pixels(x: &Tensor) -> Result<Vec<f32>> {
    let x = layout::nhwc_from_nchw(&x.to_dtype(DType::F32)?)?;
    Ok(x.flatten_all()?.to_vec1()?)
}

/// The last step's gradients by name, with PyTorch's axes.
fn gradients<M: Machine>(group: &mut Group<M>, model: &Ganomaly) -> Result<Vec<(String, Tensor)>> {
    let [netg, netd] = group.gradients()?;
    let (g, d) = (&model.netg, &model.netd);
    let mut named = Vec::new();
    for (numbers, names, tensors) in
        [(netg, g.parameter_names(), g.parameters()), (netd, d.parameter_names(), d.parameters())]
    {
        let numbers = numbers.concat();
        let mut at = 0;
        for (name, tensor) in names.into_iter().zip(tensors) {
            let end = at + tensor.elem_count();
            let part = numbers.get(at..end).context("the GPU has too few gradients")?;
            let part = Tensor::from_slice(part, tensor.shape(), &Device::Cpu)?;
            let part = if part.rank() == 4 { layout::oikk_from_kernel(&part)? } else { part };
            named.push((name, part));
            at = end;
        }
        ensure!(at == numbers.len(), "the GPU has {} gradients, not {at}", numbers.len());
    }
    Ok(named)
}
