//! Runs in MLflow: their settings and epochs while they train, their files and the tables at the
//! end. What is there already is asked of the server, so that nothing is sent twice, and what it
//! missed while it was away is sent later.

mod client;

use crate::following::Follower;
use anyhow::{Context, Result};
use client::{Client, Point, Run, now_ms};
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::plan::Plan;
use ganomaly_experiment::record::epochs::{Epochs, to_csv};
use ganomaly_experiment::record::provenance::Provenance;
use ganomaly_experiment::record::{Epoch, WEIGHTS};
use ganomaly_runner::sweep::Summary;
use ganomaly_runner::terminal::note;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long after a failure it is tried again.
const PAUSE: Duration = Duration::from_secs(10);
/// The files of a finished run, those that are there.
const FILES: [&str; 5] = ["config.toml", "epochs.csv", "metrics.json", "run.json", WEIGHTS];
/// The files of an experiment, under a run of their own.
const TABLES: [&str; 4] = ["table.md", "table.csv", "runs.csv", "plots/auroc.svg"];
/// The name of that run.
const OF_TABLES: &str = "tables";
/// A tag with the number of epochs that were sent.
const SENT: &str = "ganomaly.epochs";
/// A tag of runs that were sent whole.
const DONE: &str = "ganomaly.done";

/// A run's epochs so far.
struct News {
    run: String,
    config: RunConfig,
    epochs: Epochs,
}

/// Sends an experiment's runs, on a thread of its own: training never waits for it.
pub struct Sender {
    client: Client,
    experiment: String,
    news: Mutex<Option<mpsc::Sender<News>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Sender {
    /// To the server at this address, under the experiment's name. Fails if it is no address; the
    /// server may be away.
    pub fn start(uri: &str, experiment: &str) -> Result<Arc<Self>> {
        let (news, coming) = mpsc::channel();
        let (client, experiment) = (Client::new(uri)?, experiment.to_string());
        let (news, thread) = (Mutex::new(Some(news)), Mutex::default());
        let sender = Arc::new(Self { client, experiment, news, thread });
        let own = sender.clone();
        let work = move || own.send_what_comes(&coming);
        let started = std::thread::Builder::new().name("mlflow".into()).spawn(work);
        *sender.thread.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(started.context("the thread that sends to MLflow cannot be started")?);
        Ok(sender)
    }

    /// Sends the newest epochs of each run, until nothing more comes.
    fn send_what_comes(&self, coming: &mpsc::Receiver<News>) {
        let mut left: BTreeMap<String, News> = BTreeMap::new();
        let mut told = false;
        loop {
            let next = match left.is_empty() {
                true => coming.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => coming.recv_timeout(PAUSE),
            };
            match next {
                Ok(news) => drop(left.insert(news.run.clone(), news)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let newer = coming.try_iter().map(|news| (news.run.clone(), news));
            left.extend(newer.collect::<Vec<_>>());
            let sent = self.client.experiment(&self.experiment).and_then(|experiment| {
                while let Some((run, news)) = left.first_key_value() {
                    self.send(&experiment, run, &news.config, &news.epochs)?;
                    left.pop_first();
                }
                Ok(())
            });
            match sent {
                Ok(()) => told = false,
                Err(e) if !told => {
                    note(format!("MLflow: {e:#}; the runs go on, and it is tried again"));
                    told = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Sends what a run in MLflow does not have of its settings and epochs; returns the run.
    fn send(
        &self,
        experiment: &str,
        name: &str,
        config: &RunConfig,
        epochs: &Epochs,
    ) -> Result<Run> {
        let run = self.client.run(experiment, name)?;
        let sent: usize = run.tag(SENT).and_then(|sent| sent.parse().ok()).unwrap_or(0);
        if sent == 0 {
            let table = config.table()?;
            let plain = |value: &toml::Value| match value {
                toml::Value::String(text) => text.clone(),
                value => value.to_string(),
            };
            let settings = table.iter().map(|(key, value)| (key.clone(), plain(value)));
            self.client.settings(&run, &settings.collect::<Vec<_>>())?;
        }
        let steps = epochs.column("epoch").unwrap_or_default();
        let time_ms = now_ms();
        for (row, &step) in steps.iter().enumerate().skip(sent) {
            let value = |key: &str| Some(*epochs.column(key)?.get(row)?);
            let named = epochs.names().filter(|name| *name != "epoch");
            let points = named.filter_map(|key| {
                let value = value(key).filter(|value| value.is_finite())?;
                Some(Point { key: key.into(), value, step: step as u64, time_ms })
            });
            // With the epoch's numbers, in one request, that they are there.
            let tag = (SENT, (row + 1).to_string());
            self.client.epoch(&run, &points.collect::<Vec<_>>(), tag)?;
        }
        Ok(run)
    }

    /// Sends what is finished: every run of the plan, and the tables. What cannot be sent is left
    /// for the next time.
    pub fn finish(&self, plan: &Plan, summary: &Summary) -> Result<()> {
        drop(self.news.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = thread.map(JoinHandle::join);
        if let Err(e) = self.send_finished(plan, summary) {
            note(format!("MLflow: {e:#}; the same command sends what is missing, later"));
        }
        Ok(())
    }

    fn send_finished(&self, plan: &Plan, summary: &Summary) -> Result<()> {
        let experiment = self.client.experiment(&self.experiment)?;
        for run in plan.finished(&summary.folder)? {
            let folder = summary.folder.join(&run.name);
            let epochs = Epochs::read(&folder)?;
            let there = self.send(&experiment, &run.name, &run.config, &epochs)?;
            if there.tag(DONE).is_some() {
                continue;
            }
            self.send_files(&there, &folder, &FILES)?;
            let ended = Provenance::read(&folder)?.finished_unix_s.unwrap_or_default() * 1000;
            self.client.end(&there, "FINISHED", ended, (DONE, "true"))?;
        }
        for (run, error) in &summary.failed {
            let there = self.client.run(&experiment, run)?;
            self.client.end(&there, "FAILED", now_ms(), ("ganomaly.error", error))?;
        }
        let tables = self.client.run(&experiment, OF_TABLES)?;
        self.send_files(&tables, &summary.folder, &TABLES)?;
        self.client.end(&tables, "FINISHED", now_ms(), (DONE, "true"))
    }

    fn send_files(&self, run: &Run, folder: &Path, files: &[&str]) -> Result<()> {
        for file in files {
            let path: PathBuf = folder.join(file);
            if path.is_file() {
                self.client.file(run, file, &path)?;
            }
        }
        Ok(())
    }
}

impl Follower for Sender {
    fn epochs(&self, run: &str, config: &RunConfig, epochs: &[Epoch]) -> Result<()> {
        let epochs = Epochs::parse(&to_csv(config, epochs)?)?;
        let news = News { run: run.into(), config: config.clone(), epochs };
        if let Some(sender) = &*self.news.lock().unwrap_or_else(PoisonError::into_inner) {
            // The thread is gone only if the process is about to end.
            let _ = sender.send(news);
        }
        Ok(())
    }
}
