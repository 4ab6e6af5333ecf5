//! Tiles of larger images: where they lie, what their scores become, and how training resumes.

use candle_core::{Device, Tensor};
use ganomaly_model::ganomaly::GanomalyConfig;
use ganomaly_model::tiles::{Tiled, Tiles, tiled};
use ganomaly_model::{BatchNormMode, Detector, Input, NamedTensors, Result, Scores, Settings};

/// Scores a tile by its mean, and reconstructs it as it is.
#[derive(Default)]
struct Mean {
    seen: Vec<Vec<usize>>,
}

impl Detector for Mean {
    fn train_step(&mut self, x: &Tensor) -> Result<Vec<(&'static str, f64)>> {
        self.seen.push(x.dims().to_vec());
        Ok(vec![("mean", f64::from(x.mean_all()?.to_scalar::<f32>()?))])
    }

    fn score(&self, x: &Tensor, _: BatchNormMode) -> Result<Scores> {
        let means = x.flatten_from(1)?.mean(1)?.to_vec1::<f32>()?;
        Ok(Scores::new([("mean", means.into_iter().map(f64::from).collect())]))
    }

    fn code(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.flatten_from(1)?.mean_keepdim(1)?)
    }

    fn reconstruct(&self, x: &Tensor, _: BatchNormMode) -> Result<Tensor> {
        Ok(x.clone())
    }

    fn state(&self) -> Result<NamedTensors> {
        Ok(Vec::new())
    }

    fn load_state(&mut self, _: &NamedTensors) -> Result<()> {
        Ok(())
    }

    fn training_state(&self) -> Result<NamedTensors> {
        Ok(Vec::new())
    }

    fn load_training_state(&mut self, _: &NamedTensors) -> Result<()> {
        Ok(())
    }

    fn set_learning_rate(&mut self, _: f64) {}
}

fn image(images: usize, channels: usize, side: usize) -> Tensor {
    let values = (0..images * channels * side * side).map(|i| ((i * 7919) % 1009) as f32 / 1009.0);
    Tensor::from_iter(values, &Device::Cpu)
        .unwrap()
        .reshape((images, channels, side, side))
        .unwrap()
}

const IMAGE: Input = Input { channels: 3, side: 20 };

#[test]
fn tiles_cover_an_image_and_leave_no_seam() {
    let x = image(2, 3, 20);
    for stride in [1, 3, 5, 8] {
        let detector = Tiled::new(Box::<Mean>::default(), Tiles { tile: 8, stride }, IMAGE, 0);
        let made = detector.reconstruct(&x, BatchNormMode::Running).unwrap();
        let difference = (&made - &x).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-6, "stride {stride}");
        // The starts along an axis; the last tile ends at the edge.
        let starts: Vec<usize> = (0..12).step_by(stride).chain([12]).collect();
        let mean = |image: usize, y: usize, x0: usize| {
            let tile = x.get(image).unwrap().narrow(1, y, 8).unwrap().narrow(2, x0, 8).unwrap();
            f64::from(tile.flatten_all().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap())
        };
        let scores = detector.score(&x, BatchNormMode::Running).unwrap();
        for at in 0..2 {
            let all: Vec<f64> = starts
                .iter()
                .flat_map(|&y| starts.iter().map(move |&x| (y, x)))
                .map(|(y, x)| mean(at, y, x))
                .collect();
            let highest = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let average = all.iter().sum::<f64>() / all.len() as f64;
            assert!((scores.of("mean")[at] - highest).abs() < 1e-6);
            assert!((scores.of("mean_mean")[at] - average).abs() < 1e-6);
        }
        // An image's score is its own.
        let alone = detector.score(&x.narrow(0, 1, 1).unwrap(), BatchNormMode::Running).unwrap();
        assert_eq!(alone.of("mean")[0], scores.of("mean")[1]);
        assert_eq!(detector.code(&x).unwrap().dims(), [2, 1]);
    }
    let detector = Tiled::new(Box::<Mean>::default(), Tiles { tile: 8, stride: 4 }, IMAGE, 0);
    assert!(detector.score(&x, BatchNormMode::Batch).is_err());
    let error = detector.score(&image(1, 3, 16), BatchNormMode::Running).unwrap_err().to_string();
    assert!(error.contains("takes [N, 3, 20, 20]"), "{error}");
}

#[test]
fn training_on_tiles_resumes_exactly() {
    let tiles = Tiles { tile: 16, stride: 8 };
    let settings = GanomalyConfig { nz: 4, ngf: 4, ..GanomalyConfig::default() };
    let fresh = || {
        let inner = settings.build(Input { side: 16, ..IMAGE }, 5).unwrap();
        Tiled::new(inner, tiles, IMAGE, 5)
    };
    let x = image(4, 3, 20);
    let mut whole = fresh();
    let losses: Vec<_> = (0..4).map(|_| whole.train_step(&x).unwrap()).collect();
    assert_ne!(losses[0], losses[1]);
    let mut first = fresh();
    for expected in &losses[..2] {
        assert_eq!(first.train_step(&x).unwrap(), *expected);
    }
    let mut second = fresh();
    second.load_training_state(&first.training_state().unwrap()).unwrap();
    for expected in &losses[2..] {
        assert_eq!(second.train_step(&x).unwrap(), *expected);
    }
    let without: NamedTensors = first
        .training_state()
        .unwrap()
        .into_iter()
        .filter(|(name, _)| name != "tiles.steps")
        .collect();
    assert!(second.load_training_state(&without).is_err());
    // Names: every score, then every mean.
    let names = tiled(GanomalyConfig::NAMES);
    assert_eq!(names.scores, ["l2", "l1", "con", "l2_mean", "l1_mean", "con_mean"]);
    let scores = second.score(&x, BatchNormMode::Running).unwrap();
    let columns: Vec<&str> = scores.columns().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(columns, names.scores);
    assert_eq!((names.reconstruction, tiled(GanomalyConfig::NAMES)), ("con_mean", names));
}
