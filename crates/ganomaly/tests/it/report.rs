//! `ganomaly report` by the real binary, in temporary folders.

use crate::common::Sandbox;
use std::fs;

/// A config that trains in a second.
const TINY: &str = r#"
dataset = "synthetic"
isize = 16
nz = 8
ngf = 4
epochs = 2
train_limit = 256
test_limit = 200
batch_size = 32
lr = 2e-3
abnormal_class = "cross"

[sweep]
seed = [0, 1]
"#;

/// With one experiment, already swept.
fn swept(settings: &[&str]) -> Sandbox {
    let sandbox = Sandbox::with(&[("tiny.toml", TINY)]);
    sandbox.ok(&[&["sweep", "tiny.toml", "--name", "tiny"], settings].concat());
    sandbox
}

fn report(sandbox: &Sandbox) -> String {
    let path = sandbox.ok(&["report", "tiny"]);
    sandbox.read(path.trim())
}

fn check(page: &str, words: &[&str]) {
    for word in words {
        assert!(page.contains(word), "{word} is not in the page");
    }
}

#[test]
fn a_report_comes_out_the_same_and_does_without_weights() {
    let sandbox = swept(&[]);
    let page = report(&sandbox);
    check(
        &page,
        &["ROC curve of cross", "best on test", "most anomalous", "w_con = 50.0", "x86_64"],
    );
    assert_eq!(page, report(&sandbox));

    for entry in fs::read_dir(sandbox.path("results/tiny")).unwrap() {
        let _ = fs::remove_file(entry.unwrap().path().join("weights.safetensors"));
    }
    let without = report(&sandbox);
    check(&without, &["the run's weights are not there", "ROC curve of cross"]);
    assert!(!without.contains("most anomalous"));
}

#[test]
fn what_cannot_be_reported_is_named() {
    let sandbox = swept(&["--set", "w_con=[5,50]"]);
    fs::create_dir(sandbox.path("empty")).unwrap();
    sandbox.fails(&["report", "--results", "empty"], &["empty", "no experiment"]);
    sandbox.fails(&["report", "absent"], &["results/absent: no such folder"]);
    sandbox.fails(
        &["report", "--compare", "tiny", "tiny"],
        &["--compare tiny", "two runs of class cross and seed 0; they differ in w_con"],
    );
    let fails = |a: &str, words: &[&str]| sandbox.fails(&["report", "--compare", a, "tiny"], words);
    fails("tiny:w_con=7", &["has w_con = 7; the runs have 5.0, 50.0"]);
    fails("tiny:w_con=5,x", &["\"x\" is not a setting: write KEY=VALUE"]);
    fails("tiny:sed=0", &["\"sed\": there is no such setting", "seed (0, 1)"]);
    // What the compare command rejects, the page also rejects.
    let limited = ["--set", "test_limit=100", "--name", "tiny", "--results", "other"];
    sandbox.ok(&[&["sweep", "tiny.toml"][..], &limited].concat());
    sandbox.fails(
        &["report", "--compare", "tiny:w_con=50", "other/tiny"],
        &["differ in test_limit", "not tested on the same images"],
    );
    sandbox.fails(
        &["report", "--compare", "tiny:w_con=5,seed=0", "tiny:w_con=50"],
        &["unpaired: ", "class cross seed 1"],
    );
    fs::write(sandbox.path("results/tiny/audit.json"), "{}").unwrap();
    sandbox.fails(&["report", "tiny"], &["audit.json", "not an audit"]);
}

#[test]
fn a_comparison_is_the_difference_of_what_both_have() {
    let sandbox = swept(&["--set", "w_con=[5,50]"]);
    let path = sandbox.ok(&["report", "--compare", "tiny:w_con=5", "tiny:w_con=50.0"]);
    let page = fs::read_to_string(sandbox.path(path.trim())).unwrap();
    let runs = fs::read_to_string(sandbox.path("results/tiny/runs.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(runs.as_bytes());
    let headers = reader.headers().unwrap().clone();
    let at = |name: &str| headers.iter().position(|h| h == name).unwrap();
    let (w_con, auroc) = (at("w_con"), at("auroc"));
    let mut sums = [0.0, 0.0];
    for row in reader.records() {
        let row = row.unwrap();
        let side = usize::from(row[w_con].parse::<f64>().unwrap() > 10.0);
        sums[side] += row[auroc].parse::<f64>().unwrap();
    }
    let difference = format!("{:+.3}", (sums[0] - sums[1]) / 2.0).replace('-', "−");
    check(&page, &[&format!("<dd>{difference}</dd>"), "of 2 pairs", "<td>5.0</td>"]);
    check(&page, &[ganomaly_report::compare::NOT_INDEPENDENT, "over test images"]);
}

#[test]
fn a_report_is_of_the_plan() {
    let sandbox = swept(&[]);
    let folder = sandbox.path("results/tiny");
    let runs =
        fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let first = runs.into_iter().find(|name| name.starts_with("cross-seed0")).unwrap();
    let plan = fs::read_to_string(folder.join("plan.toml")).unwrap();
    let (settings, of_runs) = plan.split_once("[runs]\n").unwrap();
    let line = of_runs.lines().find(|line| line.contains(&first)).unwrap();
    let own = line.split_once(" = ").unwrap().1;
    let part = format!("{settings}[runs]\n{line}\n\"not yet\" = {own}\n");
    fs::write(folder.join("plan.toml"), part).unwrap();
    let page = report(&sandbox);
    check(
        &page,
        &["1 run of the plan not finished yet", "1 finished run of other configs", &first],
    );
    assert!(!page.contains("cross-seed1"));
    fs::write(folder.join("plan.toml"), "").unwrap();
    sandbox.fails(&["report", "tiny"], &["plan.toml: not a plan"]);
}
