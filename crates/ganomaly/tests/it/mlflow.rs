//! `sweep --mlflow` with MLflow's own server and client.

use crate::common::{Sandbox, TINY, skip, stderr, until};
use crate::serve::client::{Reply, request};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

/// `mlflow server` in a sandbox.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(python: &str, sandbox: &Sandbox, port: u16) -> Self {
        let uri = format!("sqlite:///{}", sandbox.path("db").display());
        let mut command = Command::new(python);
        command.args(["-m", "mlflow", "server", "--backend-store-uri", &uri]);
        command.arg("--artifacts-destination").arg(sandbox.path("files"));
        command.args(["--host", "127.0.0.1", "--workers", "1", "--port", &port.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let server = Self { child: command.spawn().unwrap(), address: format!("127.0.0.1:{port}") };
        until(PATIENCE, "the server answers", || server.ask("GET /health", b"").is_some());
        server
    }

    fn ask(&self, first: &str, body: &[u8]) -> Option<Reply> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let bytes = request(first, &self.address, "content-type: application/json\r\n", body);
        stream.write_all(&bytes).ok()?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).ok()?;
        Reply::parse(&reply).filter(|reply| reply.status == 200)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its workers too.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

#[test]
fn what_a_server_misses_is_sent_later_and_nothing_twice() {
    let config = format!("{TINY}also_score = []\nabnormal_class = \"ring\"\nseed = 0\n");
    let variants =
        "[[variant]]\nepochs = 400\n[[variant]]\nepochs = 1\nlr = 1e30\n[[variant]]\nepochs = 2\n";
    let sandbox = Sandbox::of(&(config.replace("epochs = 1\n", "") + variants));
    sandbox.fails(&["sweep", "s.toml", "--mlflow", "localhost"], &["begins with http://"]);
    let Ok(python) = std::env::var("GANOMALY_PYTHON") else {
        return skip::missing("GANOMALY_PYTHON names no Python with MLflow");
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let uri = format!("http://127.0.0.1:{port}");
    let args = ["sweep", "s.toml", "--jobs", "1", "--mlflow", &uri];
    let server = Server::start(&python, &sandbox, port);
    let mut sweep = sandbox.command(&args);
    let mut sweep = sweep.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // The first epochs arrive while the run trains; then the server is gone.
    let search = json!({ "experiment_ids": ["1"], "max_results": 5 }).to_string();
    until(PATIENCE, "epochs arrive", || {
        let found = server.ask("POST /api/2.0/mlflow/runs/search", search.as_bytes());
        found.is_some_and(|reply| reply.text().contains("ganomaly.epochs"))
    });
    assert!(sweep.try_wait().unwrap().is_none(), "the runs have ended already");
    drop(server);
    let output = sweep.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "one run fails, and that alone");
    let said = stderr(&output);
    assert!(said.contains("the same command sends what is missing, later"), "{said}");

    let _server = Server::start(&python, &sandbox, port);
    for _ in 0..2 {
        let output = sandbox.run(&args);
        assert!(stderr(&output).contains("0 runs done now, 2 were there"), "{}", stderr(&output));
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_mlflow.py");
    let read = Command::new(&python).args([script, &uri, "s"]).output().unwrap();
    assert!(read.status.success(), "{}", stderr(&read));
    let all: Value = serde_json::from_slice(&read.stdout).unwrap();
    assert_eq!(all.as_object().unwrap().len(), 4, "two runs, one that failed, the tables");
    let tables = sandbox.path("results/s/table.md").metadata().unwrap().len();
    assert_eq!(all["tables"]["files"]["table.md"], tables);
    assert!(all["tables"]["files"]["plots/auroc.svg"].is_u64());
    let failed = all.as_object().unwrap().values().filter(|run| run["status"] == "FAILED");
    assert_eq!(failed.count(), 1);
    for run in sandbox.runs("s") {
        let found = &all[run.file_name().unwrap().to_str().unwrap()];
        assert_eq!(found["status"], "FINISHED");
        assert_eq!(found["settings"]["abnormal_class"], "ring");
        for file in ["config.toml", "epochs.csv", "metrics.json", "weights.safetensors"] {
            assert_eq!(found["files"][file], run.join(file).metadata().unwrap().len(), "{file}");
        }
        // Every number, exactly, once.
        let epochs = fs::read_to_string(run.join("epochs.csv")).unwrap();
        let mut rows = epochs.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = rows.next().unwrap();
        let rows: Vec<_> = rows.collect();
        assert_eq!(found["numbers"].as_object().unwrap().len(), names.len() - 1);
        for (at, name) in names.iter().enumerate().skip(1) {
            let written: Vec<(f64, f64)> = rows
                .iter()
                .map(|row| (row[0].parse().unwrap(), row[at].parse().unwrap()))
                .collect();
            let mut found: Vec<(f64, f64)> =
                serde_json::from_value(found["numbers"][name].clone()).unwrap();
            found.sort_by(|a, b| a.0.total_cmp(&b.0));
            // Times are those of the epochs as they were when they were sent.
            let timeless = !["train_s", "score_s", "images_per_s"].contains(name);
            assert!(!timeless || found == written, "{name}: {found:?}, not {written:?}");
            assert_eq!(found.len(), written.len(), "{name}");
        }
    }
}
