//! The files that candle-datasets reads, made from images.

use ganomaly_data::LabeledImages;

/// MNIST's files.
pub const IDX: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// CIFAR-10's files.
pub const BATCHES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

/// The contents of [`IDX`], from images of 28×28.
pub fn idx(images: &LabeledImages) -> Vec<Vec<u8>> {
    let train = images.official_train();
    let parts = [0..train, train..images.len()].map(|part| {
        let count = (part.len() as u32).to_be_bytes();
        let labels = [&[0, 0, 8, 1], &count[..], &images.labels()[part.clone()]].concat();
        let mut pixels = [&[0, 0, 8, 3], &count[..], &[0, 0, 0, 28, 0, 0, 0, 28]].concat();
        part.for_each(|i| pixels.extend(images.image(i).unwrap_or_default()));
        [pixels, labels]
    });
    parts.concat()
}

/// The contents of [`BATCHES`]: records of a label and the bytes of its image.
pub fn batches(images: &LabeledImages) -> Vec<Vec<u8>> {
    let all: Vec<usize> = (0..images.len()).collect();
    let (train, test) = all.split_at(images.official_train());
    let record =
        |&i: &usize| [&images.labels()[i..=i], images.image(i).unwrap_or_default()].concat();
    let parts = train.chunks(train.len().div_ceil(5).max(1)).chain([test]);
    parts.map(|part| part.iter().flat_map(record).collect()).collect()
}
