//! Training steps against the reference, by the kernels' layers and by candle-nn's own, and weights
//! in candle-nn's containers.

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use ganomaly_model::ganomaly::{Adversarial, Ganomaly, GanomalyConfig};
use ganomaly_model::kernels::{autograd, layout};
use ganomaly_model::reference::Reference;
use ganomaly_model::{Detector, random, weights};

fn small() -> GanomalyConfig {
    GanomalyConfig { isize: 32, nc: 1, nz: 7, ngf: 4, ..GanomalyConfig::default() }
}

fn deviation(a: &Tensor, b: &Tensor) -> f64 {
    let norm = |t: &Tensor| t.sqr()?.sum_all()?.sqrt()?.to_scalar::<f64>();
    (|| Ok::<_, candle_core::Error>(norm(&(a - b)?)? / norm(b)?))().unwrap()
}

fn variable(vars: &VarMap, name: &str) -> Tensor {
    vars.data().lock().unwrap()[name].as_tensor().clone()
}

/// Two steps: losses, gradients, and then all weights and the generator's running statistics. (The
/// discriminator's are moved three times per step here, not four, and nothing reads them.)
fn check(config: &GanomalyConfig) {
    let mut model = Ganomaly::with_dtype(config.clone(), 5, DType::F64).unwrap();
    let vars = model.to_var_map().unwrap();
    let mut reference = Reference::new(config.clone(), &vars, DType::F64).unwrap();
    assert_eq!(vars.all_vars().len(), model.state().unwrap().len(), "the names are the same");
    for step in 0..2 {
        let shape = [6, config.nc, config.isize, config.isize];
        let mut rng = random::stream(step, b"images  ");
        let x = random::normal(&mut rng, (0.0, 0.6), &shape, DType::F64).unwrap();
        let forward = model.forward(&x).unwrap();
        let (ours, gradients) =
            (model.losses(&forward).unwrap(), model.gradients(&forward).unwrap());
        let theirs = reference.gradients(&x).unwrap();
        for ((name, ours), (_, theirs)) in ours.named().into_iter().zip(theirs.0.named()) {
            assert!((theirs / ours - 1.0).abs() < 1e-12, "{name}: {ours}, reference {theirs}");
        }
        let nets = [
            (model.netg.parameter_names(), &gradients.netg, &theirs.1),
            (model.netd.parameter_names(), &gradients.netd, &theirs.2),
        ];
        for (names, ours, theirs) in nets {
            for (name, ours) in names.iter().zip(ours) {
                let ours = if ours.rank() == 4 {
                    layout::oikk_from_kernel(ours).unwrap()
                } else {
                    ours.clone()
                };
                let off = deviation(&ours, theirs.get(&variable(&vars, name)).unwrap());
                assert!(off < 1e-9, "{name}: the gradients differ by {off}");
            }
        }
        model.update(&gradients, &ours).unwrap();
        reference.update(&theirs).unwrap();
    }
    for (name, ours) in model.state().unwrap() {
        if name.ends_with("tracked") || name.starts_with("netd") && name.contains("running") {
            continue;
        }
        let off = deviation(&ours, &variable(&vars, &name));
        assert!(off < 1e-9, "{name}: {off} apart after two steps");
    }
}

#[test]
fn steps_equal_the_references() {
    for kernels in [true, false] {
        autograd::enable_kernels(kernels);
        check(&small());
        check(&GanomalyConfig { isize: 16, nc: 3, extralayers: 1, ..small() });
        check(&GanomalyConfig { isize: 64, ngf: 2, extralayers: 2, ..small() });
        let bce = Adversarial::Bce;
        check(&GanomalyConfig { adversarial: bce, w_adv: 3.0, w_enc: 0.5, ..small() });
    }
}

#[test]
fn weights_go_to_candle_nns_containers_and_back() {
    let mut model = Ganomaly::new(small(), 0).unwrap();
    let x = Tensor::ones((4, 1, 32, 32), DType::F32, &Device::Cpu).unwrap();
    model.train_step(&x).unwrap();
    let vars = model.to_var_map().unwrap();
    let bytes = |model: &Ganomaly| weights::to_safetensors(&model.state().unwrap(), None).unwrap();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let other = Ganomaly::from_var_builder(small(), 1, &vb).unwrap();
    assert!(bytes(&other) == bytes(&model));

    let before = bytes(&model);
    model.train_step(&x).unwrap();
    assert!(bytes(&model) != before, "the step changes weights");
    model.load_var_builder(&vb).unwrap();
    assert!(bytes(&model) == before, "but not the copies");

    // A network that candle-nn made has no counters.
    let fresh = VarMap::new();
    Reference::new(small(), &fresh, DType::F32).unwrap();
    let vb = VarBuilder::from_varmap(&fresh, DType::F32, &Device::Cpu);
    model.load_var_builder(&vb).unwrap();
    let name = "netg.encoder1.main.final-16-1-conv.weight";
    let loaded = weights::named(&model.state().unwrap(), name).unwrap();
    assert_eq!(
        loaded.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
        variable(&fresh, name).flatten_all().unwrap().to_vec1::<f32>().unwrap()
    );

    let before = bytes(&model);
    fresh.data().lock().unwrap().remove(name);
    let error = model.load_var_builder(&vb).unwrap_err().to_string();
    assert_eq!(error, format!("there is no tensor named {name:?}"));
    let larger = GanomalyConfig { ngf: 8, ..small() };
    assert!(Ganomaly::from_var_builder(larger, 0, &vb).is_err());
    assert!(bytes(&model) == before);
}
