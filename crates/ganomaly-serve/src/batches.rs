//! The one thread that scores: images of several requests go through the network together.

use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::models::Model;
use anyhow::{Context, Result};
use ganomaly_inference::images::Prepared;
use ganomaly_inference::scorer::Verdict;
use image::RgbImage;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// What a request wants beside scores.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants {
    pub heat_map: bool,
    pub reconstruction: bool,
}

/// An image that was scored.
pub struct Scored {
    pub image: Prepared,
    pub scores: Vec<f64>,
    /// The score that counts and what it means; none if the model is not calibrated.
    pub verdict: Option<(f64, Verdict)>,
    pub reconstruction: Option<RgbImage>,
}

/// The images of a request.
struct Job {
    model: Arc<Model>,
    images: Vec<Prepared>,
    wants: Wants,
    answer: oneshot::Sender<Result<Vec<Scored>>>,
    /// Its places in the queue.
    _places: OwnedSemaphorePermit,
}

/// The way to the thread.
pub struct Batches {
    jobs: Sender<Job>,
    places: Arc<Semaphore>,
}

impl Batches {
    /// Starts the thread. It ends when this is dropped.
    pub fn start(
        most: usize,
        delay: Duration,
        queue: usize,
        metrics: Arc<Metrics>,
    ) -> Result<Self> {
        let (jobs, waiting) = channel();
        std::thread::Builder::new()
            .name("scoring".into())
            .spawn(move || work(&waiting, most, delay, &metrics))
            .context("the thread that scores cannot be started")?;
        Ok(Self { jobs, places: Arc::new(Semaphore::new(queue)) })
    }

    /// Number of images that may still be queued.
    pub fn free(&self) -> usize {
        self.places.available_permits()
    }

    /// Places in the queue for a request's images, or a failure at once.
    pub fn places(&self, images: usize) -> Result<OwnedSemaphorePermit, Failure> {
        let images = u32::try_from(images).unwrap_or(u32::MAX);
        let places = self.places.clone().try_acquire_many_owned(images);
        places.map_err(|_| Failure::busy("too many images are waiting; try again soon"))
    }

    /// Scores a request's images, in their order.
    pub async fn score(
        &self,
        model: Arc<Model>,
        images: Vec<Prepared>,
        wants: Wants,
        places: OwnedSemaphorePermit,
    ) -> Result<Vec<Scored>, Failure> {
        let (answer, scored) = oneshot::channel();
        let gone = || Failure::internal(&anyhow::anyhow!("the thread that scores is gone"));
        let job = Job { model, images, wants, answer, _places: places };
        self.jobs.send(job).map_err(|_| gone())?;
        scored.await.map_err(|_| gone())?.map_err(|e| Failure::internal(&e))
    }
}

fn work(waiting: &Receiver<Job>, most: usize, delay: Duration, metrics: &Metrics) {
    while let Ok(first) = waiting.recv() {
        let until = Instant::now() + delay;
        let mut images = first.images.len();
        let mut jobs = vec![first];
        while images < most {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(job) = waiting.recv_timeout(left) else { break };
            images += job.images.len();
            jobs.push(job);
        }
        // Each model's jobs together, in the order in which they came.
        while let Some(model) = jobs.first().map(|job| job.model.clone()) {
            let (its, others) = jobs.into_iter().partition(|job| Arc::ptr_eq(&job.model, &model));
            jobs = others;
            answer(&model, its, most, metrics);
        }
    }
}

/// Answers the jobs of a model. A batch that fails is tried image by image, so that it fails for
/// the one that is at fault alone.
fn answer(model: &Model, jobs: Vec<Job>, most: usize, metrics: &Metrics) {
    // Nobody waits for the images of a client that has gone.
    let jobs: Vec<Job> = jobs.into_iter().filter(|job| !job.answer.is_closed()).collect();
    let images: Vec<&Prepared> = jobs.iter().flat_map(|job| &job.images).collect();
    let mut scores = Vec::with_capacity(images.len());
    for batch in images.chunks(most.max(1)) {
        metrics.batch(batch.len());
        match score(model, batch) {
            Ok(all) => scores.extend(all.into_iter().map(Ok)),
            Err(_) => scores.extend(
                batch.iter().map(|image| score(model, &[image])?.pop().context("no scores")),
            ),
        }
    }
    let mut scores = scores.into_iter();
    for Job { images, wants, answer, .. } in jobs {
        let its: Vec<_> = scores.by_ref().take(images.len()).collect();
        let scored = its.into_iter().zip(images).map(|(scores, image)| {
            let scores = scores?;
            let rest = || {
                model.with_scorer(|scorer| {
                    let verdict = scorer.counting(&scores).zip(scorer.verdict(&scores));
                    if wants.heat_map {
                        scorer.map_all(&[&image])?;
                    }
                    let made = wants.reconstruction.then(|| scorer.reconstruction(&image));
                    Ok((verdict, made.transpose()?))
                })
            };
            let (verdict, reconstruction) = unpanicked(rest)?;
            Ok(Scored { image, scores, verdict, reconstruction })
        });
        // A client that has gone misses nothing.
        let _ = answer.send(scored.collect());
    }
}

fn score(model: &Model, images: &[&Prepared]) -> Result<Vec<Vec<f64>>> {
    unpanicked(|| model.with_scorer(|scorer| scorer.score_all(images)))
}

/// The thread outlives what goes wrong with one batch. A detector changes nothing while it scores.
fn unpanicked<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| Err(anyhow::anyhow!("scoring panicked")))
}
