//! The replays of EGBAD and AnoGAN.

use super::detectors::{column, load, started};
use super::{Guidance, Record, Replay, Trace};
use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use ganomaly_model::anogan::{Anogan, AnoganConfig, Found};
use ganomaly_model::egbad::{Draws, Egbad, EgbadConfig, Masks};
use ganomaly_model::net::named;
use ganomaly_model::variables::VarDetector;
use ganomaly_model::{BatchNormMode, Detector, NamedTensors};

impl Trace {
    /// The multiple of the published widths, written as a fraction.
    fn width(&self) -> Result<f64> {
        let text = self.config("mult").and_then(|mult| mult.as_str()).context("no width")?;
        let (above, below) = text.split_once('/').unwrap_or((text, "1"));
        Ok(above.parse::<f64>()? / below.parse::<f64>()?)
    }

    /// Latent vectors `[N, nz]` as `[N, nz, 1, 1]`, in this type.
    fn latent(&self, name: &str, dtype: DType) -> Result<Tensor> {
        let z = self.get(name)?.to_dtype(dtype)?;
        let (n, nz) = z.dims2()?;
        Ok(z.reshape((n, nz, 1, 1))?)
    }
}

pub(super) fn egbad(trace: &Trace, dtype: DType) -> Result<VarDetector<Egbad>> {
    let config = EgbadConfig { width: trace.width()?, ..trace.settings()? };
    started(Egbad::detector(&config, trace.input()?, 0, dtype)?, trace)
}

impl Replay for VarDetector<Egbad> {
    fn step(&mut self, trace: &Trace, step: usize) -> Result<Record> {
        let x_d = self.batch(trace.get(&format!("step{step}/x_d"))?)?;
        let x_g = self.batch(trace.get(&format!("step{step}/x_g"))?)?;
        let dtype = x_d.dtype();
        let z = |half: &str| trace.latent(&format!("step{step}/z_{half}"), dtype);
        let masks = |half: &str, call: &str| -> Result<Masks> {
            let mask = |layer: &str| -> Result<Tensor> {
                let kept = trace.get(&format!("step{step}/mask_{half}.{call}.{layer}"))?;
                let kept = (kept.to_dtype(dtype)? * 2.0)?;
                match *kept.dims() {
                    [n, c] => Ok(kept.reshape((n, c, 1, 1))?),
                    _ => Ok(kept),
                }
            };
            let layers = ["x_layer_1", "x_layer_2", "z_layer_1", "y_layer_1"];
            let [a, b, c, d] = layers.map(mask);
            Ok([a?, b?, c?, d?])
        };
        let draws = Draws {
            z: [z("d")?, z("g")?],
            masks: [
                [masks("d", "enc")?, masks("d", "gen")?],
                [masks("g", "enc")?, masks("g", "gen")?],
            ],
        };
        let [d, g] = self.network.step([&x_d, &x_g], &draws, &mut self.variables)?;
        let prefixed = |half: &str, tensors: NamedTensors| {
            let named = move |(name, tensor)| (format!("{half}.{name}"), tensor);
            tensors.into_iter().map(named).collect::<NamedTensors>()
        };
        let gradients = [d.gradients, g.gradients].into_iter().flatten().collect::<Vec<_>>();
        Ok(Record {
            losses: [d.losses, g.losses].concat(),
            tensors: [prefixed("d", d.tensors), prefixed("g", g.tensors)].concat(),
            gradients: self.variables.named_gradients(&gradients),
        })
    }

    fn state(&self) -> Result<NamedTensors> {
        Ok(Detector::state(self)?)
    }

    fn test(&mut self, trace: &Trace) -> Result<NamedTensors> {
        let x = self.batch(trace.get("test/x")?)?;
        let (latent, rec, scores) = self.network.infer(&x, BatchNormMode::Running)?;
        Ok(named([
            ("test/ema/latent", latent),
            ("test/ema/rec", rec),
            ("test/ema/gen_score", column(&scores, "rec")?),
            ("test/ema/score_fm", column(&scores, "fm")?),
            ("test/ema/score_cross_e", column(&scores, "ce")?),
        ]))
    }
}

