//! A folder of images in, a calibrated detector out: `fit`, `score` and `explain` by the real
//! binary.

#[path = "../../examples/textures.rs"]
pub mod textures;

use crate::common::{Sandbox, skip, stderr, stdout};
use ganomaly::Registry;
use ganomaly_inference::model_file::{Calibrated, ModelFile, Tested};
use image::{DynamicImage, RgbImage};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A small network that learns little, in a second.
pub const SMALL: [&str; 12] = [
    "--size",
    "16",
    "--epochs",
    "3",
    "--set",
    "ngf=4",
    "--set",
    "nz=8",
    "--false-alarms",
    "0.1",
    "--hold-out",
    "20",
];

/// The same with steps enough to be interrupted between.
fn long() -> [&'static str; 12] {
    let mut long = SMALL;
    long[3] = "30";
    long
}

pub fn plates(train: usize, test: usize) -> Sandbox {
    let sandbox = Sandbox::with(&[]);
    textures::draw_set(&sandbox.path("plates"), 1, train, test).unwrap();
    sandbox
}

fn calibrated(sandbox: &Sandbox, model: &str) -> Calibrated {
    let (model, _) = ModelFile::read(&sandbox.path(model), &Registry::builtin()).unwrap();
    model.calibration.unwrap()
}

fn score(sandbox: &Sandbox, args: &[&str]) -> Output {
    sandbox.command(&[&["score"], args].concat()).output().unwrap()
}

/// The recommended settings, for a part of the time: see docs/own-images.md.
#[test]
fn defects_are_found_and_shown() {
    let sandbox = plates(300, 40);
    let said = sandbox.ok(&["fit", "plates", "-o", "p.gano", "--size", "32", "--epochs", "20"]);
    let Tested { all, classes, normal, .. } = calibrated(&sandbox, "p.gano").tested.unwrap();
    assert_eq!((normal, all.images, classes.len()), (40, 120, 3), "{said}");
    let found = classes
        .iter()
        .filter(|class| class.auroc > 0.9 && class.pixels.is_some_and(|pixels| pixels.auroc > 0.8));
    assert!(found.count() >= 2 && all.auroc > 0.9, "{said}");
    eprintln!("{said}");
}

