//! Trains a small GANomaly on horizontal stripes, then scores horizontal and vertical ones.
//!
//!     cargo run --release -p ganomaly-model --example stripes

use candle_core::{Device, Tensor};
use ganomaly_model::ganomaly::{Ganomaly, GanomalyConfig};
use ganomaly_model::{BatchNormMode, Detector, Result};

const SIDE: usize = 16;

/// `[count, 1, 16, 16]` in [-1, 1]: stripes of several widths, each with its own shift.
fn stripes(count: usize, upright: bool) -> Result<Tensor> {
    let mut pixels = Vec::with_capacity(count * SIDE * SIDE);
    for i in 0..count {
        let (width, shift) = (0.7 + 0.1 * (i % 5) as f32, i as f32);
        for y in 0..SIDE {
            for x in 0..SIDE {
                let along = if upright { x } else { y } as f32;
                pixels.push((along * width + shift).sin());
            }
        }
    }
    Ok(Tensor::from_vec(pixels, (count, 1, SIDE, SIDE), &Device::Cpu)?)
}

fn main() -> Result<()> {
    let config =
        GanomalyConfig { isize: SIDE, nz: 10, ngf: 16, lr: 1e-3, ..GanomalyConfig::default() };
    let mut model = Ganomaly::new(config, 0)?;
    let normal = stripes(32, false)?;
    for step in 1..=200 {
        let losses = model.train_step(&normal)?;
        if step % 50 == 0 {
            let text: Vec<String> = losses.iter().map(|(n, v)| format!("{n} {v:.3}")).collect();
            println!("step {step}: {}", text.join(", "));
        }
    }
    for (name, upright) in [("level", false), ("upright", true)] {
        let scores = model.score(&stripes(16, upright)?, BatchNormMode::Running)?;
        let scores = scores.of("l2");
        println!("mean score, {name}: {:.5}", scores.iter().sum::<f64>() / scores.len() as f64);
    }
    Ok(())
}
