//! The whole program on the host, with the kernels' source, and on a GPU if there is one, against
//! the CPU's step.

mod common;

use candle_core::{DType, Device, Result, Tensor};
use common::{Anywhere, all, check, fill, flat, machines};
use ganomaly_gpu::{Buffer, LOSS_STRIDE, LOSSES, Launch, Machine, Precision, Program, Size};
use ganomaly_kernels::layout;
use ganomaly_model::ganomaly::{Adversarial, Ganomaly, GanomalyConfig};
use ganomaly_model::{BatchNormMode, Detector};
use std::collections::HashMap;

/// Each run's part of a buffer.
fn parts(buffer: &[f32], runs: usize) -> Vec<&[f32]> {
    buffer.chunks(buffer.len() / runs).collect()
}

const SIZE: Size =
    Size { runs: 2, batch: 5, score_batch: 5, images: 7, order: 10, remainders: Vec::new() };

/// The seed of the first run's weights, chosen so that in these steps no rectifier's input is
/// within float32 rounding error of its kink, where it might fall on either side.
const FIRST_SEED: u64 = 2;

/// In float64, so that any difference comes from the kernels.
fn models(config: GanomalyConfig) -> Vec<Ganomaly> {
    let model = |seed| Ganomaly::with_dtype(config.clone(), seed, DType::F64).unwrap();
    (FIRST_SEED..FIRST_SEED + SIZE.runs as u64).map(model).collect()
}

fn running(model: &Ganomaly) -> (Vec<f32>, Vec<f32>) {
    (all(&model.netg.running_statistics()), all(&model.netd.running_statistics()))
}

fn upload(host: &mut Anywhere, program: &Program, models: &[Ganomaly]) {
    let (ports, runs) = (program.ports, models.len());
    let each = |f: &dyn Fn(&Ganomaly) -> Vec<f32>| models.iter().flat_map(f).collect::<Vec<f32>>();
    host.set(ports.netg, &each(&|m| all(&m.netg.parameters()))).unwrap();
    host.set(ports.netd, &each(&|m| all(&m.netd.parameters()))).unwrap();
    host.set(ports.netg_running, &each(&|m| running(m).0)).unwrap();
    host.set(ports.netd_running, &each(&|m| running(m).1)).unwrap();
    fill(host, ports.netd_fresh, program.buffers[ports.netd_fresh.0], 1.0f32.to_bits());
    fill(host, ports.reinitialised, runs, 0);
    fill(host, ports.position, runs, 0);
    fill(host, ports.loss_sums, runs * LOSS_STRIDE, 0);
    fill(host, ports.length, runs, 10);
    fill(host, ports.active, runs, 1);
    let optimisers = program.optimisers.iter().flat_map(|o| [o.first, o.second, o.clock]);
    for zeroed in optimisers {
        fill(host, zeroed, program.buffers[zeroed.0], 0);
    }
}

/// Images in [-1, 1], `[N, C, S, S]`, different for each run and step.
fn batch(config: &GanomalyConfig, seed: u64) -> Result<Tensor> {
    let side = config.isize;
    let numbers: Vec<f32> = (0..SIZE.batch * config.nc * side * side)
        .map(|i| ((i as u64 * 2_654_435_761 + seed * 40_503) % 1009) as f32 / 504.0 - 1.0)
        .collect();
    Tensor::from_vec(numbers, (SIZE.batch, config.nc, side, side), &Device::Cpu)
}

/// If a rectifier's input is within float32 rounding error of its kink, a gradient may take the
/// other side; `of_gradients` is the limit that allows for this on the host.
fn check_steps(config: GanomalyConfig, of_gradients: f64) -> Result<()> {
    let program = Program::new(&models(config.clone())[0], &SIZE).unwrap();
    let mut hosts = machines(&program.buffers, Precision::F32);
    hosts.iter_mut().try_for_each(|host| check_steps_on(host, &program, &config, of_gradients))
}