/// AnoGAN, once with the search's discriminator as published, once with its averages.
pub(super) struct AnoganReplay {
    published: VarDetector<Anogan>,
    averages: VarDetector<Anogan>,
    watched: Vec<usize>,
    /// Whether the searches use the trace's weights.
    guided: bool,
}

impl AnoganReplay {
    pub(super) fn new(trace: &Trace, dtype: DType, guided: bool) -> Result<Self> {
        let detector = |search_averages| {
            let own = trace.settings()?;
            let config = AnoganConfig { width: trace.width()?, search_averages, ..own };
            started(Anogan::detector(&config, trace.input()?, 0, dtype)?, trace)
        };
        let watched = trace.config("search_trace").context("no search")?;
        let watched = serde_json::from_value(watched.clone())?;
        let (published, averages) = (detector(false)?, detector(true)?);
        Ok(Self { published, averages, watched, guided })
    }

    /// What is watched of a search, by the trace's names below `at`.
    fn search(
        &self,
        detector: &VarDetector<Anogan>,
        [x, z]: [&Tensor; 2],
        at: &str,
    ) -> Result<NamedTensors> {
        let mut all = NamedTensors::new();
        let mut watch = |update, found: &Found| {
            if !self.watched.contains(&update) {
                return Ok(());
            }
            let numbers = |numbers: &[f64]| Tensor::new(numbers, &candle_core::Device::Cpu);
            let pairs = found.rec.iter().zip(&found.fm);
            let loss: Vec<f64> = pairs.map(|(rec, fm)| 0.9 * rec + 0.1 * fm).collect();
            all.push((format!("{at}/loss{update}"), numbers(&loss)?));
            all.push((format!("{at}/gen_score{update}"), numbers(&found.rec)?));
            all.push((format!("{at}/fm{update}"), numbers(&found.fm)?));
            if update > 0 {
                all.push((format!("{at}/z{update}"), found.z.clone()));
            }
            Ok(())
        };
        detector.network.search(x, z, BatchNormMode::Running, &mut watch)?;
        Ok(all)
    }
}

impl Replay for AnoganReplay {
    fn step(&mut self, trace: &Trace, step: usize) -> Result<Record> {
        let mut record = None;
        for detector in [&mut self.averages, &mut self.published] {
            let x = detector.batch(trace.get(&format!("step{step}/x_d"))?)?;
            let z = |half: &str| trace.latent(&format!("step{step}/z_{half}"), x.dtype());
            let z = [z("d")?, z("g")?];
            let [d, g] = detector.network.step(&x, &z, &mut detector.variables)?;
            record = Some(Record {
                losses: [d.losses, g.losses].concat(),
                tensors: named([
                    ("d.g_z", d.g_z),
                    ("d.feat_real", d.features[0].clone()),
                    ("d.feat_fake", d.features[1].clone()),
                    ("d.logit_real", d.logits[0].clone()),
                    ("d.logit_fake", d.logits[1].clone()),
                    ("g.g_z", g.g_z),
                    ("g.feat_fake", g.features[0].clone()),
                    ("g.logit_fake", g.logits[0].clone()),
                ]),
                gradients: detector.variables.named_gradients(&[d.gradients, g.gradients]),
            });
        }
        record.context("no detector")
    }

    fn state(&self) -> Result<NamedTensors> {
        Ok(Detector::state(&self.published)?)
    }

    fn test(&mut self, trace: &Trace) -> Result<NamedTensors> {
        let mut all = NamedTensors::new();
        if self.guided {
            load(&mut self.published, trace, "final/")?;
            load(&mut self.averages, trace, "final/")?;
        }
        for (detector, batch, at) in [
            (&self.published, "search", "search/published"),
            (&self.averages, "search", "search/ema_d"),
            (&self.published, "search2", "search2/fresh"),
        ] {
            let x = detector.batch(trace.get(&format!("{batch}/x"))?)?;
            let z = trace.latent(&format!("{batch}/z0"), x.dtype())?;
            all.extend(self.search(detector, [&x, &z], at)?);
        }
        Ok(all)
    }

    fn guidance(&self) -> Guidance {
        Guidance::Weights
    }
}
