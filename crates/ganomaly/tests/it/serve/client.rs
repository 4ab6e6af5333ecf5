//! A running service, and clients that send it whatever bytes they like.

use crate::common::Sandbox;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    child: Child,
    pub address: String,
    log: Arc<Mutex<Vec<String>>>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The status and, of a failure, what it says.
    pub fn failed(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().unwrap_or_default().to_string())
    }

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Self { status, head, body: bytes[at + 4..].to_vec() })
    }
}

impl Server {
    /// Serves models of the sandbox on a free port.
    pub fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        let all = [&["serve", "--listen", "127.0.0.1:0", "--log", "json"], args].concat();
        let mut command = sandbox.command(&all);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let (lines, into) = (BufReader::new(child.stderr.take().unwrap()).lines(), log.clone());
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| into.lock().unwrap().push(line));
        });
        let mut server = Self { child, address: String::new(), log };
        let line = server.logged("listening");
        let line: Value = serde_json::from_str(&line).unwrap();
        server.address = line["address"].as_str().unwrap().replace("http://", "");
        server
    }

    /// Waits for a line of the log.
    pub fn logged(&self, word: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let lines = self.log.lock().unwrap().clone();
            if let Some(line) = lines.iter().find(|line| line.contains(word)) {
                return line.clone();
            }
            assert!(Instant::now() < end, "no {word:?} in {lines:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes on a connection of their own, and reads until it is closed; none if that was
    /// all.
    pub fn raw(&self, bytes: &[u8]) -> Option<Reply> {
        let mut stream = self.connect();
        // It may close before it has read all of it.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        Reply::parse(&reply)
    }

    pub fn request(&self, first: &str, headers: &str, body: &[u8]) -> Reply {
        let bytes = request(first, &self.address, headers, body);
        self.raw(&bytes).unwrap_or_else(|| panic!("no answer to {first}"))
    }

    pub fn get(&self, path: &str) -> Reply {
        self.request(&format!("GET {path}"), "", b"")
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Reply {
        self.request(&format!("POST {path}"), "content-type: image/png\r\n", body)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Memory that it holds, in KiB.
    #[cfg(target_os = "linux")]
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request that closes its connection.
pub fn request(first: &str, host: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{first} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A form with files.
pub fn form(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, bytes) in files {
        let head = format!(
            "--edge\r\ncontent-disposition: form-data; name=\"f\"; filename=\"{name}\"\r\n\
             content-type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    body
}

pub const FORM: &str = "content-type: multipart/form-data; boundary=edge\r\n";
