//! Each differentiable layer against candle-nn's own and candle's autograd, in float64: the forward
//! pass, every gradient and the running statistics.

mod common;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Module, ModuleT, Optimizer, VarBuilder, VarMap};
use common::{deviation, random};
use ganomaly_kernels::autograd::{
    BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig,
    VarAdam, activate, batch_norm2d, cat_channels, channels_first, channels_last, conv_transpose2d,
    conv2d, conv2d_no_bias, l1, masked, mse,
};
use ganomaly_kernels::{Activation, AdamConfig, layout};

const ACTIVATIONS: [Activation; 4] =
    [Activation::Identity, Activation::RELU, Activation::LeakyRelu(0.2), Activation::Tanh];

/// An activation by candle's own operations.
fn candles(x: Tensor, f: Activation) -> Result<Tensor> {
    match f {
        Activation::Identity => Ok(x),
        Activation::LeakyRelu(0.0) => x.relu(),
        Activation::LeakyRelu(slope) => candle_nn::ops::leaky_relu(&x, slope),
        Activation::Tanh => x.tanh(),
    }
}

fn var(shape: &[usize], seed: u64) -> Var {
    Var::from_tensor(&random(shape, seed)).unwrap()
}

/// Gradients of a sum of the output's elements with random weights.
fn gradients(y: &Tensor) -> Result<GradStore> {
    y.mul(&random(y.shape(), 99))?.sum_all()?.backward()
}

/// Two outputs and their gradients by the given variables.
fn check(what: &str, ours: Tensor, theirs: Tensor, vars: &[&Var]) -> Result<()> {
    let off = deviation(&ours, &theirs);
    assert!(off < 1e-12, "{what}: the outputs differ by {off:e}");
    let (ours, theirs) = (gradients(&ours)?, gradients(&theirs)?);
    for (which, var) in vars.iter().enumerate() {
        let off = deviation(ours.get(var).unwrap(), theirs.get(var).unwrap());
        assert!(off < 1e-12, "{what}: the gradients of variable {which} differ by {off:e}");
    }
    Ok(())
}

/// ([N, I, H, W], O, kernel, stride, padding): the networks' own kinds, unusual ones, and enough
/// images and channels for minimal filtering.
const CASES: &[([usize; 4], usize, usize, usize, usize)] = &[
    ([1, 1, 4, 4], 1, 4, 2, 1),
    ([3, 5, 8, 8], 7, 4, 2, 1),
    ([24, 16, 8, 8], 16, 4, 2, 1),
    ([13, 32, 16, 16], 16, 4, 2, 1),
    ([5, 13, 4, 4], 11, 4, 1, 0),
    ([4, 6, 1, 1], 3, 1, 1, 0),
    ([70, 1100, 1, 1], 35, 1, 1, 0),
    ([2, 3, 7, 7], 4, 3, 1, 1),
    ([2, 3, 9, 7], 4, 3, 2, 0),
    ([2, 1, 6, 6], 5, 2, 3, 1),
    ([3, 2, 5, 5], 3, 5, 1, 4),
    ([2, 4, 7, 7], 1, 1, 2, 0),
];

#[test]
fn convolutions_equal_candle_nns() -> Result<()> {
    for (case, &(shape, o, k, stride, padding)) in CASES.iter().enumerate() {
        let config = Conv2dConfig { stride, padding, ..Default::default() };
        let (x, w, b) = (var(&shape, 1), var(&[o, shape[1], k, k], 2), var(&[o], 3));
        for (f, bias) in ACTIVATIONS.into_iter().flat_map(|f| [(f, true), (f, false)]) {
            let bias = bias.then(|| b.as_tensor().clone());
            let theirs = candle_nn::Conv2d::new(w.as_tensor().clone(), bias.clone(), config);
            let ours = Conv2d::from(theirs.clone()).then(f);
            let vars = [&x, &w, &b];
            let vars = &vars[..if bias.is_some() { 3 } else { 2 }];
            let what = format!("case {case} with {f:?}");
            check(&what, ours.forward(&x)?, candles(theirs.forward(&x)?, f)?, vars)?;
            let constant = gradients(&ours.frozen().forward(&x)?)?;
            assert!(constant.get(&w).is_none() && constant.get(&b).is_none());
            let learning = gradients(&ours.forward(&x)?)?;
            assert_eq!(deviation(constant.get(&x).unwrap(), learning.get(&x).unwrap()), 0.0);
        }
    }
    Ok(())
}