fn check_steps_on(
    host: &mut Anywhere,
    program: &Program,
    config: &GanomalyConfig,
    of_gradients: f64,
) -> Result<()> {
    let mut models = models(config.clone());
    upload(host, program, &models);
    let ports = program.ports;
    for step in 0..3 {
        let batches: Vec<Tensor> = (0..SIZE.runs as u64)
            .map(|run| batch(config, 10 * step + run))
            .collect::<Result<_>>()?;
        let nhwc: Vec<f32> =
            batches.iter().flat_map(|x| flat(&layout::nhwc_from_nchw(x).unwrap())).collect();
        host.set(ports.batch, &nhwc).unwrap();
        host.run(&program.step);
        let limits = host.limits();
        let (of_losses, limit) = (if step == 0 { 1e-5 } else { limits.learnt }, limits.learnt);
        let of_gradients = of_gradients.max(limits.gradients);
        for (run, (model, x)) in models.iter_mut().zip(&batches).enumerate() {
            let forward = model.forward(x).unwrap();
            let losses = model.losses(&forward).unwrap();
            let gradients = model.gradients(&forward).unwrap();
            model.update(&gradients, &losses).unwrap();
            let named: HashMap<_, _> = losses.named().into_iter().collect();
            for (at, name) in LOSSES.into_iter().chain(["err_d"]).enumerate() {
                let got = host.numbers(ports.losses)[run * LOSS_STRIDE + at];
                check(&format!("step {step}, {name}"), &[got], &[named[name] as f32], of_losses);
            }
            let mut part = |b: Buffer| parts(&host.numbers(b), SIZE.runs)[run].to_vec();
            let (netg, netd) = (all(&gradients.netg), all(&gradients.netd));
            check(
                &format!("step {step}, netg's gradients"),
                &part(ports.netg_gradients),
                &netg,
                of_gradients,
            );
            check(
                &format!("step {step}, netd's gradients"),
                &part(ports.netd_gradients),
                &netd,
                of_gradients,
            );
            let (netg, netd) = (all(&model.netg.parameters()), all(&model.netd.parameters()));
            check(&format!("step {step}, netg"), &part(ports.netg), &netg, limit);
            check(&format!("step {step}, netd"), &part(ports.netd), &netd, limit);
            let (netg, netd) = running(model);
            check(
                &format!("step {step}, netg's statistics"),
                &part(ports.netg_running),
                &netg,
                limit,
            );
            check(
                &format!("step {step}, netd's statistics"),
                &part(ports.netd_running),
                &netd,
                limit,
            );
        }
    }
    // Scores with the weights that the program has now.
    fill(host, ports.position, SIZE.runs, SIZE.batch as u32);
    host.run(&program.passes[0].score_running);
    for (run, model) in models.iter().enumerate() {
        for (buffer, tensors) in [
            (ports.netg, model.netg.parameters()),
            (ports.netg_running, model.netg.running_statistics()),
        ] {
            let numbers = host.numbers(buffer);
            let numbers = parts(&numbers, SIZE.runs)[run];
            let mut at = 0;
            for tensor in tensors {
                let len = tensor.elem_count();
                let part =
                    Tensor::from_slice(&numbers[at..at + len], tensor.shape(), &Device::Cpu)?;
                tensor.slice_set(&part.to_dtype(DType::F64)?, 0, 0)?;
                at += len;
            }
        }
        let scores = model.score(&batch(config, 20 + run as u64)?, BatchNormMode::Running).unwrap();
        for (buffer, expected) in
            ports.scores.into_iter().zip(["l2", "l1", "con"].map(|name| scores.of(name)))
        {
            let expected: Vec<f32> = expected.iter().map(|&s| s as f32).collect();
            let got = host.numbers(buffer);
            let got = &parts(&got, SIZE.runs)[run][..SIZE.batch];
            check(&format!("run {run}, scores"), got, &expected, 1e-4);
        }
    }
    Ok(())
}

fn config() -> GanomalyConfig {
    GanomalyConfig { isize: 32, nc: 1, nz: 10, ngf: 8, ..GanomalyConfig::default() }
}

#[test]
fn steps_and_scores_are_the_cpus() -> Result<()> {
    check_steps(config(), 1e-5)
}

#[test]
fn with_colours_extra_layers_and_cross_entropy_too() -> Result<()> {
    let config = GanomalyConfig {
        isize: 64,
        nc: 3,
        ngf: 4,
        extralayers: 1,
        adversarial: Adversarial::Bce,
        ..config()
    };
    check_steps(config, 1e-3)
}

/// Runs are independent: the bits are those of each run alone.
#[test]
fn a_group_computes_what_each_run_computes_alone() -> Result<()> {
    let models = models(config());
    let group = Program::new(&models[0], &SIZE).unwrap();
    let single = Program::new(&models[0], &Size { runs: 1, ..SIZE }).unwrap();
    let hosts = machines(&group.buffers, Precision::F32);
    hosts
        .into_iter()
        .zip(machines(&single.buffers, Precision::F32))
        .try_for_each(|pair| check_alone(pair, &group, &single, &models))
}