#[test]
fn a_fitted_model_scores_as_it_was_tested() {
    let sandbox = plates(60, 10);
    let fit = [&["fit", "plates", "-o", "p.gano", "--report", "p.html"], &SMALL[..]].concat();
    let said = sandbox.ok(&fit);
    let page = fs::read_to_string(sandbox.path("p.html")).unwrap();
    for words in
        ["false alarms promised, at most", "Most anomalous", "AUROC in its test", "called normal"]
    {
        assert!(page.contains(words), "the page should contain {words}");
    }
    let model = calibrated(&sandbox, "p.gano");
    let Tested { false_alarms, all, .. } = model.tested.clone().unwrap();
    assert_eq!((model.threshold.images, model.normal_scores.len()), (20, 20));
    assert!(!sandbox.path("p.gano.unfinished").exists());
    let explained = sandbox.ok(&["explain", "p.gano"]);
    assert_eq!(format!("p.gano: {explained}"), said);
    for words in
        ["trained on 40 images of plates (train/good", "held-out normal images", "scratch:"]
    {
        assert!(explained.contains(words), "{explained} should contain {words}");
    }

    // The same counts, image by image; every image by itself.
    let output = score(&sandbox, &["p.gano", "plates/test", "--report", "new.html"]);
    let page = fs::read_to_string(sandbox.path("new.html")).unwrap();
    assert!(page.contains("Scored images") && page.contains("plates/test/blot/"));
    let table = stdout(&output);
    assert!(table.starts_with("picture,l2,l1,con,map_max,p_value,verdict\n"), "{table}");
    let anomalous = table.lines().filter(|line| line.ends_with(",anomalous")).count();
    assert_eq!(anomalous, false_alarms + all.detected);
    assert_eq!(table.lines().count(), 41);
    assert_eq!(output.status.code(), Some(i32::from(anomalous > 0)));
    let one = "plates/test/good/003.png";
    let alone = stdout(&score(&sandbox, &["p.gano", one]));
    assert!(table.contains(alone.lines().nth(1).unwrap()), "{alone}");
    // A list on standard input, other formats, other thresholds.
    let mut child = sandbox
        .command(&["score", "p.gano", "-", "--format", "json", "--threshold", "1e9"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{one}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let row: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((row["picture"].as_str(), row["verdict"].as_str()), (Some(one), Some("normal")));
    assert_eq!(output.status.code(), Some(0));
    let low = score(&sandbox, &["p.gano", one, "--threshold", "-1", "--format", "table"]);
    assert_eq!(low.status.code(), Some(1));
    assert!(stdout(&low).lines().nth(1).unwrap().contains("anomalous  plates/test/good/003.png"));

    // Heat maps have the images' own size; what cannot be read does not stop the others.
    let wide = RgbImage::from_fn(50, 20, |x, y| image::Rgb([x as u8, y as u8, 9]));
    DynamicImage::ImageRgb8(wide).save(sandbox.path("wide.png")).unwrap();
    fs::write(sandbox.path("bad.png"), "no image").unwrap();
    let output = score(&sandbox, &["p.gano", "bad.png", "wide.png", one, "--heat-maps", "maps"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("error: bad.png: cannot read the image"));
    assert_eq!(stdout(&output).lines().count(), 3);
    let map = image::open(sandbox.path("maps/wide.png")).unwrap();
    assert_eq!((map.width(), map.height()), (50, 20));
    assert!(sandbox.path("maps/003.png").is_file());
    score(&sandbox, &["p.gano", one, "--heat-maps", "squared", "--squared"]);
    let file = |folder: &str| fs::read(sandbox.path(folder).join("003.png")).unwrap();
    assert!(file("maps") != file("squared"));
    // Without a calibration there is no verdict.
    sandbox.fails(&["score", "p.gano", "none.png", "--threshold", "x"], &["invalid value 'x'"]);
}

/// Ends a training in its third epoch or later.
fn interrupt(sandbox: &Sandbox, fit: &[&str]) {
    let mut command = sandbox.command(fit);
    let command = command.env("GANOMALY_SAY_STEPS", "1").stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut said, mut steps) = (Vec::new(), 0);
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        said.push(line.unwrap());
        if said.last().is_some_and(|line| line.contains("step ")) {
            steps += 1;
            if steps == 8 {
                Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
            }
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said:?}");
}

/// Finishes it from its checkpoint.
fn resume(sandbox: &Sandbox, fit: &[&str]) {
    let said = stderr(&sandbox.command(fit).output().unwrap());
    let epoch = said.split("resumed at epoch ").nth(1).and_then(|rest| rest.split(',').next());
    let epoch = epoch.and_then(|epoch| epoch.parse::<usize>().ok());
    assert!(epoch.is_some_and(|epoch| epoch > 2) && !said.contains("refused"), "{said}");
}

#[test]
fn the_model_is_the_same_whatever_interrupts_it() {
    let sandbox = plates(60, 4);
    let fit = |output| [&["fit", "plates", "-o", output], &long()[..]].concat();
    sandbox.ok(&fit("whole.gano"));
    sandbox.ok(&[&fit("one.gano")[..], &["--threads", "1"]].concat());
    interrupt(&sandbox, &fit("cut.gano"));
    assert!(!sandbox.path("cut.gano").exists() && sandbox.path("cut.gano.unfinished").is_dir());
    resume(&sandbox, &fit("cut.gano"));
    let model = |name| fs::read(sandbox.path(name)).unwrap();
    assert!(model("whole.gano") == model("cut.gano") && model("whole.gano") == model("one.gano"));
    assert!(!sandbox.path("cut.gano.unfinished").exists());
}

#[test]
fn a_promise_that_cannot_be_made_is_refused_before_training() {
    let sandbox = plates(40, 2);
    let fit = ["fit", "plates", "-o", "p.gano"];
    let fails = |more: &[&str], words: &[&str]| sandbox.fails(&[&fit, more].concat(), words);
    fails(&["--false-alarms", "0.001"], &["999 normal images", "--false-alarms 0.05 or higher"]);
    fails(&["--hold-out", "20"], &["takes at least 99 normal images"]);
    fails(&["--false-alarms", "0"], &["use a number above 0 and below 1"]);
    fails(&["--detector", "gan"], &["unknown; the detectors are ganomaly"]);
    fails(&["--false-alarms", "0.1", "--score", "l3"], &["--score l3: use map_max, l2, l1, con"]);
    fails(&["--set", "nz=[1,2]", "--false-alarms", "0.1"], &["one value for each setting"]);
    fs::write(sandbox.path("plates/train/good/x.png"), "x").unwrap();
    fails(&["--strict"], &["x.png: not a PNG", "Without --strict it is passed over"]);
    sandbox.fails(&["fit", "none", "-o", "p.gano"], &["none: No such file"]);
    assert!(!sandbox.path("p.gano").exists());
    // A mask of another size.
    let sandbox = plates(40, 2);
    image::GrayImage::new(5, 5)
        .save(sandbox.path("plates/ground_truth/blot/001_mask.png"))
        .unwrap();
    let fit = [&["fit", "plates", "-o", "p.gano"], &SMALL[..]].concat();
    sandbox.fails(&fit, &["001_mask.png: the mask has 5×5 pixels, and", "has 96×96"]);
}

#[test]
fn a_folder_of_normal_images_alone_is_enough() {
    let sandbox = plates(60, 2);
    fs::rename(sandbox.path("plates/train/good"), sandbox.path("flat")).unwrap();
    let fit = [&["fit", "flat", "-o", "flat.gano", "--channels", "1"], &SMALL[..]].concat();
    let said = sandbox.ok(&fit);
    assert!(said.contains("for grey images") && !said.contains("tested on"), "{said}");
    assert!(calibrated(&sandbox, "flat.gano").tested.is_none());
    assert!(said.contains("images, all taken as normal"), "{said}");
}

/// Images that arrive while a folder is watched are scored once they are whole.
#[test]
fn a_watched_folder_is_followed() {
    let sandbox = plates(60, 2);
    sandbox.ok(&[&["fit", "plates", "-o", "p.gano"], &SMALL[..]].concat());
    fs::create_dir(sandbox.path("in")).unwrap();
    let whole = fs::read(sandbox.path("plates/test/good/000.png")).unwrap();
    let mut child = sandbox
        .command(&["score", "p.gano", "in", "--watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let arrive = |name: &str, bytes: &[u8]| fs::write(sandbox.path("in").join(name), bytes);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("picture"));
    // Half of it, more a little later, then all of it.
    for part in 1..=4 {
        arrive("slow.png", &whole[..whole.len() * part / 4]).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(lines.next().unwrap().unwrap().starts_with("in/slow.png"));
    arrive("next.png", &whole).unwrap();
    assert!(lines.next().unwrap().unwrap().starts_with("in/next.png"));
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let (code, said) = (output.status.code(), stderr(&output));
    assert!(code < Some(2) && !said.contains("error"), "{said}");
}

#[test]
fn a_data_set_becomes_a_folder() {
    let sandbox = Sandbox::with(&[]);
    let export = ["data", "export", "synthetic", "glyphs", "--abnormal-class", "ring"];
    let said = sandbox.ok(&[&export[..], &["--limit", "50"]].concat());
    assert_eq!(said, "glyphs: 50 normal and 50 abnormal images\n");
    sandbox.fails(&export, &["glyphs: it is there already"]);
    let fit = [&["fit", "glyphs", "-o", "g.gano"], &SMALL[..]].concat();
    let said = sandbox.ok(&fit);
    assert!(
        said.contains("normal beside abnormal") && said.contains("tested on 10 normal and 50"),
        "{said}"
    );
}

/// Large images, seen in tiles and changed at random: the same bytes whatever interrupts it, and
/// the same scores from the file.
#[test]
fn large_images_are_seen_in_tiles() {
    let sandbox = plates(60, 4);
    let more = [
        "--size",
        "48",
        "--tile",
        "16",
        "--set",
        "flip=both",
        "--set",
        "shift=0.1",
        "--set",
        "rotate=5",
    ];
    // The size comes once.
    let fit = |output| [&["fit", "plates", "-o", output], &long()[2..], &more].concat();
    let said = sandbox.ok(&fit("whole.gano"));
    assert!(said.contains("resized to 48×48 (stretch), seen in tiles of 16×16"), "{said}");
    interrupt(&sandbox, &fit("cut.gano"));
    resume(&sandbox, &fit("cut.gano"));
    let model = |name| fs::read(sandbox.path(name)).unwrap();
    assert!(model("whole.gano") == model("cut.gano"));
    let one = "plates/test/good/003.png";
    let table = stdout(&score(&sandbox, &["whole.gano", one, "--heat-maps", "maps"]));
    assert!(
        table.starts_with("picture,l2,l1,con,l2_mean,l1_mean,con_mean,map_max,p_value"),
        "{table}"
    );
    let map = image::open(sandbox.path("maps/003.png")).unwrap();
    assert_eq!((map.width(), map.height()), (96, 96));
    for (wrong, words) in [
        (vec!["--tile", "128", "--false-alarms", "0.1"], "use a stride of 1 to 128, and an isize"),
        (vec!["--set", "shift=0.9", "--false-alarms", "0.1"], "shift = 0.9: use 0 to 0.5"),
        (vec!["--stride", "4"], "--tile"),
    ] {
        sandbox.fails(&[&["fit", "plates", "-o", "p.gano"], &wrong[..]].concat(), &[words]);
    }
}

/// The Python of docs/export.md, on an exported model.
#[test]
fn the_guides_python_scores_an_exported_model() {
    let Ok(python) = std::env::var("GANOMALY_PYTHON") else {
        return skip::missing("GANOMALY_PYTHON names no Python with onnxruntime");
    };
    let sandbox = plates(60, 2);
    sandbox.ok(&[&["fit", "plates", "-o", "parts.gano"], &SMALL[..]].concat());
    let export = ["export", "parts.gano", "-o", "parts.onnx", "--image-size"];
    let said = sandbox.ok(&[&export[..], &["96x96"]].concat());
    assert!(
        said.contains("parts.onnx: ONNX, operator set 17") && said.contains("of 96×96"),
        "{said}"
    );
    sandbox.fails(&[&export[..], &["96"]].concat(), &["expected HEIGHTxWIDTH, as in 480x640"]);
    fs::copy(sandbox.path("plates/test/blot/001.png"), sandbox.path("new.png")).unwrap();
    let guide = include_str!("../../../../docs/export.md");
    let code = guide.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    sandbox.write("score.py", code);
    let mut command = Command::new(python);
    let output = command.arg("score.py").current_dir(sandbox.path("")).output().unwrap();
    let (said, row) = (stdout(&output), stdout(&score(&sandbox, &["parts.gano", "new.png"])));
    let cells: Vec<&str> = row.lines().nth(1).unwrap_or_default().split(',').collect();
    let (ours, verdict) = (cells[4].parse::<f64>().unwrap(), cells[6]);
    let mut words = said.split_whitespace();
    assert_eq!(words.next(), Some(verdict), "{said}{}", stderr(&output));
    let theirs: f64 = words.next().unwrap().parse().unwrap();
    assert!((theirs / ours - 1.0).abs() < 0.05 && said.contains("most at 0."), "{said} and {ours}");
}
