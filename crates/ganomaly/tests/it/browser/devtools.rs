//! Chromium, driven through its DevTools pipe: messages are JSON, each terminated by a zero byte.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running browser with one open page.
pub struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    sent: u64,
    /// Everything received that was not an answer.
    pub events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// The browser's command: `GANOMALY_CHROMIUM`, else one from the path.
pub fn find() -> Option<String> {
    let named = std::env::var("GANOMALY_CHROMIUM").ok();
    named.or_else(|| {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let path = std::env::var_os("PATH")?;
        names
            .iter()
            .find(|name| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()))
            .map(ToString::to_string)
    })
}

impl Browser {
    pub fn start(command: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The pipe is descriptors 3 and 4, which the shell makes from its own input and output.
        let mut child = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#, command])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .args(["--no-first-run", "--disable-background-networking"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(["--remote-debugging-pipe", "about:blank"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, messages) = channel();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { break };
                if sender.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let input = child.stdin.take().unwrap();
        let mut browser = Self {
            child,
            input,
            messages,
            session: None,
            sent: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let page = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let target = json!({ "targetId": page["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", &target);
        browser.session = session["sessionId"].as_str().map(String::from);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Calls a method and waits for its answer.
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.clone().into();
        }
        self.input.write_all(format!("{message}\0").as_bytes()).unwrap();
        let sent = self.sent;
        let mut answer = self.wait(method, |message| message["id"] == sent);
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].take()
    }

    /// Waits for a message; other messages are kept among the events.
    fn wait(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let message = self
                .messages
                .recv_timeout(left)
                .unwrap_or_else(|e| panic!("the browser does not answer {what}: {e}"));
            if wanted(&message) {
                return message;
            }
            self.events.push(message);
        }
    }

    /// Opens a page at a width, in a colour scheme, and waits until it is loaded; clears the
    /// events.
    pub fn open(&mut self, url: &str, width: u32, scheme: &str) {
        let size =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", &media);
        self.call("Page.navigate", &json!({ "url": "about:blank" }));
        self.wait("about:blank", |message| message["method"] == "Page.loadEventFired");
        self.events.clear();
        self.call("Page.navigate", &json!({ "url": url }));
        if !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            self.wait(url, |message| message["method"] == "Page.loadEventFired");
        }
    }

    /// The value of an expression, or of the promise it gives once that resolves.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut result = self.call("Runtime.evaluate", &params);
        assert!(result["exceptionDetails"].is_null(), "{}", result["exceptionDetails"]);
        result["result"]["value"].take()
    }

    /// The number of elements that match a selector, found without any script.
    pub fn count(&mut self, selector: &str) -> usize {
        let document = self.call("DOM.getDocument", &json!({}));
        let query = json!({ "nodeId": document["root"]["nodeId"], "selector": selector });
        let found = self.call("DOM.querySelectorAll", &query);
        found["nodeIds"].as_array().map_or(0, Vec::len)
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, expression: &str) {
        let look = format!("const look = () => ({expression}) ? done() : setTimeout(look, 20);");
        self.evaluate(&format!("new Promise((done) => {{ {look} look(); }})"));
    }

    /// Chooses files in a file input, as a user would.
    pub fn choose(&mut self, selector: &str, files: &[&Path]) {
        let document = self.call("DOM.getDocument", &json!({}));
        let query = json!({ "nodeId": document["root"]["nodeId"], "selector": selector });
        let input = self.call("DOM.querySelector", &query);
        self.call("DOM.setFileInputFiles", &json!({ "nodeId": input["nodeId"], "files": files }));
    }

    /// The whole page as a PNG in base64.
    pub fn screenshot(&mut self) -> String {
        let params = json!({ "format": "png", "captureBeyondViewport": true });
        let shot = self.call("Page.captureScreenshot", &params);
        shot["data"].as_str().unwrap_or_default().to_string()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
