//! Times a training step by `Ganomaly`, by the reference, and by the reference with candle-nn's own
//! layers, alternately, at the paper's MNIST setting.
//!
//!     RAYON_NUM_THREADS=2 cargo run --release -p ganomaly-model --example reference [ROUNDS]

use candle_core::DType;
use ganomaly_model::ganomaly::{Ganomaly, GanomalyConfig};
use ganomaly_model::kernels::autograd;
use ganomaly_model::reference::Reference;
use ganomaly_model::{Detector, Result, random};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(11);
    let config = GanomalyConfig::default();
    let mut model = Ganomaly::new(config.clone(), 0)?;
    let mut reference = Reference::new(config, &model.to_var_map()?, DType::F32)?;
    let mut rng = random::stream(0, b"images  ");
    let x = random::normal(&mut rng, (0.0, 0.6), &[64, 1, 32, 32], DType::F32)?;
    let mut times = [(); 3].map(|()| Vec::new());
    for round in 0..=rounds {
        for (which, times) in times.iter_mut().enumerate() {
            autograd::enable_kernels(which == 1);
            let start = Instant::now();
            if which == 0 {
                model.train_step(&x)?;
            } else {
                let gradients = reference.gradients(&x)?;
                reference.update(&gradients)?;
            }
            // The first round fills the caches.
            if round > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let [own, kernels, candle] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!(
        "median of {rounds}: Ganomaly {own:.1} ms, reference {kernels:.1} ms, with candle-nn's layers {candle:.1} ms"
    );
    println!(
        "reference / Ganomaly {:.2}, candle-nn / reference {:.2}",
        kernels / own,
        candle / kernels
    );
    Ok(())
}
