//! Audits, weightings and comparisons, by the real binary in temporary folders.

use crate::common::{GANOMALY, Sandbox, skip};

use ganomaly::Registry;
use ganomaly_experiment::config::Experiment;
use ganomaly_report::audit::{Audit, EpochRule};
use ganomaly_report::compare::Comparison;
use ganomaly_report::weightings::Weightings;
use std::fs;
use std::process::Command;

pub const TINY: &str = r#"
dataset = "synthetic"
isize = 16
nz = 8
ngf = 4
epochs = 3
train_limit = 256
test_limit = 200
batch_size = 32
lr = 2e-3
bootstrap = 200

[sweep]
abnormal_class = ["cross", "bar"]
seed = [0, 1]
"#;

/// Settings that a config leaves out do not change its run's name: existing results are still
/// found.
#[test]
fn names_of_runs_are_what_they_were() {
    let quick = include_str!("../../../../experiments/quick.toml");
    let runs = include_str!("../../../../results/quick/runs.csv");
    let experiment = Experiment::parse("quick", quick, &[], &Registry::builtin()).unwrap();
    let names: Vec<String> = experiment.runs.iter().map(|c| c.run_name().unwrap()).collect();
    let before: Vec<&str> = runs.lines().skip(1).map(|l| l.split(',').next().unwrap()).collect();
    assert_eq!(names, before);
}

