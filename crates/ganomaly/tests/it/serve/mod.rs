//! `ganomaly serve`, asked by good, hostile, slow and many clients, and by a browser.

pub mod client;
mod malformed;

use crate::browser;
use crate::common::{Sandbox, skip, stderr, stdout};
use crate::own_images::{SMALL, plates};
use base64::Engine;
use client::{FORM, Reply, Server, form, request};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A model `p.gano`, and the plates that it was fitted to.
fn fitted() -> &'static Sandbox {
    static FITTED: OnceLock<Sandbox> = OnceLock::new();
    FITTED.get_or_init(|| {
        let sandbox = plates(60, 4);
        sandbox.ok(&[&["fit", "plates", "-o", "p.gano"], &SMALL[..]].concat());
        fs::copy(sandbox.path("p.gano"), sandbox.path("other.gano")).unwrap();
        sandbox
    })
}

const GOOD: &str = "plates/test/good/000.png";
const BAD: &str = "plates/test/blot/000.png";

fn image(name: &str) -> Vec<u8> {
    fs::read(fitted().path(name)).unwrap()
}

fn close(a: &Value, b: f64) -> bool {
    (a.as_f64().unwrap() - b).abs() <= 1e-5 * b.abs()
}

#[test]
fn answers_are_those_of_the_program() {
    let server = Server::start(fitted(), &["p.gano", "other.gano"]);
    let all = Command::new(crate::common::GANOMALY)
        .args(["score", "p.gano", GOOD, BAD, "--format", "json"])
        .current_dir(fitted().0.path())
        .output()
        .unwrap();
    let expected: Vec<Value> =
        stdout(&all).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let same = |image: &Value, expected: &Value| {
        let scores = image["scores"].as_object().unwrap();
        assert_eq!(scores.len(), 4);
        for (name, score) in scores {
            assert!(close(score, expected[name].as_f64().unwrap()), "{image} {expected}");
        }
        assert!(close(&image["score"], expected["map_max"].as_f64().unwrap()));
        for key in ["p_value", "verdict"] {
            assert_eq!(image[key], expected[key], "{image} {expected}");
        }
    };
    let one = server.post("/v1/score?model=p", &image(GOOD));
    assert_eq!(one.status, 200, "{}", one.text());
    let one = one.json();
    assert_eq!(one["model"], "p");
    same(&one["images"][0], &expected[0]);
    assert!(one["images"][0]["heat_map"].is_null());

    let (good, bad) = (image(GOOD), image(BAD));
    let files = form(&[("good.png", &good), ("bad.png", &bad)]);
    let path = "POST /v1/score?model=p&heat_map=true&reconstruction=true";
    let both = server.request(path, FORM, &files).json();
    assert_eq!(both["images"][1]["name"], "bad.png");
    for (at, expected) in expected.iter().enumerate() {
        same(&both["images"][at], expected);
    }
    let png = |of: &Value| {
        let text = of.as_str().unwrap().strip_prefix("data:image/png;base64,").unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        image::load_from_memory(&bytes).unwrap().into_rgb8()
    };
    // The heat map is that of the program, the reconstruction as large as what the network sees.
    let args = ["score", "p.gano", BAD, "--heat-maps", "maps"];
    fitted().run(&args);
    let map = image::open(fitted().path("maps/000.png")).unwrap().into_rgb8();
    assert_eq!(png(&both["images"][1]["heat_map"]), map);
    assert_eq!(png(&both["images"][1]["reconstruction"]).dimensions(), (16, 16));

    let models = server.get("/v1/models").json();
    let model = &models["models"][0];
    assert_eq!((&model["name"], &model["side"]), (&json!("p"), &json!(16)));
    assert_eq!(model["normal_scores"].as_array().unwrap().len(), 20);
    assert!(model["text"].as_str().unwrap().contains("held-out normal images"));
    let (status, why) = server.post("/v1/score", &good).failed();
    assert!(status == 400 && why.contains("name a model"), "{why}");
}

