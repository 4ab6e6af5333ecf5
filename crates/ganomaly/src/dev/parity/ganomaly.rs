//! GANomaly's replay. Where float32 cannot tell on which side of a kink a value lies, a float64 run
//! beside it can.

use super::{Guidance, MODES, Record, Replay, Trace};
use anyhow::Result;
use candle_core::{DType, Tensor};
use ganomaly_model::ganomaly::{Ganomaly, GanomalyConfig};
use ganomaly_model::kernels::layout::{nchw_from_nhwc, oikk_from_kernel};
use ganomaly_model::layers::Kinks;
use ganomaly_model::{Detector, NamedTensors};

pub(super) struct Guided {
    model: Ganomaly,
    guide: Option<Ganomaly>,
    kinks: Kinks,
}

impl Trace {
    /// A GANomaly with the trace's settings and first weights.
    pub(super) fn ganomaly(&self, dtype: DType) -> Result<Ganomaly> {
        let config = self.settings::<GanomalyConfig>()?.of(self.input()?);
        let mut model = Ganomaly::with_dtype(config, 0, dtype)?;
        model.load_state(&self.below("init/"))?;
        Ok(model)
    }
}

impl Guided {
    pub(super) fn new(trace: &Trace, dtype: DType, guided: bool) -> Result<Self> {
        let guide = guided.then(|| trace.ganomaly(DType::F64)).transpose()?;
        Ok(Self { model: trace.ganomaly(dtype)?, guide, kinks: Kinks::default() })
    }
}

impl Replay for Guided {
    fn step(&mut self, trace: &Trace, step: usize) -> Result<Record> {
        let (model, x) = (&mut self.model, trace.get(&format!("step{step}/x"))?);
        let mut forward = model.forward(x)?;
        if let Some(guide) = &mut self.guide {
            let reference = guide.forward(x)?;
            self.kinks = self.kinks.and(model.take_sides(&mut forward, guide, &reference)?);
            let losses = guide.losses(&reference)?;
            guide.update(&guide.gradients(&reference)?, &losses)?;
        }
        let losses = model.losses(&forward)?;
        let gradients = model.gradients(&forward)?;
        let f = &forward;
        let tensors = [
            ("fake", &f.fake),
            ("latent_i", &f.latent_i),
            ("latent_o", &f.latent_o),
            ("feat_real", &f.feat_real),
            ("feat_fake", &f.feat_fake),
            ("pred_real", &f.pred_real),
            ("pred_fake", &f.pred_fake),
        ];
        let tensors = tensors.map(|(name, tensor)| Ok((name.to_string(), nchw_from_nhwc(tensor)?)));
        let names = [model.netg.parameter_names(), model.netd.parameter_names()].concat();
        let all = [gradients.netg.as_slice(), &gradients.netd].concat();
        let turned = |g: Tensor| if g.rank() == 4 { oikk_from_kernel(&g) } else { Ok(g) };
        let named = names.into_iter().zip(all).map(|(name, g)| Ok((name, turned(g)?)));
        let record = Record {
            losses: losses.named(),
            tensors: tensors.into_iter().collect::<Result<_>>()?,
            gradients: named.collect::<Result<_>>()?,
        };
        model.update(&gradients, &losses)?;
        Ok(record)
    }

    fn state(&self) -> Result<NamedTensors> {
        Ok(self.model.state()?)
    }

    fn test(&mut self, trace: &Trace) -> Result<NamedTensors> {
        let x = trace.get("test/x")?;
        let mut all = NamedTensors::new();
        for (at, mode) in MODES {
            let inference = self.model.infer(x, mode)?;
            for (score, got) in inference.scores()?.columns() {
                let got = Tensor::new(got.as_slice(), x.device())?;
                all.push((format!("test/{at}/score_{score}"), got));
            }
            for (name, got) in [
                ("fake", &inference.fake),
                ("latent_i", &inference.latent_i),
                ("latent_o", &inference.latent_o),
            ] {
                all.push((format!("test/{at}/{name}"), nchw_from_nhwc(got)?));
            }
        }
        Ok(all)
    }

    fn guidance(&self) -> Guidance {
        Guidance::Kinks(self.kinks)
    }
}