#[test]
fn an_audit_judges_every_protocol_on_the_same_weights() {
    let sandbox = Sandbox::with(&[("tiny.toml", TINY)]);
    let sweep = sandbox.ok(&["sweep", "tiny.toml"]);
    let text = sandbox.ok(&["audit", "tiny.toml"]);
    // The plain experiment's results stay as they are.
    assert_eq!(sandbox.read("results/tiny/table.md"), sweep);
    let audit: Audit =
        serde_json::from_str(&sandbox.read("results/tiny-audit/audit.json")).unwrap();
    assert_eq!(sandbox.read("results/tiny-audit/audit.md"), text);
    assert_eq!((audit.runs.len(), audit.rows.len(), audit.order.len()), (4, 3 * 36, 3 * 9));
    let lines = sandbox.read("results/tiny-audit/audit.csv").lines().count();
    assert_eq!(lines, 1 + 3 * 36);
    assert!(sandbox.read("results/tiny-audit/plots/audit.svg").contains("batch-sequential, last"));

    let find = |class: Option<&str>, scoring: &str, epoch: EpochRule, score: &str| {
        let fits = |r: &&ganomaly_report::audit::AuditRow| {
            r.class.as_deref() == class
                && r.scoring == scoring
                && r.epoch == epoch
                && r.score == score
        };
        audit.rows.iter().find(fits).unwrap()
    };
    // The honest default is what the runs themselves report.
    let own = |class: &str| {
        let of = sandbox
            .runs("tiny-audit")
            .into_iter()
            .filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(class));
        let aurocs: Vec<f64> =
            of.map(|p| ganomaly_experiment::record::read_metrics(&p).unwrap().auroc).collect();
        assert_eq!(aurocs.len(), 2);
        aurocs.iter().sum::<f64>() / 2.0
    };
    for class in ["cross", "bar"] {
        let honest = find(Some(class), "running", EpochRule::Last, "l2");
        assert!((honest.auroc.value - own(class)).abs() < 1e-6);
        let over = honest.gap.over_images.unwrap();
        assert_eq!((honest.gap.value, over.low, over.high), (0.0, 0.0, 0.0));
        let over = honest.auroc.over_images.unwrap();
        assert!(over.low < honest.auroc.value && honest.auroc.value <= over.high);
        assert_eq!(honest.chosen_epochs, [3, 3]);
    }
    let average = find(None, "running", EpochRule::Last, "l2");
    assert!((average.auroc.value - (own("cross") + own("bar")) / 2.0).abs() < 1e-6);
    let over = average.auroc.over_trainings;
    assert_eq!((over.runs, over.seeds, over.interval), (4, 2, None));
    assert!(over.std.is_some() && text.contains("the average is over 4 trainings (2 seeds)"));
    for row in &audit.rows {
        let honest = find(row.class.as_deref(), "running", EpochRule::Last, "l2");
        assert!((row.auroc.value - honest.auroc.value - row.gap.value).abs() < 1e-12);
        let over = row.gap.over_images.unwrap();
        assert!(over.low <= over.high);
        // In hindsight no epoch is better than the best.
        let class = row.class.as_deref();
        let best = find(class, &row.scoring, EpochRule::BestOnTest, &row.score);
        assert!(row.auroc.value <= best.auroc.value + 1e-12);
        let validated = find(class, &row.scoring, EpochRule::BestByValidation, &row.score);
        if let (EpochRule::BestByValidation, Some(class)) = (row.epoch, class) {
            let runs = audit.runs.iter().filter(|r| r.class == class);
            for (run, &epoch) in runs.zip(&validated.chosen_epochs) {
                let least = run.validation_con.iter().copied().fold(f64::INFINITY, f64::min);
                assert_eq!(run.validation_con[epoch - 1], least);
            }
        }
    }
    let modes = ["running", "batch-shuffled", "batch-sequential", "single"];
    let mut aurocs =
        modes.map(|m| find(None, m, EpochRule::Last, "l2").auroc.value.to_bits()).to_vec();
    aurocs.sort_unstable();
    aurocs.dedup();
    assert_eq!(aurocs.len(), 4, "the modes score differently");

    // A tenth of the training images is held out, and every epoch's scores are kept.
    let run = &sandbox.runs("tiny-audit")[0];
    let metrics = ganomaly_experiment::record::read_metrics(run).unwrap();
    assert_eq!(metrics.train_pictures, 256 - 25);
    assert!(fs::read_to_string(run.join("epochs.csv")).unwrap().contains(",validation_con,"));
    let scores = ganomaly_experiment::record::epoch_scores::EpochScores::read(run).unwrap();
    assert_eq!((scores.anomalous.len(), scores.validation_con.unwrap().len()), (200, 3));

    // Nothing is trained twice, and the files are the same with any number of threads.
    let again = Command::new(GANOMALY)
        .args(["audit", "tiny.toml"])
        .env("RAYON_NUM_THREADS", "1")
        .current_dir(sandbox.0.path())
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&again.stderr).contains("training steps"));
    assert_eq!(String::from_utf8(again.stdout).unwrap(), text);
    // A fresh clone has only the small records. Everything but the reports' images follows from them.
    let small = ["config.toml", "epochs.csv", "metrics.json", "run.json", "SHA256SUMS"];
    let small = [&small[..], &["protocols.safetensors"]].concat();
    for run in sandbox.runs("tiny-audit") {
        for file in fs::read_dir(run).unwrap() {
            let file = file.unwrap();
            if !small.contains(&&*file.file_name().to_string_lossy()) {
                fs::remove_file(file.path()).unwrap();
            }
        }
    }
    assert_eq!(sandbox.ok(&["audit", "tiny.toml"]), text);
    let verified = sandbox.ok(&["verify", "results/tiny-audit"]);
    assert!(!verified.contains("its numbers"), "{verified}");
    let damaged = sandbox.runs("tiny-audit")[1].join("protocols.safetensors");
    let mut bytes = fs::read(&damaged).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&damaged, bytes).unwrap();
    sandbox.fails(&["audit", "tiny.toml"], &["protocols.safetensors: damaged or changed"]);
    sandbox
        .fails(&["audit", "tiny.toml", "--set", "w_con=[1,50]"], &["tiny.toml", "w_con is swept"]);
    sandbox.fails(
        &[
            "train",
            "tiny.toml",
            "--set",
            "seed=0",
            "--set",
            "abnormal_class=1",
            "--set",
            "validation=256",
        ],
        &["validation = 256: there are only 256 training images"],
    );
    sandbox.fails(
        &["sweep", "tiny.toml", "--set", "validation=1.5"],
        &["validation = 1.5: use a whole number"],
    );
    sandbox.fails(
        &["sweep", "tiny.toml", "--set", "validation=\"some\""],
        &["expected a number of images"],
    );
    sandbox.fails(
        &["sweep", "tiny.toml", "--set", "keep_scores=all"],
        &["unknown keep_scores \"all\""],
    );
}