#[test]
fn the_description_is_of_what_is_answered() {
    let server = Server::start(fitted(), &["p.gano"]);
    let described = server.get("/openapi.json").json();
    let schemas = &described["components"]["schemas"];
    let fits = |value: &Value, schema: &str| {
        let (value, schema) = (value.as_object().unwrap(), &schemas[schema]);
        for required in schema["required"].as_array().unwrap() {
            assert!(value.contains_key(required.as_str().unwrap()), "{required} of {value:?}");
        }
        let known = schema["properties"].as_object().unwrap();
        assert!(value.keys().all(|key| known.contains_key(key)), "{value:?}");
    };
    let answer = server.post("/v1/score?heat_map=true&reconstruction=true", &image(BAD)).json();
    fits(&answer, "Answer");
    fits(&answer["images"][0], "Image");
    assert_eq!(answer["images"][0].as_object().unwrap().len(), 8, "every property was seen");
    fits(&server.get("/v1/models").json()["models"][0], "Model");
    fits(&server.get("/nothing").json(), "Failure");
    for (path, methods) in described["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let reply = server.request(&format!("{} {path}", method.to_uppercase()), "", b"");
            assert!(![404, 405].contains(&reply.status), "{method} {path}: {}", reply.status);
        }
    }
    let text = server.get("/metrics").text();
    for line in [
        "ganomaly_images_total{model=\"p\",verdict=",
        "ganomaly_requests_total{path=\"/v1/score\",status=\"200\"} 1",
        "ganomaly_waiting_images 0",
        "# EOF",
    ] {
        assert!(text.contains(line), "{text} should contain {line}");
    }
    let Ok(python) = std::env::var("GANOMALY_PYTHON") else {
        return skip::missing("GANOMALY_PYTHON names no Python with openapi-spec-validator");
    };
    fs::write(fitted().path("openapi.json"), server.get("/openapi.json").body).unwrap();
    let args = ["-m", "openapi_spec_validator", "openapi.json"];
    let judged = Command::new(python).args(args).current_dir(fitted().0.path()).output().unwrap();
    assert!(judged.status.success(), "{}{}", stdout(&judged), stderr(&judged));
}

#[test]
fn ten_thousand_malformed_requests_are_the_clients_fault() {
    let server = Server::start(fitted(), &["p.gano", "--timeout", "2"]);
    let kinds = malformed::requests(&server.address, &image("plates/test/good/001.png"));
    assert!(kinds.len() >= 60);
    let round = || {
        for (name, bytes) in &kinds {
            // What is no HTTP may also be hung up on.
            let status = server.raw(bytes).map_or(400, |reply| reply.status);
            assert!((400..500).contains(&status), "{name}: {status}");
        }
    };
    let rounds = |each: usize| {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..each).for_each(|_| round()));
            }
        });
    };
    // The first requests of several clients at once fill the allocator's pools.
    rounds(10);
    #[cfg(target_os = "linux")]
    let before = server.memory();
    rounds(10_000 / kinds.len() / 4 + 1);
    #[cfg(target_os = "linux")]
    assert!(server.memory() < before + 20_000, "{before} KiB became {}", server.memory());
    assert_eq!(server.post("/v1/score", &image(GOOD)).status, 200);
    // One fewer than was too many.
    let most = form(&vec![("a.png", &malformed::smallest()[..]); 64]);
    assert_eq!(server.request("POST /v1/score", FORM, &most).status, 200);
}

#[test]
fn more_than_the_limits_is_refused_at_once() {
    let limits = ["p.gano", "--max-request", "1", "--queue", "2", "--per-client", "3"];
    let server = Server::start(fitted(), &[&limits[..], &["--batch-delay", "1500"]].concat());
    let (status, why) = server.post("/v1/score", &vec![0; 2 << 20]).failed();
    assert!(status == 413 && why.contains("1048576 bytes"), "{status} {why}");
    let good = image(GOOD);
    let (status, why) = server
        .request("POST /v1/score", FORM, &form(&[("a", &good), ("b", &good), ("c", &good)]))
        .failed();
    assert!(status == 503 && why.contains("waiting"), "{status} {why}");

    // Two images wait for a batch; then there is no place, and then one request too many.
    let replies = std::thread::scope(|scope| {
        let ask = || server.post("/v1/score", &good);
        let first: Vec<_> = (0..2).map(|_| scope.spawn(ask)).collect();
        std::thread::sleep(Duration::from_millis(500));
        let ready = server.get("/readyz");
        assert_eq!(ready.status, 503);
        let third = ask();
        assert!(third.status == 503 && third.head.contains("retry-after: 1"), "{third:?}");
        // A body that does not arrive holds a request open.
        let mut slow = server.connect();
        let head = request("POST /v1/score", &server.address, "", &good);
        slow.write_all(&head[..head.len() - 1]).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let fourth = ask();
        assert!(fourth.status == 429 && fourth.head.contains("retry-after: 1"), "{fourth:?}");
        drop(slow);
        first.into_iter().map(|reply| reply.join().unwrap().status).collect::<Vec<_>>()
    });
    assert_eq!(replies, [200, 200]);
    assert_eq!(server.get("/readyz").text(), "ready\n");
}

