//! Every detector of the program, from a config to a table; killed, it ends in the same bytes.

use crate::common::Sandbox;
use std::fs;

const EXPERIMENT: &str = r#"
dataset = "synthetic"
abnormal_class = "cross"
seed = 0
isize = 32
epochs = 2
batch_size = 16
score_batch_size = 20
train_limit = 64
test_limit = 60
bootstrap = 20
"#;

/// Settings that make each detector small, and the score that counts.
const DETECTORS: [(&str, &str, &str); 4] = [
    ("skip-ganomaly", "ngf = 4\nndf = 4\nnz = 6", "rec_lat"),
    ("vae", "ngf = 4\nnz = 6\ndraws = 2", "nelbo"),
    ("egbad", "width = 0.06\nnz = 6", "fm"),
    ("anogan", "width = 0.06\nnz = 6\nsearch_steps = 4\nsearch_boundaries = [2, 3]", "fm"),
];

fn config(detector: &str, settings: &str) -> String {
    format!("{EXPERIMENT}detector = \"{detector}\"\n{settings}\n")
}

#[test]
fn every_detector_makes_a_table_on_any_number_of_threads() {
    for (detector, settings, score) in DETECTORS {
        let sandbox = Sandbox::with(&[("e.toml", &config(detector, settings))]);
        let table = sandbox.ok(&["sweep", "e.toml", "--threads", "1"]);
        assert!(table.contains(&format!("score {score}")), "{detector}: {table}");
        sandbox.ok(&["verify", "results/e"]);
        sandbox.ok(&["report", "e"]);
        let scores = fs::read(sandbox.runs("e")[0].join("scores.csv")).unwrap();
        sandbox.ok(&["sweep", "e.toml", "--threads", "3", "--results", "again"]);
        let again = sandbox.path("again/e").join(sandbox.runs("e")[0].file_name().unwrap());
        assert!(fs::read(again.join("scores.csv")).unwrap() == scores, "{detector}");
    }
}

#[test]
fn a_score_does_not_depend_on_the_other_images() {
    for (detector, settings, _) in DETECTORS {
        let text = config(detector, settings);
        let alone = text.replace("score_batch_size = 20", "score_batch_size = 1");
        let sandbox = Sandbox::with(&[("e.toml", &text), ("alone.toml", &alone)]);
        let numbers = |experiment: &str| -> Vec<f64> {
            let quiet = ["sweep", &format!("{experiment}.toml"), "--set", "also_score=[]"];
            sandbox.ok(&[&quiet[..], &["--name", experiment]].concat());
            let csv = fs::read_to_string(sandbox.runs(experiment)[0].join("scores.csv")).unwrap();
            csv.split([',', '\n']).filter_map(|cell| cell.parse().ok()).collect()
        };
        let (together, alone) = (numbers("e"), numbers("alone"));
        assert!(together.len() == alone.len() && together.len() > 200, "{detector}");
        for (a, b) in together.iter().zip(&alone) {
            // Products of one image are added up in another order.
            assert!((a - b).abs() <= 1e-5 * b.abs(), "{detector}: {a} among others, {b} alone");
        }
    }
}

#[cfg(unix)]
#[test]
fn killed_each_ends_in_the_same_bytes() {
    for (detector, settings, _) in DETECTORS {
        let sandbox = Sandbox::with(&[("e.toml", &config(detector, settings))]);
        let report = sandbox.ok(&["chaos", "e.toml", "--kills", "1", "--checkpoint-steps", "2"]);
        assert!(report.contains("all equal to the undisturbed ones"), "{detector}: {report}");
    }
}