/// What a GPU's twin keeps for an audit is the same as on the CPU.
#[test]
fn runs_in_lockstep_keep_the_same_for_an_audit() {
    let tiny = TINY.replace("epochs = 3", "epochs = 1");
    let sandbox = Sandbox::with(&[("t.toml", &tiny)]);
    let audit = |device: &str| {
        let set = format!("device={device}");
        let results = format!("results/{device}");
        let mut args = vec!["audit", "t.toml", "--set", &set, "--set", "seed=0", "--name", "t"];
        args.extend(["--results", &results]);
        let output = sandbox.run(&args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if stderr.contains("Install a C compiler") {
            skip::missing("there is no C compiler");
            return None;
        }
        assert!(output.status.success(), "{stderr}");
        let json = sandbox.read(&format!("{results}/t-audit/audit.json"));
        Some(serde_json::from_str::<Audit>(&json).unwrap())
    };
    let Some(twin) = audit("twin") else { return };
    let Some(cpu) = audit("cpu") else { return };
    for (twin, cpu) in twin.runs.iter().zip(&cpu.runs) {
        let (a, b) = (twin.validation_con[0], cpu.validation_con[0]);
        assert!((a - b).abs() < 1e-3 * b, "{a} against {b}");
    }
    for (twin, cpu) in twin.rows.iter().zip(&cpu.rows) {
        assert!((twin.auroc.value - cpu.auroc.value).abs() < 0.02, "{twin:?} against {cpu:?}");
    }
}

#[test]
fn weightings_are_compared_with_the_papers() {
    let short = TINY.replace("epochs = 3", "epochs = 1");
    let ranges = "w_adv = [0.1, 10]\nw_con = [5, 500]\nw_enc = [0.1, 10]\n";
    let spread = format!("{short}\n[design]\nkind = \"latin-hypercube\"\nsettings = 6\n{ranges}");
    let grid = format!(
        "{short}\n[design]\nkind = \"grid\"\nw_adv = [1]\nw_con = [5, 50]\nw_enc = [0, 1]\npresets = []\n"
    );
    let sandbox =
        Sandbox::with(&[("lhs.toml", &spread), ("grid.toml", &grid), ("plain.toml", &short)]);

    let text = sandbox.ok(&["weights", "--config", "lhs.toml"]);
    for part in [
        "| paper | 1 | 50 | 1 |",
        "| contextual-only | 0 | 50 | 0 |",
        "## Main effects",
        "over the 7 weightings without a zero (3 degrees",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let all: Weightings =
        serde_json::from_str(&sandbox.read("results/lhs/weightings.json")).unwrap();
    assert_eq!(
        (all.settings.len(), all.settings[0].auroc.over_trainings.runs, all.steps),
        (10, 4, 8)
    );
    let paper = all.settings[0].auroc.value;
    for setting in &all.settings[1..] {
        let compared = setting.against_paper.as_ref().unwrap();
        assert_eq!(compared.pairs.len(), 4);
        assert!((compared.difference.value - (setting.auroc.value - paper)).abs() < 1e-12);
    }
    assert!(
        all.settings[0].against_paper.is_none() && all.trend.is_some() && all.levels.is_empty()
    );
    assert_eq!(sandbox.read("results/lhs/weightings.csv").lines().count(), 11);
    for plot in ["w_adv-w_con.svg", "w_adv-w_enc.svg", "w_enc-w_con.svg", "ternary.svg"] {
        assert!(sandbox.read(&format!("results/lhs/plots/{plot}")).contains("AUROC"), "{plot}");
    }
    // Started again, it gives the same from the store alone.
    assert_eq!(sandbox.ok(&["weights", "--config", "lhs.toml"]), text);

    let text = sandbox.ok(&["weights", "--config", "grid.toml"]);
    assert!(text.contains("| w_con | 5 | ") && text.contains("| 8 |"), "{text}");
    let all: Weightings =
        serde_json::from_str(&sandbox.read("results/grid/weightings.json")).unwrap();
    assert_eq!((all.settings.len(), all.levels.len(), all.trend), (4, 4, None));
    // Two levels lie on either side of their mean.
    assert!((all.levels[0].effect.value + all.levels[1].effect.value).abs() < 1e-12);

    sandbox.fails(
        &["weights", "--config", "plain.toml", "--set", "w_con=[5,10]"],
        &["plain.toml", "1 / 50 / 1 is not among"],
    );
    sandbox
        .fails(&["weights", "--config", "lhs.toml", "--set", "epochs=[1,2]"], &["epochs is swept"]);
    sandbox.fails(
        &["weights", "--config", "lhs.toml", "--set", "w_con=3"],
        &["[design]", "w_con is set elsewhere"],
    );
    sandbox
        .fails(&["weights", "--config", "gone.toml"], &["cannot read the experiment: gone.toml"]);
}

#[test]
fn comparisons_are_paired_or_refused() {
    let short = TINY.replace("epochs = 3", "epochs = 1");
    let sandbox = Sandbox::with(&[("a.toml", &short), ("b.toml", &short)]);
    sandbox.ok(&["sweep", "a.toml", "--set", "w_con=[5,50]", "--name", "a"]);
    let text = sandbox.ok(&["compare", "results/a", "w_con=5", "w_con=50"]);
    for part in [
        "| class | seed | w_con=5 | w_con=50 | difference |",
        "| cross | 0 |",
        "Means are over 4 trainings (2 seeds) on each side",
        "over test images",
        ganomaly_report::compare::NOT_INDEPENDENT,
        "Wilcoxon",
        "p cannot fall below 0.125",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let json = sandbox.ok(&["compare", "results/a", "w_con=5", "w_con=50", "--json"]);
    let one: Comparison = serde_json::from_str(&json).unwrap();
    let json = sandbox.ok(&["compare", "results/a", "w_con=50", "w_con=5", "--json"]);
    let other: Comparison = serde_json::from_str(&json).unwrap();
    assert_eq!((one.pairs.len(), one.effect.mean), (4, -other.effect.mean));
    assert_eq!(one.note, ganomaly_report::compare::NOT_INDEPENDENT);
    assert!(one.difference.over_images.is_some() && one.difference.over_trainings.std.is_some());
    assert_eq!(one.wilcoxon.p, other.wilcoxon.p);
    let json =
        sandbox.ok(&["compare", "results/a", "w_con=5", "w_con=50", "--only", "seed=0", "--json"]);
    assert_eq!(serde_json::from_str::<Comparison>(&json).unwrap().pairs.len(), 2);

    // Two folders; by class number and by name.
    sandbox.ok(&["sweep", "b.toml", "--set", "lr=1e-3", "--set", "seed=0", "--name", "b"]);
    let only = ["--only", "w_con=50,seed=0,abnormal_class=1"];
    let text = sandbox.ok(&[&["compare", "results/a", "results/b"][..], &only[..]].concat());
    assert!(text.contains("| class | seed | a | b |") && text.contains("| bar | 0 |"), "{text}");
    assert!(text.contains("Means are over 1 training (1 seed)"), "{text}");

    sandbox.fails(
        &["compare", "results/a", "results/b"],
        &["two runs of class", "they differ in w_con"],
    );
    sandbox.fails(
        &["compare", "results/a", "results/b", "--only", "w_con=50"],
        &["unpaired: a has class", "seed 1"],
    );
    sandbox.fails(
        &["compare", "results/a", "w_con=5", "w_con=7"],
        &["none of the 8 runs has w_con = 7; the runs have 5.0, 50.0"],
    );
    sandbox.fails(
        &["compare", "results/a", "w_cno=5", "w_con=7"],
        &["\"w_cno\": there is no such setting; the runs differ in", "w_con (5.0, 50.0)"],
    );
    sandbox.fails(&["compare", "results/a", "w_con", "w_con=7"], &["each is KEY=VALUE"]);
    sandbox.fails(&["compare", "results/gone", "results/b"], &["results/gone: no such folder"]);
    let limited = ["--set", "test_limit=100", "--name", "b", "--results", "other"];
    sandbox.ok(&[&["sweep", "b.toml"][..], &limited].concat());
    sandbox.fails(
        &["compare", "results/a", "other/b", "--only", "w_con=50"],
        &["differ in test_limit", "not tested on the same images"],
    );
}
