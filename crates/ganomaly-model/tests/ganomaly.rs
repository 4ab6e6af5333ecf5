//! GANomaly without golden files: gradients by finite differences, invariants, files, and rejected
//! input.

use candle_core::{DType, Device, Tensor};
use ganomaly_model::ganomaly::{Adversarial, Ganomaly, GanomalyConfig};
use ganomaly_model::{BatchNormMode, Detector, Error, random, weights};

fn tiny() -> GanomalyConfig {
    GanomalyConfig { isize: 16, nc: 2, nz: 5, ngf: 4, extralayers: 1, ..GanomalyConfig::default() }
}

fn batch(config: &GanomalyConfig, n: usize, seed: u64) -> Tensor {
    let shape = [n, config.nc, config.isize, config.isize];
    random::normal(&mut random::stream(seed, b"images  "), (0.0, 0.5), &shape, DType::F32).unwrap()
}

fn numbers(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The step's gradients against central differences of its losses, along each parameter's own
/// gradient.
#[test]
fn gradients_equal_finite_differences() {
    for adversarial in [Adversarial::Feature, Adversarial::Bce] {
        let config = GanomalyConfig { adversarial, w_adv: 2.0, w_con: 3.0, w_enc: 5.0, ..tiny() };
        let model = Ganomaly::with_dtype(config.clone(), 3, DType::F64).unwrap();
        let x = batch(&config, 4, 1);
        let gradients = model.gradients(&model.forward(&x).unwrap()).unwrap();
        let loss = |generator: bool| {
            let losses = model.losses(&model.forward(&x).unwrap()).unwrap();
            if generator { losses.err_g } else { losses.err_d }
        };
        let nets = [
            (true, model.netg.parameters(), model.netg.parameter_names(), &gradients.netg),
            (false, model.netd.parameters(), model.netd.parameter_names(), &gradients.netd),
        ];
        for (generator, parameters, names, gradients) in nets {
            for ((parameter, name), gradient) in parameters.iter().zip(names).zip(gradients) {
                let norm = numbers(gradient).iter().map(|g| g * g).sum::<f64>().sqrt();
                assert!(norm > 1e-9, "{adversarial} {name}: no gradient at all");
                let original = parameter.copy().unwrap();
                let h = 1e-6;
                let at = |by: f64| {
                    let moved = (&original + (gradient * (by / norm)).unwrap()).unwrap();
                    parameter.slice_set(&moved, 0, 0).unwrap();
                    loss(generator)
                };
                let slope = (at(h) - at(-h)) / (2.0 * h);
                parameter.slice_set(&original, 0, 0).unwrap();
                let off = (slope / norm - 1.0).abs();
                assert!(
                    off < 1e-4,
                    "{adversarial} {name}: slope {slope} for a gradient of norm {norm}"
                );
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
    let run = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut model = Ganomaly::new(tiny(), seed).unwrap();
            for step in 0..3 {
                model.step(&batch(&tiny(), 8, step)).unwrap();
            }
            let state = model.state().unwrap();
            let scores = model.score(&batch(&tiny(), 5, 7), BatchNormMode::Running).unwrap();
            (weights::to_safetensors(&state, None).unwrap(), scores)
        })
    };
    let one = run(1, 0);
    assert!(run(2, 0) == one && run(3, 0) == one);
    assert!(run(1, 1) != one, "another seed gives another network");
}

#[test]
fn running_scores_are_a_images_own_and_scoring_learns_nothing() {
    let mut model = Ganomaly::new(tiny(), 0).unwrap();
    model.step(&batch(&tiny(), 8, 0)).unwrap();
    let before = weights::to_safetensors(&model.state().unwrap(), None).unwrap();
    let x = batch(&tiny(), 6, 2);
    let together = model.score(&x, BatchNormMode::Running).unwrap();
    for i in 0..6 {
        let alone = model.score(&x.narrow(0, i, 1).unwrap(), BatchNormMode::Running).unwrap();
        assert!((alone.of("l2")[0] / together.of("l2")[i] - 1.0).abs() < 1e-5);
    }
    let batch_mode = model.score(&x, BatchNormMode::Batch).unwrap();
    let part = model.score(&x.narrow(0, 0, 3).unwrap(), BatchNormMode::Batch).unwrap();
    assert!(
        (part.of("l2")[0] / batch_mode.of("l2")[0] - 1.0).abs() > 1e-5,
        "batch scores depend on the batch"
    );
    assert!(together.of("l1").iter().chain(together.of("con")).all(|s| *s > 0.0));
    assert!(weights::to_safetensors(&model.state().unwrap(), None).unwrap() == before);
}

#[test]
fn training_reduces_the_generators_loss() {
    let config = GanomalyConfig { nz: 16, ngf: 8, extralayers: 0, lr: 2e-3, ..tiny() };
    let mut model = Ganomaly::new(config.clone(), 0).unwrap();
    // Bright rectangles on a dark background, which a small network can learn to draw.
    let x: Vec<f32> = (0..16 * 2 * 256)
        .map(|i| (i / 512, i / 16 % 16, i % 16))
        .map(
            |(n, y, x)| {
                if x > n % 5 && x < n % 5 + 8 && y > n / 4 && y < n / 4 + 9 { 0.8 } else { -0.8 }
            },
        )
        .collect();
    let x = Tensor::from_vec(x, (16, 2, 16, 16), &Device::Cpu).unwrap();
    let first = model.step(&x).unwrap().err_g;
    let last = (0..150).map(|_| model.step(&x).unwrap().err_g).last().unwrap();
    assert!(last < 0.7 * first, "{first} to {last}");
}

#[test]
fn a_vanished_discriminator_loss_reinitialises_it() {
    let config = tiny();
    let mut model = Ganomaly::new(config.clone(), 0).unwrap();
    let forward = model.forward(&batch(&config, 4, 0)).unwrap();
    let gradients = model.gradients(&forward).unwrap();
    let losses = model.losses(&forward).unwrap();
    let moved = |model: &mut Ganomaly, err_d: f64| {
        let before = model.netd.parameters()[0].copy().unwrap();
        let losses = ganomaly_model::ganomaly::Losses { err_d, ..losses };
        model.update(&gradients, &losses).unwrap();
        let after = numbers(&model.netd.parameters()[0]);
        numbers(&before).iter().zip(after).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    assert!(moved(&mut model, 1.1e-5) < 1e-3, "an ordinary Adam step");
    assert!(moved(&mut model, 0.9e-5) > 1e-2, "fresh weights from N(0, 0.02²)");
}

#[test]
fn weights_survive_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let mut model = Ganomaly::new(tiny(), 0).unwrap();
    model.step(&batch(&tiny(), 4, 0)).unwrap();
    let bytes = weights::to_safetensors(&model.state().unwrap(), None).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let mut other = Ganomaly::new(tiny(), 1).unwrap();
    other.load_state(&weights::read_safetensors(&path).unwrap()).unwrap();
    assert!(weights::to_safetensors(&other.state().unwrap(), None).unwrap() == bytes);
}

#[test]
fn parameter_counts_are_the_references() {
    // The published code's counts for these sizes (traces mnist32 and rgb64_extra1).
    for (isize, nc, nz, ngf, extralayers, netg, netd) in
        [(32, 1, 20, 8, 0, 62_128, 10_976), (64, 3, 16, 4, 1, 58_208, 11_720)]
    {
        let config =
            GanomalyConfig { isize, nc, nz, ngf, extralayers, ..GanomalyConfig::default() };
        let model = Ganomaly::new(config, 0).unwrap();
        let count = |p: Vec<Tensor>| p.iter().map(Tensor::elem_count).sum::<usize>();
        assert_eq!(count(model.netg.parameters()), netg);
        assert_eq!(count(model.netd.parameters()), netd);
    }
}

#[test]
fn what_cannot_work_is_refused_with_what_would() {
    let check = |config: GanomalyConfig, expected: &str| {
        let message = Ganomaly::new(config, 0).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    };
    let sizes = "the sizes that work are 16, 32, 64, 128, 256, 512 and 1024";
    for isize in [0, 8, 28, 80, 2048] {
        check(GanomalyConfig { isize, ..tiny() }, &format!("isize = {isize}: {sizes}"));
    }
    check(GanomalyConfig { nc: 0, ..tiny() }, "nc = 0: use 1 to 1024 channels");
    check(GanomalyConfig { ngf: 1, ..tiny() }, "ngf = 1: use 2 to 4096 features");
    check(GanomalyConfig { nz: 0, ..tiny() }, "nz = 0: use 1 to 65536");
    check(GanomalyConfig { w_con: -1.0, ..tiny() }, "w_con = -1: a weight is a finite number");
    check(GanomalyConfig { w_adv: f64::NAN, ..tiny() }, "w_adv = NaN");
    check(GanomalyConfig { lr: 0.0, ..tiny() }, "lr = 0: use a number above 0");
    check(GanomalyConfig { beta1: 1.0, ..tiny() }, "beta1 = 1: use a number in [0, 1)");

    let mut model = Ganomaly::new(tiny(), 0).unwrap();
    let wrong = Tensor::zeros((2, 3, 16, 16), DType::F32, &Device::Cpu).unwrap();
    let error = model.train_step(&wrong).unwrap_err();
    assert!(matches!(error, Error::BatchShape { .. }));
    assert_eq!(
        error.to_string(),
        "a batch of shape [2, 3, 16, 16] was given, but this network takes [N, 2, 16, 16]"
    );
    let mut state = model.state().unwrap();
    let lost = state.remove(0).0;
    let message = model.load_state(&state).unwrap_err().to_string();
    assert_eq!(message, format!("the weights have no tensor named {lost:?}"));
    let mut state = model.state().unwrap();
    state[0].1 = wrong.clone();
    assert!(model.load_state(&state).unwrap_err().to_string().contains("but this network needs"));
    let mut state = model.state().unwrap();
    state.push(("stray".into(), wrong));
    assert!(model.load_state(&state).unwrap_err().to_string().contains("\"stray\" among them"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("not-weights");
    std::fs::write(&path, b"not weights").unwrap();
    for error in [
        weights::read_safetensors(&path).unwrap_err(),
        weights::read_pth_file(&path, "").unwrap_err(),
    ] {
        assert!(error.to_string().contains("not-weights: cannot be read as weights"), "{error}");
    }
}

fn bits(state: &[(String, Tensor)]) -> Vec<(String, Vec<u64>)> {
    let of = |t: &Tensor| numbers(t).into_iter().map(f64::to_bits).collect();
    state.iter().map(|(name, t)| (name.clone(), of(t))).collect()
}

/// Another detector that resumes from a training state takes the same steps, including
/// re-initialisations of the discriminator.
#[test]
fn training_resumes_from_its_state_to_the_bit() {
    let config = tiny();
    let mut first = Ganomaly::new(config.clone(), 7).unwrap();
    for step in 0..3 {
        first.step(&batch(&config, 4, step)).unwrap();
    }
    // An odd number of draws, so that the stream is inside a block.
    first.draw_discriminator().unwrap();
    let state = first.training_state().unwrap();
    let mut second = Ganomaly::new(config.clone(), 7).unwrap();
    second.step(&batch(&config, 4, 99)).unwrap();
    second.load_training_state(&state).unwrap();
    for step in 3..6 {
        let x = batch(&config, 4, step);
        assert_eq!(first.step(&x).unwrap(), second.step(&x).unwrap());
        for (a, b) in
            first.draw_discriminator().unwrap().iter().zip(second.draw_discriminator().unwrap())
        {
            assert_eq!(numbers(a), numbers(&b));
        }
    }
    let (a, b) = (first.training_state().unwrap(), second.training_state().unwrap());
    assert_eq!(bits(&a), bits(&b));
    assert_ne!(bits(&a), bits(&state), "the state is a copy");
}

#[test]
fn the_random_stream_resumes_anywhere() {
    use rand_chacha::rand_core::Rng;
    let mut whole = random::stream(5, b"weights ");
    for drawn in 0..300u32 {
        let mut other = random::stream(5, b"weights ");
        other.set_word_pos(whole.get_word_pos());
        assert_eq!(other.next_u64(), whole.clone().next_u64(), "after {drawn} words");
        whole.next_u32();
    }
}

#[test]
fn a_wrong_training_state_changes_nothing() {
    let mut model = Ganomaly::new(tiny(), 1).unwrap();
    model.step(&batch(&tiny(), 4, 0)).unwrap();
    let before = bits(&model.training_state().unwrap());
    let good = Ganomaly::new(tiny(), 2).unwrap().training_state().unwrap();
    let with = |name: &str, tensor: Tensor| {
        let mut state = good.clone();
        state.iter_mut().find(|(n, _)| n == name).unwrap().1 = tensor;
        state
    };
    let zero = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
    let mut more = good.clone();
    more.push(("adam_g.third".into(), zero.clone()));
    let mut fewer = good.clone();
    fewer.retain(|(name, _)| name != "adam_d.steps");
    for (state, words) in [
        (with("random.position", zero.clone()), "\"random.position\""),
        (with("adam_g.steps", Tensor::new(-1i64, &Device::Cpu).unwrap()), "is -1"),
        (with("netd.classifier.0.weight", zero.clone()), "netd.classifier.0.weight"),
        (with("adam_d.second.netd.classifier.0.weight", zero), "adam_d.second"),
        (more, "adam_g.third"),
        (fewer, "adam_d.steps"),
    ] {
        let error = model.load_training_state(&state).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(bits(&model.training_state().unwrap()), before, "{words}");
    }
}

#[test]
fn one_image_is_counted_layer_by_layer() {
    let model = Ganomaly::new(GanomalyConfig::default(), 0).unwrap();
    let (step, score) = model.multiply_adds(1).unwrap();
    // Each layer's outputs times the elements of a patch: 1 → 64 → 128 → 256 → 100 channels at
    // 16, 8, 4 and 1.
    let pyramid = 256 * 64 * 16 + 64 * 128 * 1024 + 16 * 256 * 2048;
    let encoder = pyramid + 100 * 4096;
    assert_eq!(score, 3 * encoder);
    let first = 256 * 64 * 16;
    assert_eq!(step, 9 * encoder - first + 7 * pyramid - 2 * first + 6 * 4096);
}
