//! Runs that train together: the interface for a trainer.

mod arenas;
pub(crate) mod ports;
pub(crate) mod program;
mod transfer;

use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::machine::launch::{Buffer, Launch};
use arenas::{arenas, moments};
use candle_core::{DType, Tensor};
use ganomaly_model::ganomaly::{Ganomaly, GanomalyConfig};
use ganomaly_model::{BatchNormMode, Scores, Settings};
use ports::{LOSS_STRIDE, LOSSES, Pass, Size};
use program::Program;
use std::time::Instant;

/// Several runs on one machine. They differ only in seed and in the order of their images.
pub struct Group<M: Machine> {
    pub(crate) machine: M,
    pub(crate) program: Program,
    size: Size,
    config: GanomalyConfig,
    load: M::Recording,
    step: M::Recording,
    passes: Vec<Recorded<M::Recording>>,
    /// Steps of each run that its model has not counted yet.
    pub(crate) steps: Vec<usize>,
    /// How often each run's discriminator has been re-initialised.
    reinitialised: Vec<u32>,
    /// The position of each model's random stream before it drew the weights for the next
    /// re-initialisation of its discriminator.
    pub(crate) drawn_from: Vec<u128>,
}

/// The data set that all runs draw from.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    /// u8 `[P, S, S, C]`, in the network's input size.
    pub bytes: &'a [u8],
    /// `[C, 256]`: the network's input value for each byte of a channel.
    pub table: &'a [f32],
}

/// A [`Pass`], recorded.
struct Recorded<R> {
    images: usize,
    load: R,
    score_running: R,
    score_batch: R,
}

