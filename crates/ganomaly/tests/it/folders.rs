//! Folders of images as data sets of experiments.

use crate::common::Sandbox;
use crate::own_images::{plates, textures};
use std::fs;

/// A folder is a data set of experiments, too.
#[test]
fn a_folder_is_swept_reported_and_verified() {
    let sandbox = plates(40, 6);
    let text = r#"
dataset = "folder"
root = "plates"
seed = 0
isize = 16
resize = "stretch"
epochs = 1
batch_size = 16
bootstrap = 20
also_score = []
further_scores = ["map_max"]
score = "map_max"

[[variant]]
detector = "ganomaly"
nz = 4
ngf = 2

[[variant]]
detector = "vae"
nz = 2
ngf = 2
"#;
    sandbox.write("own.toml", text);
    let (table, said) = sandbox.both(&["sweep", "own.toml"]);
    assert!(said.contains("train/good and test/{blot, good, missing, scratch}"), "{said}");
    assert!(table.contains("one-class, running batch-norm statistics"), "{table}");
    assert!(table.contains("| normal class | seed 0 |") && table.contains("\n| good |"), "{table}");
    let config = fs::read_to_string(sandbox.runs("own")[0].join("config.toml")).unwrap();
    assert!(config.contains("normal_class = \"good\"") && config.contains("root = \"plates\""));
    // Its heat maps are judged by the masks.
    for words in [
        "Heat maps against masks",
        "| anomalous class | pixel AUROC | pixel AUPRC | AUPRO |",
        "\n| all | ",
        "\n| scratch | ",
    ] {
        assert!(table.contains(words), "{table} should contain {words}");
    }
    assert!(table.contains("map_max"), "{table}");
    let rows = fs::read_to_string(sandbox.path("results/own/runs.csv")).unwrap();
    assert!(rows.lines().next().unwrap().ends_with(",pixel_auroc,pixel_auprc,aupro"), "{rows}");
    sandbox.ok(&["verify", "results/own"]);
    sandbox.ok(&["report", "own"]);
    let page = fs::read_to_string(sandbox.path("results/own/report.html")).unwrap();
    assert!(page.contains("Heat maps against masks"));
    // Results are read without the images; a run needs them.
    fs::rename(sandbox.path("plates"), sandbox.path("away")).unwrap();
    sandbox.ok(&["collect", "results/own"]);
    sandbox.fails(&["sweep", "own.toml"], &["plates: No such file"]);
    sandbox.write("other.toml", &text.replace("\"folder\"", "\"mnist\""));
    sandbox.fails(&["sweep", "other.toml"], &["the data set mnist has one place"]);
}

/// The categories of MVTec AD are an axis of a sweep.
#[test]
fn categories_are_swept() {
    let sandbox = Sandbox::with(&[]);
    for (seed, category) in [(1, "bottle"), (2, "grid")] {
        textures::draw_set(&sandbox.path("copy").join(category), seed, 20, 3).unwrap();
    }
    let text = r#"
dataset = "mvtec"
root = "copy"
seed = 0
isize = 16
resize = "stretch"
epochs = 1
batch_size = 8
bootstrap = 20
also_score = []
nz = 4
ngf = 2

[sweep]
category = ["bottle", "grid"]
"#;
    sandbox.write("mvtec.toml", text);
    let (table, said) = sandbox.both(&["sweep", "mvtec.toml"]);
    for words in [
        "bottle: train/good and test/",
        "grid: train/good",
        "mvtec bottle in copy: not the official set",
    ] {
        assert!(said.contains(words), "{said} should contain {words}");
    }
    for words in ["| category = \"bottle\" |", "| category = \"grid\" |", "Heat maps against masks"]
    {
        assert!(table.contains(words), "{table} should contain {words}");
    }
    sandbox.ok(&["verify", "results/mvtec"]);
    sandbox.ok(&["report", "mvtec"]);
    sandbox.write("mvtec.toml", &text.replace("\"grid\"", "\"mug\""));
    sandbox.fails(&["sweep", "mvtec.toml"], &["category = \"mug\": use one of bottle, cable"]);
    sandbox.write("mvtec.toml", &text.replace("\"mvtec\"", "\"folder\""));
    sandbox.fails(&["sweep", "mvtec.toml"], &["the data set folder has no such category"]);
}
