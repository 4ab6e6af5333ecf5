//! The requests of MLflow's tracking server that are needed
//! (<https://mlflow.org/docs/latest/rest-api.html>).

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use ganomaly_data::{printable, shown};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use ureq::http::Response;
use ureq::{Agent, Body};

/// How long the server may take to accept a connection, and to answer.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(30);
/// The server's limits on one request, and on a setting.
const SETTINGS: usize = 100;
const LETTERS: usize = 6000;
/// The tag that a run is found by.
const NAME: &str = "ganomaly.run";

/// A server.
pub struct Client {
    agent: Agent,
    uri: String,
    /// The header with which to ask, if the environment has a name and password or a token.
    authorization: Option<String>,
}

/// A run on the server.
pub struct Run {
    id: String,
    /// Where its files are.
    files: String,
    tags: BTreeMap<String, String>,
}

impl Run {
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.get(key).map(String::as_str)
    }

    fn read(run: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().map(String::from);
        let info = &run["info"];
        let of_tag = |tag: &Value| Some((text(&tag["key"])?, text(&tag["value"])?));
        Ok(Self {
            id: text(&info["run_id"]).context("a run without an id")?,
            files: text(&info["artifact_uri"]).unwrap_or_default(),
            tags: run["data"]["tags"].as_array().into_iter().flatten().filter_map(of_tag).collect(),
        })
    }
}

/// A number of an epoch.
pub struct Point {
    pub key: String,
    pub value: f64,
    pub step: u64,
    pub time_ms: u64,
}

impl Client {
    /// Credentials are those of MLflow's own clients: `MLFLOW_TRACKING_TOKEN`, or
    /// `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`.
    pub fn new(uri: &str) -> Result<Self> {
        ensure!(
            ["http://", "https://"].iter().any(|scheme| uri.starts_with(scheme)),
            "--mlflow {}: an address begins with http:// or https://",
            printable(uri)
        );
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .http_status_as_error(false)
            .build();
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let basic = |user: String| {
            let password = variable("MLFLOW_TRACKING_PASSWORD").unwrap_or_default();
            let both = format!("{user}:{password}");
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both))
        };
        let token = variable("MLFLOW_TRACKING_TOKEN").map(|token| format!("Bearer {token}"));
        let authorization = token.or_else(|| variable("MLFLOW_TRACKING_USERNAME").map(basic));
        let (agent, uri) = (Agent::new_with_config(config), uri.trim_end_matches('/').to_string());
        Ok(Self { agent, uri, authorization })
    }

    /// The id of the experiment of this name, which is made if it is missing.
    pub fn experiment(&self, name: &str) -> Result<String> {
        let id = |of: &Value| of["experiment_id"].as_str().map(String::from);
        let find = || -> Result<Option<String>> {
            let filter = format!("name = '{}'", name.replace('\'', "\\'"));
            let found = json!({ "max_results": 1, "filter": filter });
            let found = self.post("experiments/search", &found)?;
            Ok(id(&found["experiments"][0]))
        };
        if let Some(id) = find()? {
            return Ok(id);
        }
        match self.post("experiments/create", &json!({ "name": name })) {
            Ok(made) => id(&made).context("an experiment without an id"),
            // Another process may have made it.
            Err(e) => find()?.ok_or(e),
        }
    }

    /// The run of this name in an experiment, which is made if it is missing.
    pub fn run(&self, experiment: &str, name: &str) -> Result<Run> {
        let filter = format!("tags.`{NAME}` = '{name}'");
        let search = json!({ "experiment_ids": [experiment], "filter": filter, "max_results": 1 });
        let found = self.post("runs/search", &search)?;
        if found["runs"][0].is_object() {
            return Run::read(&found["runs"][0]);
        }
        let made = json!({
            "experiment_id": experiment,
            "run_name": name,
            "start_time": now_ms(),
            "tags": [{ "key": NAME, "value": name }],
        });
        Run::read(&self.post("runs/create", &made)?["run"])
    }

    /// Logs a run's settings.
    pub fn settings(&self, run: &Run, settings: &[(String, String)]) -> Result<()> {
        for part in settings.chunks(SETTINGS) {
            let each = part.iter().map(|(key, value)| {
                let value: String = value.chars().take(LETTERS).collect();
                json!({ "key": key, "value": value })
            });
            let batch = json!({ "run_id": run.id, "params": each.collect::<Vec<_>>() });
            self.post("runs/log-batch", &batch)?;
        }
        Ok(())
    }

    /// Logs an epoch's numbers with a tag.
    pub fn epoch(&self, run: &Run, points: &[Point], (key, value): (&str, String)) -> Result<()> {
        let each = points.iter().map(|point| {
            let Point { key, value, step, time_ms } = point;
            json!({ "key": key, "value": value, "step": step, "timestamp": time_ms })
        });
        let batch = json!({
            "run_id": run.id,
            "metrics": each.collect::<Vec<_>>(),
            "tags": [{ "key": key, "value": value }],
        });
        self.post("runs/log-batch", &batch).map(drop)
    }

    /// Ends a run with a status and a tag.
    pub fn end(&self, run: &Run, status: &str, ms: u64, (key, value): (&str, &str)) -> Result<()> {
        let tag = json!({ "run_id": run.id, "key": key, "value": value });
        self.post("runs/set-tag", &tag)?;
        let update = json!({ "run_id": run.id, "status": status, "end_time": ms });
        self.post("runs/update", &update).map(drop)
    }

    /// Sends a file of a run. The server must take files itself, which `mlflow server` does by
    /// default.
    pub fn file(&self, run: &Run, name: &str, path: &Path) -> Result<()> {
        let inside = run.files.strip_prefix("mlflow-artifacts:").with_context(|| {
            format!(
                "the server keeps files at {}, where this program cannot write; start it with --serve-artifacts",
                printable(&run.files)
            )
        })?;
        let inside = inside.trim_start_matches('/');
        let url = format!("{}/api/2.0/mlflow-artifacts/artifacts/{inside}/{name}", self.uri);
        let file = File::open(path).with_context(|| shown(path))?;
        let length = file.metadata().with_context(|| shown(path))?.len();
        let mut request = self.agent.put(&url).header("content-length", length);
        request = request.header("content-type", "application/octet-stream");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let response = request.send(file);
        self.answer(&format!("sending {name}"), response).map(drop)
    }

    fn post(&self, what: &str, value: &Value) -> Result<Value> {
        let url = format!("{}/api/2.0/mlflow/{what}", self.uri);
        let mut request = self.agent.post(&url).header("content-type", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let text = self.answer(what, request.send(value.to_string()))?;
        serde_json::from_str(&text).with_context(|| format!("{}: no JSON: {what}", self.uri))
    }

    /// The text of an answer; an error if it is not one of success.
    fn answer(&self, what: &str, sent: Result<Response<Body>, ureq::Error>) -> Result<String> {
        let mut response = sent.with_context(|| format!("{} does not answer", self.uri))?;
        let status = response.status();
        let text = response.body_mut().read_to_string();
        let text = text.with_context(|| format!("{}: {what}", self.uri))?;
        if !status.is_success() {
            let said: Value = serde_json::from_str(&text).unwrap_or_default();
            let said = said["message"].as_str().unwrap_or_default();
            bail!("{}: {what}: {status} {}", self.uri, printable(said));
        }
        Ok(text)
    }
}

/// The time now, in the server's unit.
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis().try_into().unwrap_or(u64::MAX)
}
