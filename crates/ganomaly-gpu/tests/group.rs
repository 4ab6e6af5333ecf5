//! Epochs of a group on the host, and on a GPU if there is one, against the CPU's loop.

mod common;

use candle_core::{DType, Device, Tensor};
use common::{Anywhere, check, flat, machines};
use ganomaly_gpu::{Error, Group, Images, Precision, Result, Size};
use ganomaly_model::ganomaly::{Ganomaly, GanomalyConfig};
use ganomaly_model::{BatchNormMode, Detector, Scores};

const SIZE: Size =
    Size { runs: 3, batch: 4, score_batch: 4, images: 9, order: 13, remainders: Vec::new() };

fn size() -> Size {
    Size { remainders: vec![2, 1], ..SIZE }
}

fn config() -> GanomalyConfig {
    GanomalyConfig { isize: 16, nc: 1, nz: 6, ngf: 8, ..GanomalyConfig::default() }
}

fn models() -> Vec<Ganomaly> {
    let model = |seed| Ganomaly::with_dtype(config(), seed, DType::F64).unwrap();
    (0..SIZE.runs as u64).map(model).collect()
}

fn bytes() -> Vec<u8> {
    let side = config().isize;
    (0..SIZE.images * side * side).map(|i| (i * i % 251) as u8).collect()
}

/// Images `[N, 1, S, S]` in [-1, 1].
fn batch(indices: &[u32]) -> Tensor {
    let side = config().isize;
    let pixels = bytes();
    let image = |&i: &u32| pixels[i as usize * side * side..][..side * side].to_vec();
    let numbers: Vec<f64> =
        indices.iter().flat_map(image).map(|b| f64::from(b) / 127.5 - 1.0).collect();
    Tensor::from_vec(numbers, (indices.len(), 1, side, side), &Device::Cpu).unwrap()
}

/// A group on the machine with this index, if it exists.
fn make(models: &mut [Ganomaly], which: usize) -> Result<Group<Anywhere>> {
    make_of(models, size(), which)
}

fn make_of(models: &mut [Ganomaly], size: Size, which: usize) -> Result<Group<Anywhere>> {
    let table: Vec<f32> = (0..256).map(|byte| byte as f32 / 127.5 - 1.0).collect();
    Group::new(models, Images { bytes: &bytes(), table: &table }, size, |buffers| {
        let mut all = machines(buffers, Precision::F32).into_iter();
        all.nth(which).ok_or(Error::NoCompiler("cc"))
    })
}

/// `None` if there is no such machine.
fn group(models: &mut [Ganomaly], which: usize) -> Option<Group<Anywhere>> {
    match make(models, which) {
        Err(Error::NoCompiler(_)) => None,
        group => Some(group.unwrap()),
    }
}

fn column(scores: &Scores) -> Vec<f32> {
    scores.columns().iter().flat_map(|(_, column)| column).map(|&s| s as f32).collect()
}

#[test]
fn epochs_and_scores_are_those_of_the_cpu() {
    (0..2).for_each(epochs_and_scores_on);
}

fn epochs_and_scores_on(which: usize) {
    let mut models = models();
    // The group's own models, which draw the same random numbers as the CPU's.
    let mut twins = self::models();
    let Some(mut group) = group(&mut twins, which) else { return };
    let limits = group.machine().limits();
    for epoch in 0..2u32 {
        // Two, three and one whole batches, so that the runs' epochs end at different steps.
        let order = |run: u32, len: u32| (0..len).map(|i| (i * 2 + run + epoch) % 9).collect();
        let orders: [Vec<u32>; 3] = [order(0, 8), order(1, 12), order(2, 7)];
        let losses = group.train(&mut twins, &orders).unwrap();
        for ((model, order), losses) in models.iter_mut().zip(&orders).zip(&losses) {
            let steps: Vec<Vec<(&str, f64)>> =
                order.chunks_exact(4).map(|i| model.train_step(&batch(i)).unwrap()).collect();
            for (name, mean) in losses {
                let of = |step: &Vec<(&str, f64)>| step.iter().find(|l| l.0 == *name).unwrap().1;
                let expected = steps.iter().map(of).sum::<f64>() / steps.len() as f64;
                check(name, &[*mean as f32], &[expected as f32], limits.learnt);
            }
        }
    }
    // Whole batches of 4 and remainders of 2, 0 and 1.
    let orders =
        [vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 0], vec![8, 7, 6, 5, 4, 3, 2, 1], vec![4, 5, 6, 7, 0]];
    for mode in [BatchNormMode::Running, BatchNormMode::Batch] {
        let scores = group.score(&orders, mode).unwrap();
        for ((model, order), scores) in models.iter().zip(&orders).zip(&scores) {
            let mut expected = Scores::default();
            for indices in order.chunks(4) {
                expected.append(model.score(&batch(indices), mode).unwrap());
            }
            check("scores", &column(scores), &column(&expected), limits.scores);
        }
    }
    // The downloaded weights are those of the CPU.
    group.download(&twins).unwrap();
    for (ours, theirs) in twins.iter().zip(&models) {
        let (ours, theirs) = (ours.state().unwrap(), theirs.state().unwrap());
        for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
            check(name, &flat(ours), &flat(theirs), limits.learnt);
        }
    }
}

