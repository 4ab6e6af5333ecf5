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
        make: impl FnOnce(&Program, &Size) -> Result<M>,
    ) -> Result<Self> {
        let first = models.first().filter(|_| models.len() == size.runs);
        let first = first.ok_or(Error::Runs { models: models.len(), runs: size.runs })?;
        let program = Program::new(first, &size)?;
        let mut machine = make(&program, &size)?;
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
        for buffer in zeroed.into_iter().chain([ports.started_anew]) {
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

    /// Tells each run its pictures, and puts it at the first of them.
    fn set_orders(&mut self, orders: &[Vec<u32>]) -> Result<()> {
        let Size { runs, order: room, pictures: there, .. } = self.size;
        if orders.len() != runs || orders.iter().any(|o| o.len() > room) {
            return Err(Error::Orders { room, runs });
        }
        let mut numbers = vec![0.0; runs * room];
        for (to, order) in numbers.chunks_mut(room.max(1)).zip(orders) {
            for (to, &picture) in to.iter_mut().zip(order) {
                if picture as usize >= there {
                    return Err(Error::Picture { picture, there });
                }
                *to = f32::from_bits(picture);
            }
        }
        let ports = self.program.ports;
        self.machine.set(ports.order, &numbers)?;
        let lengths: Vec<usize> = orders.iter().map(Vec::len).collect();
        self.machine.set(ports.length, &words(&lengths))?;
        self.zero(ports.position)
    }

    /// One epoch: each run takes its pictures in its order, in whole batches; one whose pictures are fewer than the others' learns nothing
    /// from the last steps. Returns each run's mean losses.
    pub fn train(&mut self, orders: &[Vec<u32>]) -> Result<Vec<Losses>> {
        self.set_orders(orders)?;
        let steps: Vec<usize> = orders.iter().map(|o| o.len() / self.size.batch).collect();
        let ports = self.program.ports;
        self.zero(ports.loss_sums)?;
        for _ in 0..steps.iter().copied().max().unwrap_or(0) {
            self.machine.replay(&self.passes[0].load)?;
            self.machine.replay(&self.step)?;
        }
        let sums = self.machine.get(ports.loss_sums)?;
        let names = LOSSES.into_iter().chain(["err_d"]);
        let mean = |(sums, &steps): (&[f32], &usize)| {
            names.clone().zip(sums).map(|(name, &s)| (name, f64::from(s) / steps as f64)).collect()
        };
        Ok(sums.chunks(LOSS_STRIDE).zip(&steps).map(mean).collect())
    }

    /// Scores each run's pictures in its order, in whole batches and what is left of each order behind them.
    pub fn score(&mut self, orders: &[Vec<u32>], mode: BatchNormMode) -> Result<Vec<Scores>> {
        let batch = self.size.batch;
        let lengths: Vec<usize> = orders.iter().map(Vec::len).collect();
        let known = |left: &usize| *left == 0 || self.size.remainders.contains(left);
        if let Some(left) = lengths.iter().map(|len| len % batch).find(|left| !known(left)) {
            return Err(Error::Remainder(left));
        }
        self.set_orders(orders)?;
        let mut all = vec![Scores::default(); self.size.runs];
        for done in 0..lengths.iter().map(|len| len / batch).max().unwrap_or(0) {
            self.score_pass(0, mode, &mut all, |run| done < lengths[run] / batch)?;
        }
        for which in 1..self.passes.len() {
            let starts: Vec<usize> = lengths.iter().map(|len| len / batch * batch).collect();
            self.machine.set(self.program.ports.position, &words(&starts))?;
            let n = self.passes[which].pictures;
            self.score_pass(which, mode, &mut all, |run| lengths[run] % batch == n)?;
        }
        Ok(all)
    }

    /// Scores the next pictures of all runs, and keeps those of the runs that `of` names.
    fn score_pass(
        &mut self,
        which: usize,
        mode: BatchNormMode,
        all: &mut [Scores],
        of: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let pass = &self.passes[which];
        self.machine.replay(&pass.load)?;
        self.machine.replay(match mode {
            BatchNormMode::Running => &pass.score_running,
            BatchNormMode::Batch => &pass.score_batch,
        })?;
        for (kind, buffer) in self.program.ports.scores.into_iter().enumerate() {
            let numbers = self.machine.get(buffer)?;
            let runs = all.iter_mut().zip(numbers.chunks(pass.pictures)).enumerate();
            for (_, (scores, numbers)) in runs.filter(|(run, _)| of(*run)) {
                let to = [&mut scores.l2, &mut scores.l1, &mut scores.con];
                to[kind].extend(numbers.iter().map(|&s| f64::from(s)));
            }
        }
        Ok(())
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

/// Whole numbers as the buffers hold them.
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
