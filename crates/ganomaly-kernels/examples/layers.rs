//! Times each convolution of the 32×32 network, forward and both gradients, in GFLOP/s.
//!
//!     cargo run --release -p ganomaly-kernels --example layers

use candle_core::{DType, Device, Result, Tensor};
use ganomaly_kernels::{Conv2d, batch_norm};
use std::time::Instant;

fn median(mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    f()?;
    let mut times = Vec::new();
    for _ in 0..15 {
        let start = Instant::now();
        f()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn main() -> Result<()> {
    let halve = Conv2d { kernel: 4, stride: 2, padding: 1 };
    let whole = Conv2d { kernel: 4, stride: 1, padding: 0 };
    let n = 64;
    for (conv, s, i, o) in
        [(halve, 32, 1, 64), (halve, 16, 64, 128), (halve, 8, 128, 256), (whole, 4, 256, 100)]
    {
        let x = Tensor::randn(0f32, 1., (n, s, s, i), &Device::Cpu)?;
        let w = Tensor::randn(0f32, 1., (conv.kernel, conv.kernel, i, o), &Device::Cpu)?;
        let y = conv.forward(&x, &w)?;
        let flop = 2.0 * (y.elem_count() * conv.kernel * conv.kernel * i) as f64;
        let forward = median(|| conv.forward(&x, &w).map(drop))?;
        let input = median(|| conv.backward_input(&y, &w, (s, s)).map(drop))?;
        let weight = median(|| conv.backward_weight(&x, &y).map(drop))?;
        let stats = median(|| batch_norm::BatchStats::of(&y).map(drop))?;
        let rate = |t: f64| format!("{:7.2} ms {:5.0} GFLOP/s", t * 1e3, flop / t / 1e9);
        println!(
            "{s:>3}x{s:<3} {i:>3}->{o:<3}  forward {}  input {}  weight {}  statistics {:.2} ms",
            rate(forward),
            rate(input),
            rate(weight),
            stats * 1e3
        );
    }
    let a = Tensor::zeros((1024, 1024), DType::F32, &Device::Cpu)?;
    let b = Tensor::zeros((1024, 1024), DType::F32, &Device::Cpu)?;
    let t = median(|| a.matmul(&b).map(drop))?;
    println!("matrix product 1024³: {:.0} GFLOP/s", 2.0 * 1024f64.powi(3) / t / 1e9);
    Ok(())
}