#[test]
fn settings_of_another_detector_and_wrong_sizes_are_refused() {
    for (detector, settings, words) in [
        ("skip-ganomaly", "w_enc = 1", "line 13: w_enc: a setting of the detector \"ganomaly\""),
        ("skip-ganomaly", "ndf = 1", "ndf = 1: use 2 to 4096 features"),
        ("vae", "draws = 0", "draws = 0: use 1 to 1000"),
        ("egbad", "weight = 2", "weight = 2: use a number from 0 to 1"),
        ("anogan", "width = 0", "width = 0: use a number above 0"),
    ] {
        let sandbox = Sandbox::with(&[("e.toml", &config(detector, settings))]);
        sandbox.fails(&["sweep", "e.toml"], &[words]);
    }
    for (detector, size, words) in [
        ("skip-ganomaly", "16", "isize = 16: the sizes that work are 32"),
        ("anogan", "30", "isize = 30: use a multiple of 4"),
    ] {
        let text = config(detector, "").replace("isize = 32", &format!("isize = {size}"));
        Sandbox::with(&[("e.toml", &text)]).fails(&["sweep", "e.toml"], &[words]);
    }
    let text = config("anogan", DETECTORS[3].1);
    let sandbox = Sandbox::with(&[("e.toml", &text)]);
    let set = ["--set", "search_boundaries=[1,2]", "--dry-run"];
    let said = sandbox.ok(&[&["sweep", "e.toml"][..], &set].concat());
    assert!(said.contains("1 of 1 runs would be done"), "{said}");
}

/// Detectors with different settings in one experiment: each is a setting of its own, named by what
/// tells it apart, and an average of each comes first.
#[test]
fn variants_stand_side_by_side() {
    let text = r#"
dataset = "synthetic"
isize = 32
train_limit = 64
test_limit = 60
batch_size = 32
seed = 0
bootstrap = 50
also_score = []

[sweep]
abnormal_class = ["cross", "bar"]

[[variant]]
detector = "ganomaly"
epochs = 2
nz = 8
ngf = 4
also_score = ["batch-sequential"]

[[variant]]
detector = "vae"
epochs = 1
nz = 2
ngf = 4

[[variant]]
detector = "vae"
epochs = 1
nz = 3
ngf = 4
"#;
    let sandbox = Sandbox::with(&[("v.toml", text)]);
    let table = sandbox.ok(&["sweep", "v.toml"]);
    for line in [
        "| setting | AUROC | AUPRC | batch-sequential | running, best epoch on test | batch-sequential, best epoch on test |",
        "\n## synthetic detector = \"vae\", nz = 3\n",
        "last of 2 epochs",
        "\n| abnormal class | AUROC | AUPRC | running, best epoch on test |\n",
    ] {
        assert!(table.contains(line), "{line} is not in\n{table}");
    }
    // The averages are those of the tables below.
    let cells = |start: &str| -> Vec<String> {
        let line = table.lines().find(|line| line.starts_with(start)).unwrap();
        line.split('|').skip(2).map(|cell| cell.trim().to_string()).collect()
    };
    let average = &cells("| detector = \"vae\", nz = 3 |")[..2];
    let below = table.split("nz = 3\n").nth(1).unwrap();
    let rows: Vec<&str> = below.lines().filter(|l| l.starts_with("| average |")).collect();
    assert!(rows[0].contains(&format!("| {} |", average[0])), "{average:?}: {rows:?}");
    assert!(rows[1].starts_with(&format!("| average | {} | {} |", average[0], average[1])));
    let csv = sandbox.read("results/v/runs.csv");
    assert!(csv.starts_with("run,abnormal_class,detector,nz,auroc,"), "{csv}");
    // What is replaced is replaced in every variant.
    let plan = sandbox.ok(&["sweep", "v.toml", "--set", "nz=4", "--dry-run"]);
    assert!(plan.contains("4 of 4 runs would be done"), "{plan}");

    for (from, to, words) in [
        ("nz = 3", "nzz = 3", "[[variant]] 3: unknown setting \"nzz\""),
        ("nz = 3", "abnormal_class = 0", "[[variant]] 3: abnormal_class: it is swept as well"),
        ("nz = 3", "dataset = \"mnist\"", "an experiment is about one data set"),
        ("nz = 3", "draws = 0", "draws = 0: use 1 to 1000"),
    ] {
        let sandbox = Sandbox::with(&[("v.toml", &text.replace(from, to))]);
        sandbox.fails(&["sweep", "v.toml"], &[words]);
    }
}
