//! Batches of float tensors, prepared ahead on a separate thread.

use crate::{EpochAugment, Error, LabeledImages, Result, Transform};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// Images on the device, with their positions in the data set.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[B, C, S, S]`, f32, normalised.
    pub images: Tensor,
    /// `[B]` positions.
    pub indices: Vec<u32>,
}

/// How batches are made.
#[derive(Clone, Debug)]
pub struct BatchOptions {
    /// Images in a batch.
    pub batch_size: usize,
    /// Whether to drop a last batch that is not full.
    pub drop_last: bool,
    /// Resizing and normalisation.
    pub transform: Transform,
    /// Random changes to each image; none for scoring.
    pub augment: Option<EpochAugment>,
    /// Where the tensors go.
    pub device: Device,
    /// Batches kept ready.
    pub prefetch: usize,
}

/// An iterator over batches. Dropping it early stops its thread.
#[derive(Debug)]
pub struct Batches {
    receiver: Option<Receiver<Result<Batch>>>,
    worker: Option<JoinHandle<()>>,
    remaining: usize,
}

impl Batches {
    /// Starts preparing batches of the images `indices`, in that order.
    pub fn new(
        images: Arc<LabeledImages>,
        indices: Vec<u32>,
        options: BatchOptions,
    ) -> Result<Self> {
        let BatchOptions { batch_size, drop_last, ref transform, prefetch, .. } = options;
        if batch_size == 0 {
            return Err(Error::Invalid("batch_size = 0: use 1 or more".into()));
        }
        transform.check(images.shape()[0])?;
        if let Some(&out) = indices.iter().find(|&&i| i as usize >= images.len()) {
            return Err(Error::Invalid(format!("there is no image {out} among {}", images.len())));
        }
        let full = indices.len() / batch_size;
        let count = if drop_last { full } else { indices.len().div_ceil(batch_size) };
        if count == 0 {
            return Err(Error::Invalid(format!(
                "{} images do not fill one batch of {batch_size}",
                indices.len()
            )));
        }
        let (sender, receiver) = sync_channel(prefetch.max(1));
        let worker = std::thread::Builder::new()
            .name("batches".into())
            .spawn(move || {
                for chunk in indices.chunks(options.batch_size).take(count) {
                    // The receiver is gone once the iterator is dropped.
                    if sender.send(prepare(&images, chunk, &options)).is_err() {
                        break;
                    }
                }
            })
            .map_err(|e| Error::Invalid(format!("no thread for the batches: {e}")))?;
        Ok(Self { receiver: Some(receiver), worker: Some(worker), remaining: count })
    }
}

fn prepare(images: &LabeledImages, indices: &[u32], options: &BatchOptions) -> Result<Batch> {
    let (channels, size) = (images.shape()[0], options.transform.image_size);
    let each = channels * size * size;
    let mut numbers = vec![0.0; indices.len() * each];
    let one = |(out, &index): (&mut [f32], &u32)| -> Result<()> {
        images.prepared(index as usize, &options.transform, out)?;
        if let Some(augment) = &options.augment {
            augment.apply(index, out, size);
        }
        Ok(())
    };
    // To read a file takes longer than to take an image from memory; a step computes meanwhile.
    match images.path(0) {
        Some(_) => numbers.par_chunks_exact_mut(each).zip(indices).try_for_each(one),
        None => numbers.chunks_exact_mut(each).zip(indices).try_for_each(one),
    }?;
    let images = Tensor::from_vec(numbers, (indices.len(), channels, size, size), &options.device)?;
    Ok(Batch { images, indices: indices.to_vec() })
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        let batch = self.receiver.as_ref()?.recv();
        self.remaining -= 1;
        Some(batch.unwrap_or_else(|_| {
            self.remaining = 0;
            Err(Error::Invalid("the thread that prepares batches has died".into()))
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for Batches {}

impl Drop for Batches {
    fn drop(&mut self) {
        self.receiver = None;
        if let Some(worker) = self.worker.take() {
            // A panic there has already been reported as an error from `next`.
            let _ = worker.join();
        }
    }
}
