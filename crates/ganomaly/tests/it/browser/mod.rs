//! Pages in a real browser: Chromium, if it is installed or named by `GANOMALY_CHROMIUM`. With
//! `GANOMALY_SCREENSHOTS=DIR` it leaves screenshots of the pages there.

mod devtools;

use crate::common::{Sandbox, skip};
use base64::Engine;
use devtools::Browser;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A config that trains in a second; its name and one of its settings go into the page unchanged.
const CONFIG: &str = r#"
dataset = "synthetic"
isize = 16
nz = 8
ngf = 4
epochs = 3
train_limit = 256
test_limit = 200
batch_size = 32
lr = 2e-3
also_score = ["batch-shuffled", "batch-sequential"]

[sweep]
abnormal_class = ["ring", "cross"]
seed = [0, 1]
"#;
/// None of it may become markup.
const NAME: &str = r#"R&D <b>"one""#;
const WIDTHS: [u32; 2] = [390, 1400];

/// A browser, or a skipped test.
pub fn start() -> Option<Browser> {
    let command = devtools::find();
    if command.is_none() {
        let install = "install it, or name it with GANOMALY_CHROMIUM";
        skip::missing(&format!("there is no Chromium: {install}"));
    }
    command.map(|command| Browser::start(&command))
}

/// Opens a page and returns every complaint about it, the number of figures per section, and its
/// title.
fn look(browser: &mut Browser, page: &Path, width: u32, scheme: &str) -> (Vec<String>, Value) {
    let own = format!("file://{}", page.display());
    browser.open(&own, width, scheme);
    let stem = page.file_stem().unwrap().to_string_lossy();
    check(browser, &own, &format!("{stem}-{width}-{scheme}"))
}

/// The same of the page that is open, which may ask for what begins with `own`.
pub fn check(browser: &mut Browser, own: &str, name: &str) -> (Vec<String>, Value) {
    let mut seen = browser.evaluate(include_str!("check.js"));
    let list: Vec<String> = serde_json::from_value(seen["complaints"].take()).unwrap();
    let mut complaints: Vec<String> = list.into_iter().map(|c| format!("{name}: {c}")).collect();
    for event in &browser.events {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                let inside = url.strip_prefix("blob:").unwrap_or(url);
                if !inside.starts_with(own) && !url.starts_with("data:") {
                    complaints.push(format!("asks for {url}"));
                }
            }
            "Runtime.exceptionThrown" => complaints.push(format!("exception: {params}")),
            "Runtime.consoleAPICalled" => complaints.push(format!("console: {params}")),
            "Log.entryAdded" => complaints.push(format!("log: {}", params["entry"]["text"])),
            _ => {}
        }
    }
    if let Some(folder) = std::env::var_os("GANOMALY_SCREENSHOTS") {
        let file = Path::new(&folder).join(format!("{name}.png"));
        browser.evaluate("for (const d of document.querySelectorAll('details')) d.open = false");
        let png = base64::engine::general_purpose::STANDARD.decode(browser.screenshot()).unwrap();
        fs::write(file, png).unwrap();
    }
    (complaints, seen)
}

/// A page has no faults at both widths and in both colour schemes, and has these figures in its
/// sections.
fn sound(browser: &mut Browser, page: &Path, title: &str, figures: &Value) {
    for width in WIDTHS {
        for scheme in ["light", "dark"] {
            let (complaints, seen) = look(browser, page, width, scheme);
            assert!(complaints.is_empty(), "{}: {complaints:#?}", page.display());
            assert_eq!(seen["title"], title);
            assert_eq!(&seen["figures"], figures, "{}", page.display());
        }
    }
}

fn copy(from: &Path, folder: &Path, name: &str) -> (PathBuf, String) {
    let html = fs::read_to_string(from).unwrap();
    assert!(html.len() < 10_000_000, "{} bytes", html.len());
    let page = folder.join(format!("{name}.html"));
    fs::write(&page, &html).unwrap();
    (page, html)
}