#[test]
fn stalled_clients_cost_nobody_anything_and_are_ended() {
    let server = Server::start(fitted(), &["p.gano", "--timeout", "3"]);
    let good = image(GOOD);
    let whole = request("POST /v1/score", &server.address, "", &good);
    // Nothing, half a head, half a body.
    let mut stalled: Vec<_> = (0..180)
        .map(|at| {
            let mut stream = server.connect();
            let part = [0, 20, whole.len() - 5][at % 3];
            stream.write_all(&whole[..part]).unwrap();
            stream
        })
        .collect();
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(server.post("/v1/score", &good).status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    for (at, stream) in stalled.iter_mut().enumerate() {
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        let status = Reply::parse(&reply).map(|reply| reply.status);
        assert!(status.is_none_or(|status| status == 408), "{at}: {status:?}");
        assert!(at % 3 != 2 || status == Some(408), "{at}");
    }
}

#[test]
fn what_is_under_way_is_finished_and_models_are_read_again() {
    let mut server = Server::start(fitted(), &["p.gano"]);
    // A model that cannot be read leaves the one that is there.
    let (path, good) = (fitted().path("p.gano"), image(GOOD));
    let own = Sandbox::empty();
    fs::copy(&path, own.path("p.gano")).unwrap();
    let mut reloading = Server::start(&own, &["p.gano"]);
    let before = reloading.post("/v1/score", &good).json();
    fs::write(own.path("p.gano"), "damaged").unwrap();
    reloading.signal(Signal::HUP);
    reloading.logged("they stay");
    assert_eq!(reloading.post("/v1/score", &good).json(), before);
    fitted().ok(&[&["fit", "plates", "-o", "new.gano", "--seed", "5"], &SMALL[..]].concat());
    fs::copy(fitted().path("new.gano"), own.path("p.gano")).unwrap();
    reloading.signal(Signal::HUP);
    reloading.logged("were read again");
    assert_ne!(reloading.post("/v1/score", &good).json(), before);
    reloading.signal(Signal::INT);
    assert!(reloading.ended().success());

    // Clients that keep asking on open connections, until they are told to close or refused.
    let (answered, lost, ending) =
        (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Ok(mut stream) = std::net::TcpStream::connect(&server.address) {
                    let once = request("POST /v1/score", &server.address, "", &good);
                    let (close, find) = (b"connection: close\r\n", once.windows(19));
                    let at = find.into_iter().position(|part| part == close).unwrap();
                    let kept = [&once[..at], &once[at + close.len()..]].concat();
                    loop {
                        stream.write_all(&kept).unwrap();
                        let Some(reply) = read_one(&mut stream) else {
                            lost.fetch_add(1, Ordering::Relaxed);
                            break;
                        };
                        assert_eq!(reply.status, 200, "{reply:?}");
                        answered.fetch_add(1, Ordering::Relaxed);
                        if reply.head.contains("connection: close") {
                            break;
                        }
                    }
                    if ending.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(700));
        server.signal(Signal::TERM);
        ending.store(true, Ordering::Relaxed);
    });
    assert!(server.ended().success());
    let (answered, lost) = (answered.into_inner(), lost.into_inner());
    assert!(answered > 8 && lost == 0, "{answered} answered, {lost} lost");
}

/// The next answer on a connection that stays open.
fn read_one(stream: &mut std::net::TcpStream) -> Option<Reply> {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(reply) = Reply::parse(&bytes) {
            let length = reply.head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if reply.body.len() >= length?.trim().parse().ok()? {
                return Some(reply);
            }
        }
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&part[..n]),
        }
    }
}