/// A run's mean losses over an epoch, with the reference's names.
pub type Losses = Vec<(&'static str, f64)>;

impl<M: Machine> Group<M> {
    /// Puts `models` (one per run) and the data set's images on the machine that `make` creates for
    /// buffers of these sizes. Training resumes from the models' state: their weights, optimisers
    /// and random streams.
    pub fn new(
        models: &mut [Ganomaly],
        images: Images<'_>,
        size: Size,
        make: impl FnOnce(&[usize]) -> Result<M>,
    ) -> Result<Self> {
        // There must be room for a score of each image of a batch, whatever the orders.
        let size = Size { order: size.order.max(size.score_batch), ..size };
        let first = models.first().filter(|_| models.len() == size.runs);
        let first = first.ok_or(Error::Runs { models: models.len(), runs: size.runs })?;
        let (program, config) = (Program::new(first, &size)?, first.config().clone());
        let mut machine = make(&program.buffers)?;
        let load = machine.record(&program.load)?;
        let step = machine.record(&program.step)?;
        let mut record = |pass: &Pass| {
            Ok(Recorded {
                images: pass.images,
                load: machine.record(&pass.load)?,
                score_running: machine.record(&pass.score_running)?,
                score_batch: machine.record(&pass.score_batch)?,
            })
        };
        let passes = program.passes.iter().map(&mut record).collect::<Result<Vec<_>>>()?;
        let (steps, reinitialised) = (vec![0; size.runs], vec![0; size.runs]);
        let drawn_from = vec![0; size.runs];
        let mut group = Self {
            machine,
            program,
            size,
            config,
            load,
            step,
            passes,
            steps,
            reinitialised,
            drawn_from,
        };
        group.upload(models, images)?;
        Ok(group)
    }

    fn upload(&mut self, models: &mut [Ganomaly], images: Images<'_>) -> Result<()> {
        let ports = self.program.ports;
        let Size { runs, images: there, .. } = self.size;
        let bytes = there * self.config.isize.pow(2) * self.config.nc;
        if images.bytes.len() != bytes || images.table.len() != self.config.nc * 256 {
            return Err(Error::Images { got: images.bytes.len(), expected: bytes });
        }
        for (buffer, tensors) in arenas(&self.program).into_iter().chain(moments(&self.program)) {
            let mut numbers = Vec::new();
            for model in &*models {
                numbers.extend(flat(&tensors(model))?);
            }
            self.machine.set(buffer, &numbers)?;
        }
        for (which, optimiser) in self.program.optimisers.into_iter().enumerate() {
            let steps = |model: &Ganomaly| model.optimisers()[which].steps() as usize;
            let clocks = models.iter().flat_map(|model| [steps(model), 0, 0, 0]);
            self.machine.set(optimiser.clock, &words(&clocks.collect::<Vec<_>>()))?;
        }
        self.renew(models, &vec![true; runs])?;
        self.zero(ports.reinitialised)?;
        let word = |bytes: &[u8]| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            f32::from_ne_bytes(word)
        };
        self.machine.set(ports.images, &images.bytes.chunks(4).map(word).collect::<Vec<f32>>())?;
        self.machine.set(ports.table, images.table)
    }

    /// Draws the weights for the next re-initialisation of some runs' discriminators.
    fn renew(&mut self, models: &mut [Ganomaly], which: &[bool]) -> Result<()> {
        let buffer = self.program.ports.netd_fresh;
        let mut numbers = self.machine.get(buffer)?;
        let distance = numbers.len() / self.size.runs;
        let runs = numbers.chunks_mut(distance).zip(models).zip(&mut self.drawn_from).zip(which);
        for (((numbers, model), from), _) in runs.filter(|(_, wanted)| **wanted) {
            *from = model.random_position();
            numbers.copy_from_slice(&flat(&model.draw_discriminator()?)?);
        }
        self.machine.set(buffer, &numbers)
    }

    fn zero(&mut self, buffer: Buffer) -> Result<()> {
        let len = self.program.buffers[buffer.0];
        self.machine.set(buffer, &vec![0.0; len])
    }

    /// Sets each run's images, and its position to the first of them.
    fn set_orders(&mut self, orders: &[Vec<u32>]) -> Result<()> {
        let Size { runs, order: room, images: there, .. } = self.size;
        if orders.len() != runs || orders.iter().any(|o| o.len() > room) {
            return Err(Error::Orders { room, runs });
        }
        let mut numbers = vec![0.0; runs * room];
        for (to, order) in numbers.chunks_mut(room.max(1)).zip(orders) {
            for (to, &image) in to.iter_mut().zip(order) {
                if image as usize >= there {
                    return Err(Error::Image { image, there });
                }
                *to = f32::from_bits(image);
            }
        }
        let ports = self.program.ports;
        self.machine.set(ports.order, &numbers)?;
        let lengths: Vec<usize> = orders.iter().map(Vec::len).collect();
        self.machine.set(ports.length, &words(&lengths))?;
        self.zero(ports.position)
    }

    /// One epoch: each run takes its images in its order, in whole batches. A run with fewer images
    /// than the others learns nothing from the last steps. A discriminator whose loss vanishes more
    /// than once within an epoch gets the same new weights each time. Returns each run's mean
    /// losses.
    pub fn train(&mut self, models: &mut [Ganomaly], orders: &[Vec<u32>]) -> Result<Vec<Losses>> {
        self.set_orders(orders)?;
        let steps: Vec<usize> = orders.iter().map(|o| o.len() / self.size.batch).collect();
        let ports = self.program.ports;
        self.zero(ports.loss_sums)?;
        for _ in 0..steps.iter().copied().max().unwrap_or(0) {
            self.machine.replay(&self.load)?;
            self.machine.replay(&self.step)?;
        }
        let sums = self.machine.get(ports.loss_sums)?;
        for (counted, steps) in self.steps.iter_mut().zip(&steps) {
            *counted += steps;
        }
        let counts = self.machine.get(ports.reinitialised)?;
        let counts: Vec<u32> = counts.into_iter().map(f32::to_bits).collect();
        let which: Vec<bool> =
            counts.iter().zip(&self.reinitialised).map(|(n, o)| n != o).collect();
        if which.contains(&true) {
            self.renew(models, &which)?;
            self.reinitialised = counts;
        }
        let mean = |(sums, &steps): (&[f32], &usize)| self.named(sums, steps);
        Ok(sums.chunks(LOSS_STRIDE).zip(&steps).map(mean).collect())
    }

    /// Mean losses in the same order as on the CPU.
    fn named(&self, sums: &[f32], steps: usize) -> Losses {
        let mean = |at: usize| f64::from(sums[at]) / steps as f64;
        let [adv, con, enc, real, fake] = [0, 1, 2, 3, 4].map(mean);
        let GanomalyConfig { w_adv, w_con, w_enc, .. } = self.config;
        vec![
            ("err_g", w_adv * adv + w_con * con + w_enc * enc),
            (LOSSES[0], adv),
            (LOSSES[1], con),
            (LOSSES[2], enc),
            ("err_d", mean(5)),
            (LOSSES[3], real),
            (LOSSES[4], fake),
        ]
    }

    /// Scores each run's images in its order: whole batches, then the remainder.
    pub fn score(&mut self, orders: &[Vec<u32>], mode: BatchNormMode) -> Result<Vec<Scores>> {
        let (batch, room) = (self.size.score_batch, self.size.order);
        let lengths: Vec<usize> = orders.iter().map(Vec::len).collect();
        let known = |left: &usize| *left == 0 || self.size.remainders.contains(left);
        if let Some(left) = lengths.iter().map(|len| len % batch).find(|left| !known(left)) {
            return Err(Error::Remainder(left));
        }
        self.set_orders(orders)?;
        for _ in 0..lengths.iter().map(|len| len / batch).max().unwrap_or(0) {
            self.score_pass(0, mode)?;
        }
        // The remainder after each run's whole batches; a run whose remainder has another size
        // scores beyond its order, where nothing is kept.
        let starts: Vec<usize> = lengths.iter().map(|len| len / batch * batch).collect();
        for which in 1..self.passes.len() {
            let n = self.passes[which].images;
            let own = |(start, len): (&usize, &usize)| if len % batch == n { *start } else { room };
            let starts: Vec<usize> = starts.iter().zip(&lengths).map(own).collect();
            self.machine.set(self.program.ports.position, &words(&starts))?;
            self.score_pass(which, mode)?;
        }
        self.scores(&lengths)
    }

    /// The first scores of each run's order.
    fn scores(&mut self, lengths: &[usize]) -> Result<Vec<Scores>> {
        let room = self.size.order.max(1);
        let mut all = vec![Scores::default(); self.size.runs];
        for (name, buffer) in GanomalyConfig::NAMES.scores.iter().zip(self.program.ports.scores) {
            let numbers = self.machine.get(buffer)?;
            for ((scores, numbers), len) in all.iter_mut().zip(numbers.chunks(room)).zip(lengths) {
                scores.push(name, numbers[..*len].iter().map(|&s| f64::from(s)).collect());
            }
        }
        Ok(all)
    }

    /// Scores the next images of all runs.
    fn score_pass(&mut self, which: usize, mode: BatchNormMode) -> Result<()> {
        self.machine.replay(&self.passes[which].load)?;
        self.replay_score(which, mode)
    }

    fn replay_score(&mut self, which: usize, mode: BatchNormMode) -> Result<()> {
        let pass = &self.passes[which];
        self.machine.replay(match mode {
            BatchNormMode::Running => &pass.score_running,
            BatchNormMode::Batch => &pass.score_batch,
        })
    }

    /// One step of each run on given images, `[G, N, S, S, C]`, as network input. Returns each
    /// run's losses.
    pub fn step(&mut self, batches: &[f32]) -> Result<Vec<Losses>> {
        let ports = self.program.ports;
        self.set_batch(batches, self.size.batch)?;
        self.machine.set(ports.active, &words(&vec![1; self.size.runs]))?;
        self.machine.replay(&self.step)?;
        self.steps.iter_mut().for_each(|steps| *steps += 1);
        let losses = self.machine.get(ports.losses)?;
        Ok(losses.chunks(LOSS_STRIDE).map(|of_run| self.named(of_run, 1)).collect())
    }

    /// Each run's gradients from its last step, the generator's and the discriminator's, in the
    /// order of their `parameters()`.
    pub fn gradients(&mut self) -> Result<[Vec<Vec<f32>>; 2]> {
        let ports = self.program.ports;
        let mut of = |buffer| {
            let numbers = self.machine.get(buffer)?;
            let distance = (numbers.len() / self.size.runs).max(1);
            Ok::<_, Error>(numbers.chunks(distance).map(<[f32]>::to_vec).collect())
        };
        Ok([of(ports.netg_gradients)?, of(ports.netd_gradients)?])
    }

    /// Each run's scores for given images: one whole scoring batch per run, `[G, N, S, S, C]`.
    pub fn score_batch(&mut self, batches: &[f32], mode: BatchNormMode) -> Result<Vec<Scores>> {
        let Size { runs, score_batch, .. } = self.size;
        self.set_batch(batches, score_batch)?;
        self.behind_a_batch()?;
        self.replay_score(0, mode)?;
        self.scores(&vec![score_batch; runs])
    }

    /// Moves each run's position past one scoring batch, so that its scores are the first of its
    /// order.
    fn behind_a_batch(&mut self) -> Result<()> {
        let positions = words(&vec![self.size.score_batch; self.size.runs]);
        self.machine.set(self.program.ports.position, &positions)
    }

    fn set_batch(&mut self, batches: &[f32], images: usize) -> Result<()> {
        let GanomalyConfig { isize, nc, .. } = self.config;
        let expected = self.size.runs * images * isize * isize * nc;
        if batches.len() != expected {
            return Err(Error::Batch { got: batches.len(), expected });
        }
        self.machine.set(self.program.ports.batch, batches)
    }

    /// Seconds for each of `steps` training steps on noise, each finished before the next begins.
    /// All runs learn from them.
    pub fn time_steps(&mut self, steps: usize) -> Result<Vec<f64>> {
        self.set_noise()?;
        self.machine.set(self.program.ports.active, &words(&vec![1; self.size.runs]))?;
        self.steps.iter_mut().for_each(|counted| *counted += steps);
        self.time(steps, |group| group.machine.replay(&group.step))
    }

    /// Seconds for each of `times` scorings of a batch of noise per run; nothing is read back.
    pub fn time_scores(&mut self, times: usize, mode: BatchNormMode) -> Result<Vec<f64>> {
        self.set_noise()?;
        self.behind_a_batch()?;
        self.time(times, |group| group.replay_score(0, mode))
    }

    /// Fills the batch with values in [-1, 1]. Zeros would take less power on a GPU than images.
    fn set_noise(&mut self) -> Result<()> {
        let batch = self.program.ports.batch;
        // A multiplicative generator is enough for this.
        let noise = |i: usize| (i as u64).wrapping_mul(2_654_435_761) >> 8 & 0xffff;
        let numbers = 0..self.program.buffers[batch.0];
        let numbers: Vec<f32> = numbers.map(|i| noise(i) as f32 / 32768.0 - 1.0).collect();
        self.machine.set(batch, &numbers)
    }

    fn time(
        &mut self,
        times: usize,
        mut f: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<Vec<f64>> {
        self.machine.wait()?;
        let mut one = |_| {
            let started = Instant::now();
            f(self)?;
            self.machine.wait()?;
            Ok(started.elapsed().as_secs_f64())
        };
        (0..times).map(&mut one).collect()
    }

    /// The machine that the runs are on.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Runs each launch of a step separately, and returns it with its seconds.
    pub fn profile_step(&mut self) -> Result<Vec<(Launch, f64)>> {
        let seconds = self.machine.seconds(&self.program.step)?;
        Ok(self.program.step.iter().cloned().zip(seconds).collect())
    }
}

/// Integers as the buffers hold them.
fn words(numbers: &[usize]) -> Vec<f32> {
    numbers.iter().map(|&n| f32::from_bits(u32::try_from(n).unwrap_or(u32::MAX))).collect()
}

fn flat(tensors: &[Tensor]) -> Result<Vec<f32>> {
    let mut numbers = Vec::new();
    for tensor in tensors {
        numbers.extend(tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?);
    }
    Ok(numbers)
}
