//! Variables of candle-nn as a detector's state.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, VarBuilder, VarMap};
use ganomaly_kernels::AdamConfig;
use ganomaly_kernels::autograd::{Conv2d, Conv2dConfig, conv2d};
use ganomaly_model::variables::Variables;

fn net(seed: u64) -> (Conv2d, Variables) {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let conv = conv2d(1, 2, 3, Conv2dConfig::default(), vb.pp("conv")).unwrap();
    let variables = Variables::new(&vars, seed, &[("conv", AdamConfig::default())]).unwrap();
    (conv, variables)
}

fn step((conv, variables): &mut (Conv2d, Variables)) {
    let x = Tensor::ones((1, 1, 5, 5), DType::F32, &Device::Cpu).unwrap();
    let loss = conv.forward(&x).unwrap().sqr().unwrap().mean_all().unwrap();
    variables.step(0, &loss.backward().unwrap()).unwrap();
}

fn bits(variables: &Variables) -> Vec<(String, Vec<u64>)> {
    let bits = |tensor: &Tensor| {
        let tensor = tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
        tensor.to_vec1::<f64>().unwrap().into_iter().map(f64::to_bits).collect()
    };
    let state = variables.training_state().unwrap();
    state.iter().map(|(name, tensor)| (name.clone(), bits(tensor))).collect()
}

#[test]
fn a_network_that_resumes_takes_the_same_steps() {
    let mut whole = net(7);
    assert!(bits(&whole.1) == bits(&net(7).1) && bits(&whole.1) != bits(&net(8).1));
    step(&mut whole);
    let kept = whole.1.training_state().unwrap();
    step(&mut whole);
    let mut resumed = net(0);
    resumed.1.load_training_state(&kept).unwrap();
    step(&mut resumed);
    assert!(bits(&resumed.1) == bits(&whole.1));
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() {
    let mut net = net(1);
    step(&mut net);
    let before = bits(&net.1);
    let state = net.1.training_state().unwrap();
    let mut missing = state.clone();
    missing.remove(0);
    let mut stray = state.clone();
    stray.push(("stray".into(), state[0].1.clone()));
    let mut shape = state.clone();
    shape[0].1 = Tensor::ones(9, DType::F32, &Device::Cpu).unwrap();
    let mut uncounted = state.clone();
    uncounted.retain(|(name, _)| !name.ends_with(".steps"));
    for (wrong, words) in [
        (missing, "no tensor named \"conv.bias\""),
        (stray, "no tensor \"stray\""),
        (shape, "\"conv.bias\" is F32 of shape [9]"),
        (uncounted, "\"adam0.steps\""),
    ] {
        let error = net.1.load_training_state(&wrong).unwrap_err().to_string();
        assert!(error.contains(words), "{error:?} should contain {words:?}");
        assert!(bits(&net.1) == before, "{words}");
    }
}
