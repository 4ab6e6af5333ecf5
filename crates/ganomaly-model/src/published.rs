//! Models that the published code of GANomaly and Skip-GANomaly saved: `netG.pth`, `netD.pth`.
//!
//! The files hold weights alone, so the settings are found from the names and shapes. Those of
//! training (loss weights, learning rate) cannot be: they have their defaults and do not matter for
//! scoring.

use crate::ganomaly::GanomalyConfig;
use crate::skip_ganomaly::SkipGanomalyConfig;
use crate::variables::COUNTER;
use crate::weights::{read_pth_file, shown};
use crate::{Detector, Error, Input, NamedTensors, Result, Settings};
use candle_core::{DType, Device, Tensor};
use std::path::Path;

/// A published model.
pub struct Published {
    /// Its settings.
    pub settings: PublishedSettings,
    /// The images that it takes.
    pub input: Input,
    /// All weights and running statistics, in float32.
    pub state: NamedTensors,
    /// Whether the discriminator is drawn from a seed, because there was no file of it.
    pub drawn_discriminator: bool,
}

/// The settings of a published model.
pub enum PublishedSettings {
    /// GANomaly's.
    Ganomaly(GanomalyConfig),
    /// Skip-GANomaly's.
    SkipGanomaly(SkipGanomalyConfig),
}

impl PublishedSettings {
    fn build(&self, input: Input, weights: u64) -> Result<Box<dyn Detector>> {
        match self {
            Self::Ganomaly(config) => build(config, input, weights),
            Self::SkipGanomaly(config) => build(config, input, weights),
        }
    }
}

/// A network for that many weights: shapes that ask for more are refused before it is built.
fn build<S: Settings>(settings: &S, input: Input, weights: u64) -> Result<Box<dyn Detector>> {
    settings.check(input)?;
    let least = settings.least_weights(input);
    if weights < least {
        return Err(Error::Weights(format!(
            "its shapes are of a network of more than {least} weights, and it holds {weights}"
        )));
    }
    settings.build(input, 0)
}

/// Reads a published model. GANomaly's scores do not need the discriminator: without its file, its
/// weights are drawn. Skip-GANomaly's scores do.
///
/// Fails if a file cannot be read, or is of another network.
pub fn read_published(net_g: &Path, net_d: Option<&Path>) -> Result<Published> {
    let mut state = read_pth_file(net_g, "netg.")?;
    if let Some(net_d) = net_d {
        state.extend(read_pth_file(net_d, "netd.")?);
    }
    for (_, tensor) in &mut state {
        if tensor.dtype().is_float() {
            *tensor = tensor.to_dtype(DType::F32)?;
        }
    }
    let (settings, input) = settings(&state, net_g)?;
    let drawn_discriminator = net_d.is_none();
    let weights: usize = state.iter().map(|(_, tensor)| tensor.elem_count()).sum();
    let mut model = settings.build(input, weights as u64).map_err(|e| wrong(net_g, e))?;
    for (name, fresh) in model.state()? {
        let missing = state.iter().all(|(there, _)| *there != name);
        if missing && drawn_discriminator && name.starts_with("netd.") {
            state.push((name, fresh));
        } else if missing && name.ends_with(COUNTER) {
            // PyTorch before 0.4.1 counted no batches.
            state.push((name, Tensor::new(0i64, &Device::Cpu)?));
        }
    }
    model.load_state(&state).map_err(|e| wrong(net_g, e))?;
    Ok(Published { settings, input, state: model.state()?, drawn_discriminator })
}

fn wrong(path: &Path, problem: impl std::fmt::Display) -> Error {
    Error::Weights(format!("{}: {problem}", shown(path)))
}

fn settings(state: &NamedTensors, net_g: &Path) -> Result<(PublishedSettings, Input)> {
    if let Some(sizes) = Encoder::of(state, "netg.encoder1.main.") {
        let Encoder { nz, width: ngf, extralayers, input } = sizes;
        let config = GanomalyConfig { nz, ngf, extralayers, ..Default::default() };
        return Ok((PublishedSettings::Ganomaly(config), input));
    }
    let first = state.iter().find(|(name, _)| name == "netg.model.model.0.weight");
    let Some((_, first)) = first.filter(|(_, first)| first.rank() == 4) else {
        return Err(wrong(
            net_g,
            "it holds no generator of GANomaly (encoder1.main…) or Skip-GANomaly (model.model…); \
             name netG.pth first, then netD.pth",
        ));
    };
    let Some(Encoder { nz, width: ndf, input, .. }) = Encoder::of(state, "netd.feat.") else {
        return Err(wrong(
            net_g,
            "Skip-GANomaly's score needs the discriminator; name its netD.pth, too",
        ));
    };
    let config = SkipGanomalyConfig { nz, ngf: first.dims()[0], ndf, ..Default::default() };
    Ok((PublishedSettings::SkipGanomaly(config), input))
}

/// What the shapes of an encoder's convolutions tell.
struct Encoder {
    nz: usize,
    width: usize,
    extralayers: usize,
    input: Input,
}

impl Encoder {
    fn of(state: &NamedTensors, prefix: &str) -> Option<Self> {
        let convs = |start: &'static str| {
            let own = state.iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?, t)));
            own.filter(move |(name, tensor)| {
                name.starts_with(start) && name.ends_with(".weight") && tensor.rank() == 4
            })
        };
        let dims = |start| Some(convs(start).next()?.1.dims());
        let (first, last) = (dims("initial-conv-")?, dims("final-")?);
        // Each level halves the image; the last convolution sees 4×4 points.
        let side = 8usize.checked_shl(u32::try_from(convs("pyramid-").count()).ok()?)?;
        let input = Input { channels: first[1], side };
        let extralayers = convs("extra-layers-").count();
        Some(Self { nz: last[0], width: first[0], extralayers, input })
    }
}