fn check_alone(
    (mut host, mut alone): (Anywhere, Anywhere),
    group: &Program,
    single: &Program,
    models: &[Ganomaly],
) -> Result<()> {
    let config = config();
    upload(&mut host, group, models);
    let batches: Vec<Vec<f32>> = (0..SIZE.runs as u64)
        .map(|run| Ok(flat(&layout::nhwc_from_nchw(&batch(&config, run)?)?)))
        .collect::<Result<_>>()?;
    host.set(group.ports.batch, &batches.concat()).unwrap();
    host.run(&group.step);
    fill(&mut host, group.ports.position, SIZE.runs, SIZE.batch as u32);
    host.run(&group.passes[0].score_running);
    for (run, model) in models.iter().enumerate() {
        upload(&mut alone, single, std::slice::from_ref(model));
        alone.set(single.ports.batch, &batches[run]).unwrap();
        alone.run(&single.step);
        fill(&mut alone, single.ports.position, 1, SIZE.batch as u32);
        alone.run(&single.passes[0].score_running);
        for (ours, theirs) in [
            (group.ports.netg, single.ports.netg),
            (group.ports.netd, single.ports.netd),
            (group.ports.netg_running, single.ports.netg_running),
        ] {
            assert_eq!(parts(&host.numbers(ours), SIZE.runs)[run], alone.numbers(theirs));
        }
        for (ours, theirs) in group.ports.scores.into_iter().zip(single.ports.scores) {
            let got = host.numbers(ours);
            let got = &parts(&got, SIZE.runs)[run][..SIZE.batch];
            assert_eq!(got, &alone.numbers(theirs)[..SIZE.batch]);
        }
    }
    Ok(())
}

#[test]
fn batches_come_from_the_bytes_in_each_runs_order() -> Result<()> {
    let config = config();
    let models = models(config.clone());
    let program = Program::new(&models[0], &SIZE).unwrap();
    for mut host in machines(&program.buffers, Precision::F32) {
        upload(&mut host, &program, &models);
        let image = config.isize * config.isize;
        let bytes: Vec<u8> = (0..SIZE.images * image).map(|i| (i * 31 % 256) as u8).collect();
        let order: Vec<u32> = (0..(SIZE.runs * SIZE.order) as u32).map(|i| i * 3 % 7).collect();
        let words = |bytes: &[u8]| -> Vec<f32> {
            bytes.chunks(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect()
        };
        host.set(program.ports.images, &words(&bytes)).unwrap();
        host.set(
            program.ports.order,
            &order.iter().map(|&i| f32::from_bits(i)).collect::<Vec<_>>(),
        )
        .unwrap();
        let number = |byte: usize| (byte as f32 / 255.0 - 0.5) / 0.5;
        host.set(program.ports.table, &(0..256).map(number).collect::<Vec<_>>()).unwrap();
        for batch in 0..2 {
            host.run(&program.load);
            for run in 0..SIZE.runs {
                let got = host.numbers(program.ports.batch);
                let got = parts(&got, SIZE.runs)[run];
                for (at, got) in got.chunks(image).enumerate() {
                    let from = order[run * SIZE.order + batch * SIZE.batch + at] as usize;
                    let expected: Vec<f32> =
                        bytes[from * image..][..image].iter().map(|&b| number(b.into())).collect();
                    assert_eq!(got, expected);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn only_a_run_whose_discriminator_vanished_reinitialises_it() -> Result<()> {
    let models = models(config());
    let program = Program::new(&models[0], &SIZE).unwrap();
    for mut host in machines(&program.buffers, Precision::F32) {
        upload(&mut host, &program, &models);
        let mut losses = [1.0; 2 * LOSS_STRIDE];
        losses[LOSS_STRIDE + 5] = 9e-6;
        host.set(program.ports.losses, &losses).unwrap();
        let again: Vec<Launch> =
            program.step.iter().filter(|l| l.kernel == "reinitialise").cloned().collect();
        assert_eq!(again.len(), 1);
        host.run(&again);
        let netd = host.numbers(program.ports.netd);
        let netd = parts(&netd, 2);
        assert_eq!(netd[0], all(&models[0].netd.parameters()));
        assert!(netd[1].iter().all(|&w| w == 1.0));
        let counts: Vec<u32> =
            host.numbers(program.ports.reinitialised).iter().map(|c| c.to_bits()).collect();
        assert_eq!(counts, [0, 1]);
    }
    Ok(())
}

#[test]
fn more_than_a_kernel_can_take_is_an_error() {
    let size = Size { runs: 70_000, ..SIZE };
    let error = Program::new(&models(config())[0], &size).unwrap_err().to_string();
    assert!(error.contains("fewer jobs"), "{error}");
}
