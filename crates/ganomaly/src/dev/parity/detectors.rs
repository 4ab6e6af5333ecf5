//! The replays of the detectors that are written in candle-nn's words.

use super::{MODES, Record, Replay, Trace};
use anyhow::Result;
use candle_core::{DType, Tensor};
use ganomaly_model::net::named;
use ganomaly_model::skip_ganomaly::{SkipGanomaly, SkipGanomalyConfig};
use ganomaly_model::vae::{Vae, VaeConfig};
use ganomaly_model::variables::{Network, VarDetector};
use ganomaly_model::{BatchNormMode, Detector, NamedTensors, Scores};

/// A fresh detector with the trace's first weights.
pub(super) fn started<N: Network>(
    mut detector: VarDetector<N>,
    trace: &Trace,
) -> Result<VarDetector<N>> {
    load(&mut detector, trace, "init/")?;
    Ok(detector)
}

/// Gives a detector the trace's weights and running statistics below a prefix.
pub(super) fn load<N: Network>(
    detector: &mut VarDetector<N>,
    trace: &Trace,
    prefix: &str,
) -> Result<()> {
    let dtype = detector.variables.dtype();
    let own = |(name, tensor): (String, Tensor)| {
        let tensor = if tensor.dtype().is_float() { tensor.to_dtype(dtype)? } else { tensor };
        Ok((name, tensor))
    };
    let state = trace.below(prefix).into_iter().map(own).collect::<Result<_>>()?;
    Ok(detector.load_state(&state)?)
}

/// What a test gives in each mode, by the trace's names.
fn in_each_mode(test: impl Fn(BatchNormMode) -> Result<NamedTensors>) -> Result<NamedTensors> {
    let mut all = NamedTensors::new();
    for (at, mode) in MODES {
        let named = test(mode)?.into_iter();
        all.extend(named.map(|(name, tensor)| (format!("test/{at}/{name}"), tensor)));
    }
    Ok(all)
}

fn sigmoid(logits: &Tensor) -> candle_core::Result<Tensor> {
    (logits.neg()?.exp()? + 1.0)?.recip()
}

pub(super) fn column(scores: &Scores, name: &str) -> Result<Tensor> {
    Ok(Tensor::new(scores.of(name), &candle_core::Device::Cpu)?)
}

pub(super) fn skip_ganomaly(trace: &Trace, dtype: DType) -> Result<VarDetector<SkipGanomaly>> {
    let config: SkipGanomalyConfig = trace.settings()?;
    started(SkipGanomaly::detector(&config, trace.input()?, 0, dtype)?, trace)
}

impl Replay for VarDetector<SkipGanomaly> {
    fn step(&mut self, trace: &Trace, step: usize) -> Result<Record> {
        let x = self.batch(trace.get(&format!("step{step}/x"))?)?;
        let step = self.network.gradients(&x)?;
        let [feat_real, feat_fake] = step.features.clone();
        let [pred_real, pred_fake] = &step.logits;
        let record = Record {
            losses: step.losses.clone(),
            tensors: named([
                ("fake", step.fake.clone()),
                ("feat_real", feat_real),
                ("feat_fake", feat_fake),
                ("pred_real", sigmoid(pred_real)?),
                ("pred_fake", sigmoid(pred_fake)?),
            ]),
            gradients: self.variables.named_gradients(&step.gradients),
        };
        self.network.update(&step, &mut self.variables)?;
        Ok(record)
    }

    fn state(&self) -> Result<NamedTensors> {
        Ok(Detector::state(self)?)
    }

    fn test(&mut self, trace: &Trace) -> Result<NamedTensors> {
        let x = self.batch(trace.get("test/x")?)?;
        in_each_mode(|mode| {
            let [fake, feat_real, feat_fake] = self.network.infer(&x, mode)?;
            let scores = self.score(&x, mode)?;
            Ok(named([
                ("fake", fake),
                ("feat_real", feat_real),
                ("feat_fake", feat_fake),
                ("score", column(&scores, "rec_lat")?),
                ("score_rec", column(&scores, "rec")?),
                ("score_lat", column(&scores, "lat")?),
            ]))
        })
    }
}

pub(super) fn vae(trace: &Trace, dtype: DType) -> Result<VarDetector<Vae>> {
    let config: VaeConfig = trace.settings()?;
    started(Vae::detector(&config, trace.input()?, 0, dtype)?, trace)
}

impl Replay for VarDetector<Vae> {
    fn step(&mut self, trace: &Trace, step: usize) -> Result<Record> {
        let x = self.batch(trace.get(&format!("step{step}/x"))?)?;
        let noise = trace.get(&format!("step{step}/eps"))?.to_dtype(x.dtype())?;
        let (pass, losses, gradients) = self.network.gradients(&x, noise)?;
        let (kl, xhat) = (pass.kl()?, pass.fakes[0].clone());
        self.network.update(&gradients, &mut self.variables)?;
        Ok(Record {
            losses,
            tensors: named([("mu", pass.mu), ("logvar", pass.logvar), ("kl", kl), ("xhat", xhat)]),
            gradients: self.variables.named_gradients(&[gradients]),
        })
    }

    fn state(&self) -> Result<NamedTensors> {
        Ok(Detector::state(self)?)
    }

    fn test(&mut self, trace: &Trace) -> Result<NamedTensors> {
        let x = self.batch(trace.get("test/x")?)?;
        let noises = trace.get("test/eps")?.to_dtype(x.dtype())?;
        let draws = (0..noises.dim(0)?).map(|draw| noises.get(draw));
        let draws = draws.collect::<candle_core::Result<Vec<_>>>()?;
        in_each_mode(|mode| {
            let scores = self.network.scores(&x, mode, &draws)?;
            let pass = self.network.infer(&x, mode, &[draws[0].zeros_like()?])?;
            Ok(named([
                ("mu", pass.mu.clone()),
                ("logvar", pass.logvar.clone()),
                ("kl", pass.kl()?),
                ("xhat_mu", pass.fakes[0].clone()),
                ("nelbo", column(&scores, "nelbo")?),
                ("score_rec", column(&scores, "rec")?),
            ]))
        })
    }
}