#[test]
fn transposed_convolutions_equal_candle_nns() -> Result<()> {
    for (case, &([n, i, h, wd], o, k, stride, padding)) in CASES.iter().enumerate() {
        for output_padding in 0..stride {
            if (h.min(wd) - 1) * stride + k + output_padding <= 2 * padding {
                continue;
            }
            let config =
                ConvTranspose2dConfig { stride, padding, output_padding, ..Default::default() };
            let (x, w, b) = (var(&[n, i, h, wd], 1), var(&[i, o, k, k], 2), var(&[o], 3));
            for (f, bias) in ACTIVATIONS.into_iter().flat_map(|f| [(f, true), (f, false)]) {
                let bias = bias.then(|| b.as_tensor().clone());
                let theirs =
                    candle_nn::ConvTranspose2d::new(w.as_tensor().clone(), bias.clone(), config);
                let ours = ConvTranspose2d::from(theirs.clone()).then(f);
                let vars = [&x, &w, &b];
                let vars = &vars[..if bias.is_some() { 3 } else { 2 }];
                let what = format!("case {case} with {f:?}");
                check(&what, ours.forward(&x)?, candles(theirs.forward(&x)?, f)?, vars)?;
                let constant = gradients(&ours.frozen().forward(&x)?)?;
                assert!(constant.get(&w).is_none() && constant.get(&b).is_none());
            }
        }
    }
    Ok(())
}