#[test]
fn only_those_with_the_token_are_let_in() {
    let open = ["serve", "p.gano", "--listen", "0.0.0.0:0"];
    fitted().fails(&open, &["0.0.0.0:0: others can reach this address", "--token-file"]);
    fitted().write("short", "abc").write("token", "correct-horse-battery\n");
    fitted()
        .fails(&["serve", "p.gano", "--token-file", "short"], &["short: a token has at least 16"]);
    fitted().fails(&["serve", "p.gano", "other.gano", "p.gano"], &["two models have the name p"]);
    fitted().fails(&["serve", "none.gano"], &["none.gano"]);
    fitted().fails(&["serve", "p.gano", "--listen", "nowhere"], &["--listen"]);

    let server = Server::start(fitted(), &["p.gano", "--token-file", "token"]);
    for path in ["/v1/models", "/metrics"] {
        for header in
            ["", "authorization: Bearer wrong\r\n", "authorization: correct-horse-battery\r\n"]
        {
            let reply = server.request(&format!("GET {path}"), header, b"");
            assert!(reply.status == 401 && reply.head.contains("www-authenticate: bearer"));
        }
        let header = "authorization: bearer correct-horse-battery\r\n";
        assert_eq!(server.request(&format!("GET {path}"), header, b"").status, 200);
    }
    for path in ["/", "/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    // A name that leads here is no reason to let a page of another site in.
    let server = Server::start(fitted(), &["p.gano"]);
    let ask = |host: &str, headers: &str| {
        server.raw(&request("GET /v1/models", host, headers, b"")).unwrap().status
    };
    let own = format!("origin: http://{}\r\n", server.address);
    assert_eq!(ask(&server.address, &own), 200);
    assert_eq!(ask("localhost:1", ""), 200);
    assert_eq!(ask("[::1]:80", ""), 200);
    assert_eq!(ask("example.com", ""), 403);
    assert_eq!(ask(&server.address, "origin: http://example.com\r\n"), 403);
    assert_eq!(ask(&server.address, "origin: null\r\n"), 403);
}

#[test]
fn the_page_works_in_a_browser() {
    let Some(mut browser) = browser::start() else { return };
    let server = Server::start(fitted(), &["p.gano", "other.gano"]);
    let (good, bad) = (fitted().path(GOOD), fitted().path(BAD));
    fitted().write("no-image.png", "hello");
    let none = fitted().path("no-image.png");
    let url = format!("http://{}/", server.address);
    let status = "document.getElementById('status').textContent";
    for width in [390, 1400] {
        for scheme in ["light", "dark"] {
            browser.open(&url, width, scheme);
            browser.until("document.getElementById('model').options.length");
            browser.choose("#files", &[&good, &bad]);
            browser.until(&format!("/scored/.test({status})"));
            assert_eq!(browser.evaluate(status), "2 scored");
            let (complaints, seen) =
                browser::check(&mut browser, &url, &format!("service-{width}-{scheme}"));
            assert!(complaints.is_empty(), "{complaints:#?}");
            assert_eq!(seen["figures"]["results"], 6);
            let text = browser.evaluate("document.body.innerText");
            let text = text.as_str().unwrap();
            for words in ["000.png", "threshold", "of normal images score as high", "heat map"] {
                assert!(text.contains(words), "{text} should contain {words}");
            }
        }
    }
    browser.choose("#files", &[&none]);
    browser.until(&format!("/failed/.test({status})"));
    let text = browser.evaluate("document.querySelector('.failed').textContent");
    assert!(text.as_str().unwrap().contains("the image: cannot read the image"), "{text}");
    // By keyboard: the first two stops are the model and the files.
    browser.evaluate("document.activeElement.blur()");
    let mut stops = Vec::new();
    for _ in 0..2 {
        for kind in ["keyDown", "keyUp"] {
            let key =
                json!({ "type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9 });
            browser.call("Input.dispatchKeyEvent", &key);
        }
        stops.push(browser.evaluate("document.activeElement.id"));
    }
    assert_eq!(stops, ["model", "files"]);
}
