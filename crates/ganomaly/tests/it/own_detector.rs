//! The example program with a detector of its own, from its settings to a table beside GANomaly.

use crate::common::{Sandbox, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const EXPERIMENT: &str = include_str!("../../examples/autoencoder.toml");

/// The example program, built as it is now: `cargo test --test it` alone does not build it. With
/// the features of the whole workspace, as otherwise every crate is compiled again.
fn binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let args = ["build", "--workspace", "--example", "autoencoder"];
        let mut build = Command::new(cargo);
        // Of these, build scripts would make out that something has changed.
        for (name, _) in std::env::vars().filter(|(name, _)| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        }) {
            build.env_remove(name);
        }
        let built = build.args(args).output().unwrap();
        assert!(built.status.success(), "{}", stderr(&built));
        let tests = std::env::current_exe().unwrap();
        tests.parent().and_then(Path::parent).unwrap().join("examples/autoencoder")
    })
}

fn autoencoder(sandbox: &Sandbox, args: &[&str]) -> Output {
    Command::new(binary()).args(args).current_dir(sandbox.0.path()).output().unwrap()
}

fn ok(sandbox: &Sandbox, args: &[&str]) -> String {
    let output = autoencoder(sandbox, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

#[test]
fn it_stands_in_a_table_beside_ganomaly() {
    let small = EXPERIMENT.replace("epochs = 3", "epochs = 1\ntrain_limit = 96\ntest_limit = 60");
    let sandbox = Sandbox::with(&[("both.toml", &small)]);
    let table = ok(&sandbox, &["sweep", "both.toml"]);
    for heading in ["detector = \"ganomaly\"", "detector = \"autoencoder\"", "score rec"] {
        assert!(table.contains(heading), "{table} should contain {heading}");
    }
    ok(&sandbox, &["verify", "results/both"]);
    ok(&sandbox, &["report", "both"]);
    let run = sandbox.runs("both").into_iter().find(|run| {
        sandbox.read(run.join("config.toml").to_str().unwrap()).contains("\"autoencoder\"")
    });
    let (run, image) = (run.unwrap(), sandbox.path("image.png"));
    image::GrayImage::new(16, 16).save(&image).unwrap();
    let scores = ok(&sandbox, &["score", run.to_str().unwrap(), "image.png"]);
    assert!(scores.starts_with("picture,rec\nimage.png,"), "{scores}");
}

#[test]
fn killed_it_ends_in_the_same_bytes() {
    let config = EXPERIMENT
        .replace("[\"ganomaly\", \"autoencoder\"]", "[\"autoencoder\"]")
        .replace("epochs = 3", "epochs = 2\ntrain_limit = 320\ntest_limit = 60");
    let sandbox = Sandbox::with(&[("own.toml", &config)]);
    let report = ok(&sandbox, &["chaos", "own.toml", "--kills", "3", "--checkpoint-steps", "2"]);
    assert!(report.contains("all equal to the undisturbed ones"), "{report}");
}

#[test]
fn a_setting_of_another_detector_is_refused_with_its_line() {
    let sandbox = Sandbox::with(&[
        ("w.toml", "dataset = \"synthetic\"\ndetector = \"autoencoder\"\nw_con = 5\n"),
        ("lr.toml", "dataset = \"synthetic\"\ndetector = \"autoencoder\"\n\nlr = \"fast\"\n"),
        ("own.toml", EXPERIMENT),
    ]);
    let fails = |args: &[&str], words: &[&str]| {
        let output = autoencoder(&sandbox, args);
        let said = stderr(&output);
        assert!(!output.status.success(), "{args:?} should fail");
        for word in words {
            assert!(said.contains(word), "{args:?}: {said:?} should contain {word:?}");
        }
    };
    let other = "w_con: a setting of the detector \"ganomaly\", and this one is \"autoencoder\"";
    fails(&["sweep", "w.toml"], &["line 3", other]);
    fails(&["sweep", "lr.toml"], &["line 4", "invalid type", "expected a number"]);
    let one = ["--set", "detector=autoencoder", "--set", "abnormal_class=bar"];
    fails(
        &[&["train", "own.toml", "--set", "score=l2"], &one[..]].concat(),
        &["unknown score", "rec"],
    );
    let further = ["train", "own.toml", "--set", "further_scores=[\"l2_rel\"]"];
    fails(&[&further, &one[..]].concat(), &["l2_rel is made of l2"]);
    fails(&[&["weights", "--config", "own.toml"], &one[..]].concat(), &["it has no w_adv"]);
    fails(
        &["sweep", "own.toml", "--set", "detector=magic"],
        &["the detectors are ganomaly, ", ", autoencoder"],
    );
}
