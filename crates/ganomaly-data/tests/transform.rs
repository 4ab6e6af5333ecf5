//! Resizing compared with Pillow, normalisation, and batches.

use candle_core::Device;
use ganomaly_data::datasets::Synthetic;
use ganomaly_data::{
    About, Augment, BatchOptions, Batches, Dataset, Description, EpochAugment, Flip, LabeledImages,
    Normalization, Resize, Result, Transform,
};
use safetensors::SafeTensors;
use std::path::Path;
use std::sync::{Arc, LazyLock};

#[test]
fn resizing_equals_pillows_within_a_grey_level() {
    let golden =
        SafeTensors::deserialize(include_bytes!("golden/resize_pillow.safetensors")).unwrap();
    let input = golden.tensor("in28").unwrap().data().to_vec();
    for (name, size) in [("out20", 20), ("out32", 32)] {
        let expected = golden.tensor(name).unwrap().data().to_vec();
        let transform = Transform {
            image_size: size,
            resize: Resize::Crop,
            normalization: Normalization::uniform(1, 0.0, 1.0),
        };
        let mut worst = 0.0f32;
        for (picture, expected) in input.chunks(784).zip(expected.chunks(size * size)) {
            let mut out = vec![0.0; size * size];
            transform.apply(picture, [1, 28, 28], &mut out).unwrap();
            for (got, &expected) in out.iter().zip(expected) {
                worst = worst.max((got * 255.0 - f32::from(expected)).abs());
            }
        }
        assert!(worst <= 1.001, "{name}: {worst} grey levels off");
    }
}

#[test]
fn normalisation_is_torchvisions_and_keeps_channels_apart() {
    let normalization = Normalization { mean: vec![0.5, 0.1307], std: vec![0.5, 0.3081] };
    let transform = Transform { image_size: 1, resize: Resize::Crop, normalization };
    let mut out = [0.0; 2];
    transform.apply(&[255, 0], [2, 1, 1], &mut out).unwrap();
    assert_eq!(out, [1.0, -0.1307 / 0.3081]);
}

#[test]
fn other_than_square_images_are_cropped_in_the_middle() {
    let transform = Transform {
        image_size: 2,
        resize: Resize::Crop,
        normalization: Normalization::uniform(1, 0.0, 1.0),
    };
    let wide = [9, 255, 0, 9, 9, 0, 255, 9]; // 2 rows of 4
    let mut out = [0.0; 4];
    transform.apply(&wide, [1, 2, 4], &mut out).unwrap();
    assert_eq!(out, [1.0, 0.0, 0.0, 1.0]);
}

fn options(batch_size: usize, drop_last: bool) -> BatchOptions {
    let transform = Transform {
        image_size: 16,
        resize: Resize::Crop,
        normalization: Normalization::uniform(1, 0.5, 0.5),
    };
    BatchOptions {
        batch_size,
        drop_last,
        transform,
        augment: None,
        device: Device::Cpu,
        prefetch: 2,
    }
}

fn images() -> Arc<LabeledImages> {
    static IMAGES: LazyLock<Arc<LabeledImages>> =
        LazyLock::new(|| Arc::new(Synthetic::grey().load(Path::new("")).unwrap()));
    IMAGES.clone()
}