#[test]
fn reports_are_sound_in_a_browser() {
    let Some(mut browser) = start() else { return };
    let sandbox = Sandbox::empty();
    let folder = sandbox.0.path().canonicalize().unwrap();
    let config = format!("{NAME}.toml");
    fs::write(folder.join(&config), CONFIG).unwrap();
    sandbox.ok(&["sweep", &config]);
    fs::write(folder.join("weights.toml"), format!("{CONFIG}w_con = [5, 50]\nw_enc = [1, 9]\n"))
        .unwrap();
    sandbox.ok(&["weights", "--config", "weights.toml"]);
    fs::write(folder.join("judged.toml"), CONFIG).unwrap();
    sandbox.ok(&["audit", "judged.toml"]);
    let written = sandbox.ok(&["report"]);
    assert_eq!(written.lines().count(), 3, "{written}");
    let sides = ["weights:w_con=5,w_enc=1", "weights:w_con=50,w_enc=1"];
    let compared = sandbox.ok(&["report", "--compare", sides[0], sides[1]]);
    let results = folder.join("results");

    let (page, html) = copy(&results.join(NAME).join("report.html"), &folder, "one");
    let figures = json!({
        "auroc": 1, "seeds": 1, "roc": 2, "precision-recall": 2, "scores": 2, "training": 4, "images": 8,
    });
    sound(&mut browser, &page, NAME, &figures);
    without_script(&mut browser, &page);

    let (many, _) = copy(&results.join("weights/report.html"), &folder, "many");
    // Main effects, a ternary plot and three maps; for each setting what the other page has.
    let figures = json!({ "settings": 1, "weightings": 5, "each-setting": 80 });
    sound(&mut browser, &many, "weights", &figures);
    let (judged, _) = copy(&results.join("judged-audit/report.html"), &folder, "judged");
    let figures = json!({
        "auroc": 1, "seeds": 1, "audit": 3, "roc": 2, "precision-recall": 2, "scores": 2, "training": 4, "images": 8,
    });
    sound(&mut browser, &judged, "judged-audit", &figures);
    let (comparison, _) = copy(&folder.join(compared.trim()), &folder, "comparison");
    sound(&mut browser, &comparison, "Comparison", &json!({ "classes": 1 }));

    every_fault_is_found(&mut browser, &folder, &html);
}

/// Without JavaScript everything but sorting works.
fn without_script(browser: &mut Browser, page: &Path) {
    browser.call("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    browser.open(&format!("file://{}", page.display()), 1400, "light");
    assert_eq!(browser.count("figure"), 20);
    assert_eq!(browser.count("table.sortable tbody tr"), 2 + 4 + 4);
    assert_eq!(browser.count("thead button"), 0, "scripts still run");
    browser.call("Emulation.setScriptExecutionDisabled", &json!({ "value": false }));
}

/// The checks above can fail: each of these pages has one fault, and each fault is reported.
fn every_fault_is_found(browser: &mut Browser, folder: &Path, html: &str) {
    let (svg, svg_end) = (html.find("<svg").unwrap(), html.find("</svg>").unwrap());
    let picture = html.find("data:image/png;base64,").unwrap() + "data:image/png;base64,".len();
    let picture_end = picture + html[picture..].find('"').unwrap();
    let without_policy = html.replace("http-equiv=\"Content-Security-Policy\"", "");
    let add = |html: &str, what: &str| html.replace("</main>", &format!("{what}</main>"));
    let figure = html.find("<figure class=\"small\"").unwrap();
    let figure_end = figure + html[figure..].find("</figure>").unwrap() + "</figure>".len();
    let faults: BTreeMap<&str, String> = BTreeMap::from([
        (
            "the figure is empty",
            format!("{}<svg aria-label=\"x\">{}", &html[..svg], &html[svg_end..]),
        ),
        ("a picture is not shown", format!("{}AAAA{}", &html[..picture], &html[picture_end..])),
        ("does not sort", html.replace("return falling ? -order : order;", "return 0;")),
        ("has no button", html.replace("heading.append(button);", "")),
        ("console:", add(html, "<script>console.error('a fault')</script>")),
        ("exception:", add(html, "<script>throw new Error('a fault')</script>")),
        (
            "asks for http://127.0.0.1:9/",
            add(&without_policy, "<img src='http://127.0.0.1:9/x' alt='x'>"),
        ),
        ("log:", add(html, "<img src='http://127.0.0.1:9/x' alt='x'>")),
        ("scrolls sideways", add(html, "<div style='width:600px'>wide</div>")),
        ("too pale", add(html, "<p style='color:#999;background:#aaa'>pale</p>")),
        ("skips a level", add(html, "<h5>deep</h5>")),
        ("leads nowhere", html.replace("id=\"roc\"", "id=\"cor\"")),
    ]);
    let page = folder.join("fault.html");
    for (expected, broken) in faults {
        assert_ne!(broken, html, "{expected}: the page was not changed");
        fs::write(&page, broken).unwrap();
        let (complaints, _) = look(browser, &page, 390, "light");
        assert!(complaints.iter().any(|c| c.contains(expected)), "{expected}: {complaints:?}");
    }
    fs::write(&page, format!("{}{}", &html[..figure], &html[figure_end..])).unwrap();
    let (_, seen) = look(browser, &page, 390, "light");
    assert_eq!(seen["figures"]["roc"], 1, "a missing figure goes unnoticed");
}