/// A group may be made for orders shorter than a batch; a given batch still gets all its scores.
#[test]
fn a_given_batch_is_scored_whole_whatever_the_orders() {
    (0..2).for_each(given_batch_on);
}

fn given_batch_on(which: usize) {
    let mut models = models();
    for order in [0, 1, 13] {
        let mut group = match make_of(&mut models, Size { order, ..size() }, which) {
            Err(Error::NoCompiler(_)) => return,
            group => group.unwrap(),
        };
        let images = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 0, 1, 2]];
        let given: Vec<f32> = images.iter().flat_map(|p| flat(&batch(p))).collect();
        for mode in [BatchNormMode::Running, BatchNormMode::Batch] {
            let scores = group.score_batch(&given, mode).unwrap();
            for ((model, images), scores) in models.iter().zip(&images).zip(&scores) {
                let expected = model.score(&batch(images), mode).unwrap();
                check("scores", &column(scores), &column(&expected), 1e-4);
            }
        }
        assert_eq!(group.time_scores(1, BatchNormMode::Running).unwrap().len(), 1);
    }
}

#[test]
fn wrong_orders_are_errors() {
    let mut models = models();
    let Some(mut group) = group(&mut models, 0) else { return };
    let mut error =
        |orders: &[Vec<u32>]| group.score(orders, BatchNormMode::Running).unwrap_err().to_string();
    assert!(error(&[vec![0; 10]]).contains("3 runs"));
    assert!(error(&[vec![0; 8], vec![0; 8], vec![0; 11]]).contains("not made for 3"));
    assert!(error(&[vec![0; 16], vec![0; 8], vec![0; 8]]).contains("at most 13"));
    assert!(error(&[vec![9; 10], vec![0; 8], vec![0; 8]]).contains("no image 9"));
    let unequal = make(&mut models[..1], 0).err().map(|e| e.to_string());
    assert_eq!(unequal.as_deref(), Some("1 models for a group of 3 runs"));
}

/// A second group that resumes from the training states of the first takes the same steps.
#[test]
fn a_group_resumes_from_training_states_to_the_bit() {
    let fresh =
        || -> Vec<Ganomaly> { (0..3).map(|seed| Ganomaly::new(config(), seed).unwrap()).collect() };
    let order = |run: u32, epoch: u32| (0..8).map(|i| (i * 2 + run + epoch) % 9).collect();
    let orders = |epoch: u32| -> Vec<Vec<u32>> { (0..3).map(|run| order(run, epoch)).collect() };
    let mut models = fresh();
    let Some(mut whole) = group(&mut models, 0) else { return };
    whole.train(&mut models, &orders(0)).unwrap();
    let states = whole.training_states(&mut models).unwrap();
    let losses: Vec<_> =
        (1..3).map(|epoch| whole.train(&mut models, &orders(epoch)).unwrap()).collect();
    let end = whole.training_states(&mut models).unwrap();

    let mut others = fresh();
    for (model, state) in others.iter_mut().zip(&states) {
        model.load_training_state(state).unwrap();
    }
    let mut resumed = group(&mut others, 0).unwrap();
    let again = resumed.training_states(&mut others).unwrap();
    for (epoch, losses) in (1..3).zip(&losses) {
        assert_eq!(&resumed.train(&mut others, &orders(epoch)).unwrap(), losses);
    }
    let numbers = |t: &Tensor| {
        t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()
    };
    let same = |a: &[ganomaly_model::NamedTensors], b: &[ganomaly_model::NamedTensors]| {
        assert_eq!((a.len(), b.len()), (3, 3));
        for (a, b) in a.iter().zip(b) {
            assert!(!a.is_empty() && a.len() == b.len(), "{} tensors, {}", a.len(), b.len());
            for ((name, a), (other, b)) in a.iter().zip(b) {
                assert_eq!(name, other);
                assert!(a.elem_count() > 0, "{name} is empty");
                assert_eq!(numbers(a), numbers(b), "{name}");
            }
        }
    };
    same(&again, &states);
    same(&resumed.training_states(&mut others).unwrap(), &end);
}