#[test]
fn batch_norms_equal_candle_nns() -> Result<()> {
    let one = |affine: bool, eps: f64, f: Activation, shape: &[usize]| -> Result<()> {
        let c = shape[1];
        let (x, w, b) = (var(shape, 1), var(&[c], 2), var(&[c], 3));
        let config = BatchNormConfig { eps, affine, momentum: 0.3, ..Default::default() };
        // Two copies of the running statistics, which both layers change.
        let map = || {
            let vars = VarMap::new();
            let mut all = vars.data().lock().unwrap();
            all.extend([("weight".into(), w.clone()), ("bias".into(), b.clone())]);
            all.insert("running_mean".into(), var(&[c], 4));
            all.insert("running_var".into(), Var::from_tensor(&random(c, 5).abs()?)?);
            drop(all);
            Ok::<_, candle_core::Error>(vars)
        };
        let (a, b_) = (map()?, map()?);
        let vb = |vars| VarBuilder::from_varmap(vars, DType::F64, &Device::Cpu);
        let ours: BatchNorm2d = batch_norm2d(c, config, vb(&a))?.then(f);
        let theirs = candle_nn::batch_norm(c, config, vb(&b_))?;
        let vars = if affine { vec![&x, &w, &b] } else { vec![&x] };
        for train in [true, false, true] {
            let what = format!("{shape:?}, eps {eps}, {f:?}, training {train}");
            let expected = candles(theirs.forward_t(&x, train)?, f)?;
            check(&what, ours.forward_t(&x, train)?, expected, &vars)?;
            let expected = candles(theirs.forward_t(&x, false)?, f)?;
            check(&what, ours.frozen()?.forward_t(&x, false)?, expected, &[&x])?;
            for name in ["running_mean", "running_var"] {
                let of = |vars: &VarMap| vars.data().lock().unwrap()[name].as_tensor().clone();
                assert!(deviation(&of(&a), &of(&b_)) < 1e-12, "{what}: {name}");
            }
        }
        Ok(())
    };
    for (affine, eps) in [(true, 1e-5), (false, 1e-5), (true, 1e-3), (true, 1e-9)] {
        for f in ACTIVATIONS {
            for shape in [[4, 1, 2, 1], [3, 5, 4, 4], [7, 16, 3, 5]] {
                one(affine, eps, f, &shape)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_batch_norm_by_batch_leaves_the_running_statistics() -> Result<()> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    let ours = batch_norm2d(5, 1e-3, vb)?.then(Activation::RELU);
    let x = var(&[6, 5, 3, 3], 1);
    let running = |name: &str| vars.data().lock().unwrap()[name].as_tensor().copy();
    let before = [running("running_mean")?, running("running_var")?];
    let by_batch = ours.by_batch()?.forward_t(&x, true)?;
    let after = [running("running_mean")?, running("running_var")?];
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.to_vec1::<f64>()?, after.to_vec1::<f64>()?);
    }
    check("by batch", by_batch, ours.forward_t(&x, true)?, &[&x])?;

    // The biased variance of 6 × 9 numbers, after a momentum of 0.1, twice.
    let unbiased = running("running_var")?.to_vec1::<f64>()?;
    let set = |name: &str, value: &Tensor| vars.data().lock().unwrap()[name].set(value);
    set("running_var", &before[1])?;
    ours.biased().forward_t(&x, true)?;
    for (unbiased, biased) in unbiased.iter().zip(running("running_var")?.to_vec1::<f64>()?) {
        let expected = 0.9 + (unbiased - 0.9) * 53.0 / 54.0;
        assert!((biased - expected).abs() < 1e-12, "{biased}, expected {expected}");
    }
    Ok(())
}

#[test]
fn joined_channels_equal_candles() -> Result<()> {
    let (a, b) = (var(&[3, 4, 5, 6], 1), var(&[3, 2, 5, 6], 2));
    let config = Conv2dConfig { padding: 1, ..Default::default() };
    let (w, v) = (var(&[4, 4, 3, 3], 3), var(&[5, 6, 3, 3], 4));
    let ours = Conv2d::new(w.as_tensor().clone(), None, config).forward(&a)?;
    let next = Conv2d::new(v.as_tensor().clone(), None, config);
    let ours = next.forward(&cat_channels(&ours, &b)?)?;
    let theirs = candle_nn::Conv2d::new(w.as_tensor().clone(), None, config).forward(&a)?;
    let next = candle_nn::Conv2d::new(v.as_tensor().clone(), None, config);
    let theirs = next.forward(&Tensor::cat(&[&theirs, b.as_tensor()], 1)?)?;
    check("joined", ours, theirs, &[&a, &b, &w, &v])
}

#[test]
fn masks_and_channels_first_equal_candles() -> Result<()> {
    let (x, mask) = (var(&[3, 4, 5, 6], 1), random((3, 7, 5, 6), 2));
    let config = Conv2dConfig { padding: 1, ..Default::default() };
    let w = var(&[7, 4, 3, 3], 3);
    let theirs = candle_nn::Conv2d::new(w.as_tensor().clone(), None, config);
    let ours = masked(&Conv2d::from(theirs.clone()).forward(&x)?, &mask)?;
    let theirs = (theirs.forward(&x)? * &mask)?;
    check("masked", channels_first(&ours)?.flatten_from(1)?, theirs.flatten_from(1)?, &[&x, &w])?;
    check("masked", masked(&x, x.as_tensor())?, (x.as_tensor() * x.detach())?, &[&x])
}

/// A row of a dense layer, and its gradient, are the same in any batch.
#[test]
fn dense_rows_are_independent() -> Result<()> {
    let single = |t: Tensor| t.to_dtype(DType::F32);
    let w = single(random((40, 1500, 1, 1), 1))?;
    let dense = Conv2d::new(w, None, Conv2dConfig::default());
    let all = single(random((70, 1500, 1, 1), 2))?;
    let of = |x: Tensor| -> Result<[Tensor; 2]> {
        let x = Var::from_tensor(&x)?;
        let y = dense.forward(&x)?;
        let gradient = y.sqr()?.sum_all()?.backward()?.remove(&x).unwrap();
        Ok([y.detach(), gradient])
    };
    let together = of(all.clone())?;
    for (from, n) in [(0, 1), (69, 1), (3, 9), (1, 64)] {
        let alone = of(all.narrow(0, from, n)?)?;
        for (alone, together) in alone.iter().zip(&together) {
            let part = together.narrow(0, from, n)?;
            assert_eq!(deviation(alone, &part), 0.0, "{n} images from {from}");
        }
    }
    Ok(())
}

/// In float32, as near to float64 as its sums allow.
#[test]
fn dense_layers_are_precise() -> Result<()> {
    for (n, i, o) in [(1, 16, 64), (4, 64, 392), (4, 196, 64), (64, 1500, 40), (3, 40, 1)] {
        let [x, w, dy] = [[n, i, 1, 1], [o, i, 1, 1], [n, o, 1, 1]]
            .map(|shape| random(shape.as_slice(), (n + shape[0] + shape[1]) as u64));
        let of = |dtype: DType| -> Result<[Tensor; 3]> {
            let [x, w, dy] = [&x, &w, &dy].map(|t| t.to_dtype(DType::F32).unwrap().to_dtype(dtype));
            let (x, w) = (Var::from_tensor(&x?)?, Var::from_tensor(&w?)?);
            let y =
                Conv2d::new(w.as_tensor().clone(), None, Conv2dConfig::default()).forward(&x)?;
            let mut gradients = (&y * dy?)?.sum_all()?.backward()?;
            Ok([y.detach(), gradients.remove(&x).unwrap(), gradients.remove(&w).unwrap()])
        };
        for (single, exact) in of(DType::F32)?.iter().zip(&of(DType::F64)?) {
            let off = deviation(&single.to_dtype(DType::F64)?, exact);
            assert!(off < 1e-6, "{n} images, {i} to {o}: {off:e}");
        }
    }
    Ok(())
}

#[test]
fn an_early_epsilon_stands_beside_the_uncorrected_root() -> Result<()> {
    let x = var(&[3], 1);
    let before = x.as_tensor().copy()?.to_vec1::<f64>()?;
    let config = AdamConfig { lr: 0.1, eps: 0.01, early_eps: true, ..Default::default() };
    let gradient = random(&[3], 2);
    let loss = (x.as_tensor() * &gradient)?.sum_all()?;
    VarAdam::new(vec![x.clone()], config)?.step(&loss.backward()?)?;
    let after = x.to_vec1::<f64>()?;
    for ((before, after), g) in before.iter().zip(after).zip(gradient.to_vec1::<f64>()?) {
        // TensorFlow 1: lr·√(1−β₂)/(1−β₁) · m / (√v + ε).
        let (m, v) = (0.5 * g, 0.001 * g * g);
        let expected = before - 0.1 * 0.001f64.sqrt() / 0.5 * m / (v.sqrt() + 0.01);
        assert!((after - expected).abs() < 1e-12, "{after}, expected {expected}");
    }
    Ok(())
}

/// A network that also uses candle's own operations between the layers, and outputs twice.
#[test]
fn a_network_equals_candle_nns() -> Result<()> {
    let vars = VarMap::new();
    let vb = || VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    let halve = Conv2dConfig { stride: 2, padding: 1, ..Default::default() };
    let double = ConvTranspose2dConfig { stride: 2, padding: 1, ..Default::default() };
    let f = Activation::LeakyRelu(0.2);
    let x = var(&[4, 3, 8, 8], 1);
    let ours = {
        let down = conv2d_no_bias(3, 6, 4, halve, vb().pp("down"))?;
        let norm = batch_norm2d(6, 1e-5, vb().pp("norm"))?.then(f);
        let same = conv2d(6, 6, 1, Conv2dConfig::default(), vb().pp("same"))?;
        let up = conv_transpose2d(6, 2, 4, double, vb().pp("up"))?;
        let a = norm.forward_t(&down.forward(&x)?, true)?;
        let b = activate(&(same.forward(&a)? + a.sqr()?)?, f)?;
        let b = (activate(&same.forward(&b)?, Activation::Tanh)? + &a)?;
        let last = channels_last(&up.forward(&b.flatten_from(2)?.reshape(b.shape())?)?)?;
        layout::nchw_from_nhwc(&last)?
    };
    let theirs = {
        let down = candle_nn::conv2d_no_bias(3, 6, 4, halve, vb().pp("down"))?;
        let norm = candle_nn::batch_norm(6, 1e-5, vb().pp("norm"))?;
        let same = candle_nn::conv2d(6, 6, 1, Conv2dConfig::default(), vb().pp("same"))?;
        let up = candle_nn::conv_transpose2d(6, 2, 4, double, vb().pp("up"))?;
        let a = candles(norm.forward_t(&down.forward(&x)?, true)?, f)?;
        let b = candles((same.forward(&a)? + a.sqr()?)?, f)?;
        let b = (same.forward(&b)?.tanh()? + &a)?;
        up.forward(&b)?
    };
    let all = vars.data().lock().unwrap();
    let learnt = all.iter().filter(|(name, _)| !name.contains("running")).map(|(_, var)| var);
    let learnt: Vec<&Var> = learnt.chain([&x]).collect();
    assert_eq!(learnt.len(), 8);
    check("the network", ours, theirs, &learnt)
}

#[test]
fn losses_equal_candles() -> Result<()> {
    for shape in [vec![3, 4, 5, 6], vec![2, 7, 1, 1], vec![3, 5]] {
        let (a, b) = (var(&shape, 1), var(&shape, 2));
        check("mse", mse(&a, &b)?, candle_nn::loss::mse(&a, &b)?, &[&a, &b])?;
        check("l1", l1(&a, &b)?, (a.as_tensor() - b.as_tensor())?.abs()?.mean_all()?, &[&a, &b])?;
        // Of a layer's output, and of the same tensor twice.
        if shape.len() == 4 {
            let conv =
                Conv2d::new(var(&[4, shape[1], 1, 1], 3).into_inner(), None, Default::default());
            let y = conv.forward(&a)?;
            let other = random(y.shape(), 4);
            check(
                "mse",
                (mse(&y, &other)? + mse(&y, &y)?)?,
                candle_nn::loss::mse(&y, &other)?,
                &[&a],
            )?;
        }
    }
    Ok(())
}

#[test]
fn a_layers_output_is_passed_on_without_a_copy() -> Result<()> {
    let conv = Conv2d::new(random((4, 3, 3, 3), 1), None, Conv2dConfig::default());
    let learning = Conv2d::new(var(&[4, 3, 3, 3], 1).into_inner(), None, Conv2dConfig::default());
    for conv in [conv, learning] {
        let y = conv.forward(&random((2, 3, 5, 6), 2))?;
        let address = |t: &Tensor| {
            let (storage, _) = t.storage_and_layout();
            let candle_core::Storage::Cpu(storage) = &*storage else { panic!("not on the CPU") };
            storage.as_slice::<f64>().map(<[f64]>::as_ptr)
        };
        let last = channels_last(&y)?;
        assert!(last.is_contiguous());
        assert_eq!(address(&last)?, address(&y)?);
    }
    Ok(())
}

/// What the kernels do not take goes through candle's own operations, errors included.
#[test]
fn anything_else_is_candles() -> Result<()> {
    let (x, w) = (random((2, 4, 7, 7), 1), random((6, 2, 3, 3), 2));
    let mut config = Conv2dConfig { groups: 2, ..Default::default() };
    for (dtype, dilation) in [(DType::F64, 1), (DType::F64, 2), (DType::F16, 1)] {
        config.dilation = dilation;
        let (x, w) = (x.to_dtype(dtype)?, w.to_dtype(dtype)?);
        let theirs = candle_nn::Conv2d::new(w, None, config);
        let ours = Conv2d::from(theirs.clone());
        assert_eq!(deviation(&ours.forward(&x)?, &theirs.forward(&x)?), 0.0);
    }
    let layer = |w: Tensor| Conv2d::new(w, None, Conv2dConfig::default());
    assert!(layer(w.clone()).forward(&x).is_err(), "two channels for four");
    assert!(layer(w.to_dtype(DType::F32)?).forward(&x.narrow(1, 0, 2)?).is_err());
    assert!(layer(random((6, 4, 9, 9), 2)).forward(&x).is_err(), "a kernel larger than the image");
    assert!(layer(w.clone()).forward(&x.flatten_from(2)?).is_err());
    let norm = batch_norm2d(3, 1e-5, VarBuilder::zeros(DType::F64, &Device::Cpu))?;
    assert!(norm.forward_t(&x, true).is_err() && norm.forward_t(&x, false).is_err());
    Ok(())
}

#[test]
fn adam_steps_as_candle_nns() -> Result<()> {
    let (a, b, idle) = (var(&[5], 1), var(&[5], 1), var(&[2], 2));
    let config = AdamConfig { lr: 0.1, ..AdamConfig::default() };
    let mut ours = VarAdam::new(vec![idle.clone(), a.clone()], config)?;
    let AdamConfig { lr, beta1, beta2, eps, .. } = config;
    let params = candle_nn::ParamsAdamW { lr, beta1, beta2, eps, weight_decay: 0.0 };
    let mut theirs = candle_nn::AdamW::new(vec![b.clone()], params)?;
    let before = idle.copy()?;
    for step in 1..5 {
        ours.set_learning_rate(0.1 / step as f64);
        theirs.set_learning_rate(ours.learning_rate());
        ours.backward_step(&a.sqr()?.sum_all()?)?;
        theirs.backward_step(&b.sqr()?.sum_all()?)?;
        assert!(deviation(&a, &b) < 1e-12);
    }
    assert_eq!(deviation(&idle, &before), 0.0);
    Ok(())
}
