//! Runs that train side by side: what a trainer calls.

use crate::error::{Error, Result};
use crate::launch::Buffer;
use crate::machine::Machine;
use crate::step::{LOSS_STRIDE, LOSSES, Pass, Program, Size};
use candle_core::{DType, Device, Tensor};
use ganomaly_model::ganomaly::Ganomaly;
use ganomaly_model::{BatchNormMode, Scores};

/// Several runs on one machine. They differ in seed and in the order of their pictures alone.
pub struct Group<M: Machine> {
    machine: M,
    program: Program,
    size: Size,
    step: M::Recording,
    passes: Vec<Recorded<M::Recording>>,
}

/// A [`Pass`], recorded.
struct Recorded<R> {
    pictures: usize,
    load: R,
    score_running: R,
    score_batch: R,
}

/// A run's mean losses over an epoch, under the reference's names.
pub type Losses = Vec<(&'static str, f64)>;

impl<M: Machine> Group<M> {
    /// Puts `models`, one a run, and the data set's `pictures`, u8 `[P, S, S, C]`, on the machine that `make` makes for the program.
    pub fn new(
        models: &[Ganomaly],
        pictures: &[u8],
        size: Size,
        make: impl FnOnce(&Program) -> Result<M>,
    ) -> Result<Self> {
        let first = models.first().filter(|_| models.len() == size.runs);
        let first = first.ok_or(Error::Runs { models: models.len(), runs: size.runs })?;
        let program = Program::new(first, size)?;
        let mut machine = make(&program)?;
        let step = machine.record(&program.step)?;
        let mut record = |pass: &Pass| {
            Ok(Recorded {
                pictures: pass.pictures,
                load: machine.record(&pass.load)?,
                score_running: machine.record(&pass.score_running)?,
                score_batch: machine.record(&pass.score_batch)?,
            })
        };
        let passes = program.passes.iter().map(&mut record).collect::<Result<Vec<_>>>()?;
        let mut group = Self { machine, program, size, step, passes };
        group.upload(models, pictures)?;
        Ok(group)
    }

    fn upload(&mut self, models: &[Ganomaly], pictures: &[u8]) -> Result<()> {
        let ports = self.program.ports;
        let arenas = |model: &Ganomaly| -> [Vec<Tensor>; 4] {
            let (g, d) = (&model.netg, &model.netd);
            [g.parameters(), d.parameters(), g.running_statistics(), d.running_statistics()]
        };
        let to = [ports.netg, ports.netd, ports.netg_running, ports.netd_running];
        for (arena, buffer) in to.into_iter().enumerate() {
            let mut numbers = Vec::new();
            for model in models {
                numbers.extend(flat(&arenas(model)[arena])?);
            }
            self.machine.set(buffer, &numbers)?;
            if buffer == ports.netd {
                self.machine.set(ports.netd_fresh, &numbers)?;
            }
        }
        let zeroed: Vec<Buffer> = self.program.zeroed.clone();
        for buffer in
            zeroed.into_iter().chain([ports.started_anew, ports.position, ports.loss_sums])
        {
            self.zero(buffer)?;
        }
        let word = |bytes: &[u8]| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            f32::from_ne_bytes(word)
        };
        self.machine.set(ports.pictures, &pictures.chunks(4).map(word).collect::<Vec<f32>>())
    }

    fn zero(&mut self, buffer: Buffer) -> Result<()> {
        let len = self.program.buffers[buffer.0];
        self.machine.set(buffer, &vec![0.0; len])
    }

    /// Tells each run its pictures, and starts at the first of them.
    fn set_orders(&mut self, orders: &[Vec<u32>]) -> Result<usize> {
        let len = orders.first().map_or(0, Vec::len);
        let fits = orders.len() == self.size.runs && len <= self.size.order;
        if !fits || orders.iter().any(|o| o.len() != len) {
            return Err(Error::Order { order: self.size.order, runs: self.size.runs });
        }
        let mut numbers = vec![0.0; self.size.runs * self.size.order];
        for (to, order) in numbers.chunks_mut(self.size.order).zip(orders) {
            for (to, &picture) in to.iter_mut().zip(order) {
                if picture as usize >= self.size.pictures {
                    return Err(Error::Picture { picture, there: self.size.pictures });
                }
                *to = f32::from_bits(picture);
            }
        }
        let ports = self.program.ports;
        self.machine.set(ports.order, &numbers)?;
        self.zero(ports.position)?;
        Ok(len)
    }

    /// One epoch: each run takes its pictures in its order, in whole batches. Returns each run's mean losses.
    pub fn train(&mut self, orders: &[Vec<u32>]) -> Result<Vec<Losses>> {
        let steps = self.set_orders(orders)? / self.size.batch;
        let ports = self.program.ports;
        self.zero(ports.loss_sums)?;
        for _ in 0..steps {
            self.machine.replay(&self.passes[0].load)?;
            self.machine.replay(&self.step)?;
        }
        let sums = self.machine.get(ports.loss_sums)?;
        let names = LOSSES.into_iter().chain(["err_d"]);
        let mean = |sums: &[f32]| {
            names.clone().zip(sums).map(|(name, &s)| (name, f64::from(s) / steps as f64)).collect()
        };
        Ok(sums.chunks(LOSS_STRIDE).map(mean).collect())
    }

    /// Scores each run's pictures in its order.
    pub fn score(&mut self, orders: &[Vec<u32>], mode: BatchNormMode) -> Result<Vec<Scores>> {
        let mut left = self.set_orders(orders)?;
        if left % self.size.batch != self.size.remainder % self.size.batch {
            return Err(Error::Order { order: self.size.order, runs: self.size.runs });
        }
        let ports = self.program.ports;
        let mut all = vec![Scores::default(); self.size.runs];
        while left > 0 {
            let which = usize::from(left < self.size.batch);
            let pass = &self.passes[which];
            self.machine.replay(&pass.load)?;
            self.machine.replay(match mode {
                BatchNormMode::Running => &pass.score_running,
                BatchNormMode::Batch => &pass.score_batch,
            })?;
            let n = pass.pictures;
            for (kind, buffer) in ports.scores.into_iter().enumerate() {
                let numbers = self.machine.get(buffer)?;
                for (scores, numbers) in all.iter_mut().zip(numbers.chunks(n)) {
                    let to = [&mut scores.l2, &mut scores.l1, &mut scores.con];
                    to[kind].extend(numbers.iter().map(|&s| f64::from(s)));
                }
            }
            left -= n;
        }
        Ok(all)
    }

    /// Brings weights and running statistics back into `models`.
    pub fn download(&mut self, models: &[Ganomaly]) -> Result<()> {
        let ports = self.program.ports;
        for (buffer, tensors) in [
            (ports.netg, (|m| m.netg.parameters()) as fn(&Ganomaly) -> Vec<Tensor>),
            (ports.netd, |m| m.netd.parameters()),
            (ports.netg_running, |m| m.netg.running_statistics()),
            (ports.netd_running, |m| m.netd.running_statistics()),
        ] {
            let numbers = self.machine.get(buffer)?;
            let mut at = 0;
            for tensor in models.iter().flat_map(tensors) {
                let len = tensor.elem_count();
                let part =
                    Tensor::from_slice(&numbers[at..at + len], tensor.shape(), &Device::Cpu)?;
                tensor.slice_set(&part.to_dtype(tensor.dtype())?, 0, 0)?;
                at += len;
            }
        }
        Ok(())
    }
}

fn flat(tensors: &[Tensor]) -> Result<Vec<f32>> {
    let mut numbers = Vec::new();
    for tensor in tensors {
        numbers.extend(tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?);
    }
    Ok(numbers)
}