#[test]
fn batches_come_in_order_and_whole() {
    let indices: Vec<u32> = (0..70).rev().collect();
    for (drop_last, sizes) in [(true, vec![32, 32]), (false, vec![32, 32, 6])] {
        let batches = Batches::new(images(), indices.clone(), options(32, drop_last)).unwrap();
        assert_eq!(batches.len(), sizes.len());
        let batches: Vec<_> = batches.map(Result::unwrap).collect();
        assert_eq!(batches.iter().map(|b| b.indices.len()).collect::<Vec<_>>(), sizes);
        let order: Vec<u32> = batches.iter().flat_map(|b| b.indices.clone()).collect();
        assert_eq!(order, indices[..order.len()]);
        assert_eq!(batches[0].images.dims(), [32, 1, 16, 16]);
        let first =
            batches[0].images.get(1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let mut expected = vec![0.0; 256];
        options(1, false)
            .transform
            .apply(images().image(68).unwrap(), [1, 28, 28], &mut expected)
            .unwrap();
        assert_eq!(first, expected);
    }
}

#[test]
fn batches_dropped_early_end_their_thread() {
    for _ in 0..20 {
        let mut batches = Batches::new(images(), (0..4000).collect(), options(8, true)).unwrap();
        batches.next().unwrap().unwrap();
    }
}

#[test]
fn impossible_batches_say_why() {
    let check = |indices: Vec<u32>, options: BatchOptions, expected: &str| {
        let message = Batches::new(images(), indices, options).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should contain {expected:?}");
    };
    check(vec![0], options(0, false), "batch_size = 0: use 1 or more");
    check(vec![0], options(2, true), "1 images do not fill one batch of 2");
    check(vec![], options(2, false), "0 images do not fill one batch");
    check(vec![4000], options(1, false), "there is no image 4000 among 4000");
    let mut none = options(1, false);
    none.transform.image_size = 0;
    check(vec![0], none, "image size 0");
    let mut colour = options(1, false);
    colour.transform.normalization = Normalization::uniform(3, 0.5, 0.5);
    check(vec![0], colour, "does not fit 1 channels");
}

/// A third-party data set: four methods, and none of this crate's internals.
struct Stripes;

impl Dataset for Stripes {
    fn name(&self) -> &str {
        "stripes"
    }
    fn describe(&self, _: &Path) -> Result<Description> {
        Ok(Description::new(["flat", "striped"], [1, 4, 4]))
    }
    fn about(&self) -> About {
        About { description: "stripes", homepage: "here", licence: "MIT", citation: "none" }
    }
    fn load(&self, data_dir: &Path) -> Result<LabeledImages> {
        let pixels = (0..8u8 * 16).map(|i| if i / 16 % 2 == 1 { i % 2 * 255 } else { 7 });
        let labels = (0..8).map(|i| i % 2).collect();
        LabeledImages::new(pixels.collect(), labels, self.describe(data_dir)?, 6)
    }
}

#[test]
fn an_outside_data_set_goes_the_same_way() {
    let dataset: Box<dyn Dataset> = Box::new(Stripes);
    let images = Arc::new(dataset.load(Path::new("")).unwrap());
    assert_eq!(dataset.reference_normalization(1), Normalization::uniform(1, 0.5, 0.5));
    let mut batches = Batches::new(images, vec![1, 0], options(2, true)).unwrap();
    assert_eq!(batches.next().unwrap().unwrap().images.dims(), [2, 1, 16, 16]);
}

/// Image by image, `[S·S]`.
fn augmented(augment: Augment, seed: u64, epoch: u32, indices: &[u32]) -> Vec<Vec<f32>> {
    let augment = Some(EpochAugment { augment, seed, epoch });
    let options = BatchOptions { augment, ..options(indices.len(), false) };
    let mut batches = Batches::new(images(), indices.to_vec(), options).unwrap();
    batches.next().unwrap().unwrap().images.flatten_from(1).unwrap().to_vec2().unwrap()
}

#[test]
fn images_change_by_seed_epoch_and_index_alone() {
    let augment = Augment { flip: Flip::Both, shift: 0.1, rotate: 10.0 };
    let all = augmented(augment, 1, 1, &[3, 4, 5]);
    assert_eq!(all[1..], augmented(augment, 1, 1, &[4, 5]));
    assert_ne!(all[1], augmented(augment, 1, 2, &[4])[0]);
    assert_ne!(all[1], augmented(augment, 2, 1, &[4])[0]);
    let plain = augmented(Augment::default(), 1, 1, &[3, 4]);
    let unchanged = Batches::new(images(), vec![3, 4], options(2, false)).unwrap().next();
    let unchanged = unchanged.unwrap().unwrap().images.flatten_from(1).unwrap();
    assert_eq!(plain, unchanged.to_vec2::<f32>().unwrap());
}

#[test]
fn flips_shifts_and_rotations_are_what_they_are_called() {
    let side = 16;
    let plain = augmented(Augment::default(), 0, 1, &[7]).remove(0);
    let flip = |flip| augmented(Augment { flip, ..Augment::default() }, 0, 1, &[7; 1]).remove(0);
    let at = |image: &[f32], x: usize, y: usize| image[y * side + x];
    let mirrored = |across: bool, down: bool| -> Vec<f32> {
        let turn = |on: bool, v: usize| if on { side - 1 - v } else { v };
        let places = (0..side * side).map(|i| (turn(across, i % side), turn(down, i / side)));
        places.map(|(x, y)| at(&plain, x, y)).collect()
    };
    // Of many epochs, half are mirrored.
    let count = |flip, expected: &[f32]| {
        let one = |epoch| augmented(Augment { flip, ..Augment::default() }, 0, epoch, &[7]);
        (1..=100).filter(|&epoch| one(epoch)[0] == expected).count()
    };
    for (flip, expected) in
        [(Flip::Horizontal, mirrored(true, false)), (Flip::Vertical, mirrored(false, true))]
    {
        let mirrored = count(flip, &expected);
        assert!((35..=65).contains(&mirrored) && mirrored + count(flip, &plain) == 100, "{flip}");
    }
    assert!(flip(Flip::None) == plain && "up".parse::<Flip>().is_err());
    // Shifts are of whole pixels, up to the largest, in both directions; edges continue.
    let shifted = |dx: isize, dy: isize| -> Vec<f32> {
        let from = |v: usize, d: isize| (v as isize - d).clamp(0, side as isize - 1) as usize;
        (0..side * side).map(|i| at(&plain, from(i % side, dx), from(i / side, dy))).collect()
    };
    let all: Vec<Vec<f32>> = (-2..=2)
        .flat_map(|dy| (-2..=2).map(move |dx| (dx, dy)))
        .map(|(x, y)| shifted(x, y))
        .collect();
    let mut seen = vec![false; all.len()];
    for epoch in 1..=300 {
        let image = augmented(Augment { shift: 0.12, ..Augment::default() }, 0, epoch, &[7]);
        let place = all.iter().position(|expected| *expected == image[0]);
        seen[place.expect("a shift by whole pixels")] = true;
    }
    assert!(seen.iter().all(|&seen| seen));
    // A rotation keeps the middle, and the mean roughly.
    let turned = augmented(Augment { rotate: 20.0, ..Augment::default() }, 0, 1, &[7]).remove(0);
    assert_ne!(turned, plain);
    let mean = |image: &[f32]| image.iter().sum::<f32>() / image.len() as f32;
    assert!((mean(&turned) - mean(&plain)).abs() < 0.1);
    for wrong in [
        Augment { shift: 0.6, ..Augment::default() },
        Augment { rotate: -1.0, ..Augment::default() },
    ] {
        assert!(wrong.check().is_err());
    }
}
