//! One pass over the runs that are left, each from config to folder.

use super::groups::{self, Named};
use super::jobs::side_by_side;
use super::work::{Options, RunEnd, SweepContext};
use crate::interrupt::Cancel;
use crate::train::train;
use anyhow::Result;
use ganomaly_experiment::config::DeviceName;
use ganomaly_experiment::plan::Run;
use ganomaly_experiment::record::{self, Metrics};
use std::time::Duration;

impl SweepContext<'_> {
    /// Tries each run once.
    pub(super) fn pass(
        &self,
        runs: &[&Run],
        options: &Options,
        most: &mut usize,
    ) -> Result<Vec<(String, RunEnd)>> {
        let on_processor = |run: &&Run| run.config.device.0 == DeviceName::Cpu;
        let (here, on_cards): (Vec<&Run>, Vec<_>) = runs.iter().copied().partition(on_processor);
        let at_once = (*most).min(here.len()).max(1);
        let ended = side_by_side(here.len(), at_once, |index| self.one(here[index]))?;
        let mut all = Vec::new();
        for (run, ended) in here.iter().zip(ended) {
            // A problem with one run, such as a claim that cannot be written, is no reason to skip
            // the others.
            let ended = ended.unwrap_or_else(|e| RunEnd::Failed(format!("{e:#}")));
            all.push((run.name.clone(), ended));
        }
        let on_cards: Vec<Named<'_>> =
            on_cards.iter().map(|run| (run.name.clone(), &run.config)).collect();
        let (groups, on_cards) = groups::run(&on_cards.iter().collect::<Vec<_>>(), options, self)?;
        *most = (*most).max(groups);
        all.extend(on_cards);
        Ok(all)
    }

    /// Takes one run from config to folder, if it can be claimed.
    pub(super) fn one(&self, run: &Run) -> Result<RunEnd> {
        let claim = match self.claim(&run.name)? {
            Ok(claim) => claim,
            Err(ended) => return Ok(ended),
        };
        let done = self.train(run, &claim.cancel(self.cancel));
        self.end(&run.name, claim, done)
    }

    fn train(&self, run: &Run, cancel: &Cancel) -> Result<Metrics> {
        let Run { name, config } = run;
        let checkpoints = &self.checkpoints(name, config)?;
        let outcome = train(config, name, self.store, self.progress, cancel, checkpoints)?;
        record::write(&self.folder.join(name), config, &outcome)
    }

    /// Waits until all of the runs are done or one of them can be claimed.
    pub(super) fn wait(&self, runs: &[&Run]) -> Result<()> {
        let mut said = false;
        loop {
            self.cancel.check()?;
            let mut waiting = Vec::new();
            for run in runs {
                if run.is_done(self.folder)? {
                    continue;
                }
                match self.claims.alive(&run.name)? {
                    Some(found) => waiting.push((run, found.owner)),
                    None => return Ok(()),
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
            if !said {
                self.progress.say(&format!("waiting for {} that others are at:", waiting.len()));
                for (run, owner) in waiting {
                    let owner = owner.map(|o| format!(" on {}, process {}", o.host, o.pid));
                    self.progress.say(&format!("  {}{}", run.name, owner.unwrap_or_default()));
                }
                said = true;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}
