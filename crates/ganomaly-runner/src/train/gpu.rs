//! A group of runs on a GPU: they differ only in class and seed, and every kernel processes all of
//! them. It stops after whole epochs.

use super::engine::{Engine, Taken};
use super::scoring::{ScoringOrder, score_in, test_order, validation_order};
use super::start::Member;
use super::{further, images};
use crate::interrupt::Cancel;
use anyhow::{Result, bail};
use ganomaly_experiment::config::ScoringMode;
use ganomaly_experiment::run_data::RunData;
use ganomaly_gpu::{Group, Images, Machine, Size};
use ganomaly_model::ganomaly::Ganomaly;
use ganomaly_model::{Detector, NamedTensors, Scores};

pub(super) struct Gpu<'a, M: Machine> {
    members: &'a [Member<'a>],
    data: &'a [RunData],
    cancel: &'a Cancel,
    models: Vec<Ganomaly>,
    group: Group<M>,
    /// The epoch to train, once it has begun.
    orders: Option<Vec<Vec<u32>>>,
    /// The mode in which to score next.
    scoring: Option<ScoringMode>,
}

impl<'a, M: Machine> Gpu<'a, M> {
    /// Puts the runs on the machine that `make` creates for buffers of these sizes.
    pub fn new(
        members: &'a [Member<'a>],
        data: &'a [RunData],
        mut models: Vec<Ganomaly>,
        cancel: &'a Cancel,
        make: impl FnOnce(&[usize]) -> ganomaly_gpu::Result<M>,
    ) -> Result<Self> {
        let (bytes, table) = images::prepared(&data[0])?;
        let images = Images { bytes: &bytes, table: &table };
        let size = size(members, data);
        let runs = format!("{} runs of {} images a batch", size.runs, size.batch);
        let group = Group::new(&mut models, images, size, make).map_err(|e| match e {
            e @ ganomaly_gpu::Error::Memory { .. } => anyhow::Error::from(e).context(runs),
            e => e.into(),
        })?;
        Ok(Self { members, data, cancel, models, group, orders: None, scoring: None })
    }

    /// The order of a mode, by run.
    fn orders_of(&self, mode: ScoringMode) -> Vec<ScoringOrder> {
        let runs = self.members.iter().zip(self.data);
        runs.map(|(member, data)| test_order(data, member.config, mode)).collect()
    }

    /// The images that an order names, by run.
    fn indices(orders: &[ScoringOrder]) -> Vec<Vec<u32>> {
        orders.iter().map(|order| order.images.clone()).collect()
    }
}

/// What the group's program is made for.
fn size(members: &[Member<'_>], data: &[RunData]) -> Size {
    let config = members[0].config;
    let scored = || data.iter().flat_map(|d| [d.split.test.len(), d.validation.len()]);
    let longest = data.iter().map(|d| d.split.train.len()).chain(scored()).max();
    let mut remainders: Vec<usize> =
        scored().map(|images| images % config.score_batch_size).filter(|&n| n > 0).collect();
    remainders.sort_unstable();
    remainders.dedup();
    Size {
        runs: members.len(),
        batch: config.batch_size,
        score_batch: config.score_batch_size,
        images: data[0].images.len(),
        order: longest.unwrap_or(0),
        remainders,
    }
}

impl<M: Machine> Engine for Gpu<'_, M> {
    const WHOLE_EPOCHS: bool = true;

    fn begin(&mut self, _epoch: u32, orders: Vec<Vec<u32>>) -> Result<()> {
        let batch = self.members[0].config.batch_size;
        self.orders = orders.iter().any(|order| order.len() >= batch).then_some(orders);
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<Vec<Taken>>> {
        let Some(orders) = self.orders.take() else { return Ok(None) };
        let losses = self.group.train(&mut self.models, &orders)?;
        let batch = self.members[0].config.batch_size;
        let taken = orders.iter().zip(losses);
        let taken = taken.map(|(order, losses)| Taken { steps: order.len() / batch, losses });
        Ok(Some(taken.collect()))
    }

    fn not_finite(&self) -> Result<Vec<Option<String>>> {
        Ok(vec![None; self.members.len()])
    }

    fn begin_scoring(&mut self, mode: ScoringMode, _: usize) -> Result<()> {
        self.scoring = Some(mode);
        Ok(())
    }

    fn score(&mut self) -> Result<Option<Vec<Scores>>> {
        let Some(mode) = self.scoring.take() else { return Ok(None) };
        let orders = self.orders_of(mode);
        if mode == ScoringMode::Single {
            // A GPU gains nothing on batches of one image: the CPU scores them with the GPU's
            // weights.
            self.group.download(&self.models)?;
            let runs = self.models.iter().zip(self.data).zip(&orders);
            let scores =
                runs.map(|((model, data), order)| score_in(order, model, data, self.cancel));
            return Ok(Some(scores.collect::<Result<_>>()?));
        }
        Ok(Some(self.group.score(&Self::indices(&orders), orders[0].statistics)?))
    }

    fn validation(&mut self) -> Result<Vec<Scores>> {
        if self.data.iter().all(|d| d.validation.is_empty()) {
            return Ok(vec![Scores::default(); self.data.len()]);
        }
        let runs = self.members.iter().map(|m| m.config).zip(self.data);
        let orders: Vec<ScoringOrder> = runs.map(|(c, d)| validation_order(d, c)).collect();
        Ok(self.group.score(&Self::indices(&orders), orders[0].statistics)?)
    }

    fn finish_scoring(
        &mut self,
        mode: ScoringMode,
        scores: Vec<Scores>,
        validation: &[Scores],
    ) -> Result<Vec<Scores>> {
        let orders = self.orders_of(mode);
        let restored = orders.iter().zip(scores).map(|(order, scores)| order.restore(&scores));
        let config = self.members[0].config;
        if config.kinds(mode) == config.names.scores {
            return Ok(restored.collect());
        }
        // Scores that need more than one batch are computed on the CPU, with the GPU's weights.
        self.group.download(&self.models)?;
        let runs = self.members.iter().zip(self.data).zip(&self.models);
        let scored = restored.zip(validation);
        runs.zip(scored)
            .map(|(((member, data), model), (scores, held))| {
                further::add(scores, held, model, data, member.config, mode, self.cancel)
            })
            .collect()
    }

    fn training_states(&mut self) -> Result<Vec<NamedTensors>> {
        Ok(self.group.training_states(&mut self.models)?)
    }

    fn go_back(&mut self, _: &NamedTensors, _: f64) -> Result<()> {
        bail!("a GPU's learning rate cannot change")
    }

    fn finish(mut self) -> Result<Vec<Box<dyn Detector>>> {
        self.group.download(&self.models)?;
        Ok(self.models.into_iter().map(|model| Box::new(model) as Box<dyn Detector>).collect())
    }
}
