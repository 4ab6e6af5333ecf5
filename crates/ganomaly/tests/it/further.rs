//! Scores besides the published one, by the real binary.

use crate::common::{GANOMALY, TINY, runs, skip, stderr, stdout, timeless};
use ganomaly_experiment::record::read_metrics;
use ganomaly_report::audit::Audit;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const KEPT: &str = r#"
also_score = ["batch-shuffled"]
further_scores = ["l2_rel", "l2_grad", "l2_png", "con_grad", "z_nn", "z_maha"]
keep_scores = "every-epoch"

[sweep]
abnormal_class = ["cross"]
seed = [0]
"#;

fn ganomaly(folder: &Path, args: &[&str]) -> Output {
    Command::new(GANOMALY).args(args).current_dir(folder).output().unwrap()
}

fn ok(folder: &Path, args: &[&str]) -> String {
    let output = ganomaly(folder, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

fn column(run: &Path, name: &str) -> Vec<f64> {
    let mut csv = csv::Reader::from_path(run.join("scores.csv")).unwrap();
    let at = csv.headers().unwrap().iter().position(|h| h == name).unwrap();
    csv.records().map(|row| row.unwrap()[at].parse().unwrap()).collect()
}

#[test]
fn further_scores_are_recorded_judged_and_verified() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("t.toml"), TINY.replace("epochs = 1", "epochs = 2") + KEPT).unwrap();
    ok(folder, &["sweep", "t.toml"]);
    let run = &runs(&folder.join("results/t"))[0];

    let (l2, nearest) = (column(run, "l2_running"), column(run, "z_nn_running"));
    assert!(nearest.iter().all(|distance| *distance > 0.0 && distance.is_finite()));
    // The image's gradient divides the score by more than 1 and by less than 1 + 2·255.
    for (l2, grad) in l2.iter().zip(column(run, "l2_grad_running")) {
        assert!(grad < *l2 && grad > l2 / 511.0, "{grad} of {l2}");
    }
    let squares: Vec<f64> =
        l2.iter().zip(column(run, "l2_rel_running")).map(|(l2, rel)| l2 / rel).collect();
    assert!(squares.iter().all(|square| *square > 0.0));
    // A drawing's PNG file takes more than a bit per value and, with its header, at most some 12.
    for (l2, png) in l2.iter().zip(column(run, "l2_png_running")) {
        assert!(png < *l2 && png > l2 / 16.0, "{png} of {l2}");
    }
    let con = column(run, "con_running").into_iter().zip(column(run, "con_grad_running"));
    let l2 = l2.iter().zip(column(run, "l2_grad_running"));
    for ((con, con_grad), (l2, l2_grad)) in con.zip(l2) {
        assert!((con / con_grad - l2 / l2_grad).abs() < 1e-9, "the divisor is the image's");
    }
    assert!(column(run, "z_maha_running").iter().all(|d| *d > 0.0 && d.is_finite()));
    let header = fs::read_to_string(run.join("scores.csv")).unwrap();
    assert!(!header.contains("z_nn_batch"), "they are of running statistics alone");

    let metrics = read_metrics(run).unwrap();
    let names: Vec<&str> = metrics.further.iter().map(|f| f.score.as_str()).collect();
    assert_eq!(names, ["l2_rel", "l2_grad", "l2_png", "con_grad", "z_nn", "z_maha"]);
    let epochs = fs::read_to_string(run.join("epochs.csv")).unwrap();
    assert!(epochs.lines().next().unwrap().contains(",auroc_z_nn,"), "{epochs}");

    // Evaluated as it is: what was not recorded is named.
    let text = ok(folder, &["audit", "t.toml"]);
    assert!(text.contains("Not recorded by these runs, and so not judged: batch-sequential, single, best-by-validation."), "{text}");
    assert!(!folder.join("results/t-audit").exists());
    let audit = fs::read_to_string(folder.join("results/t/audit.json")).unwrap();
    let audit: Audit = serde_json::from_str(&audit).unwrap();
    for further in &metrics.further {
        let row = audit.rows.iter().find(|row| row.score == further.score).unwrap();
        assert!((row.auroc.value - further.last.auroc).abs() < 1e-6, "{row:?}");
    }
    ok(folder, &["verify", "results"]);

    // The same bytes with one thread.
    ok(folder, &["sweep", "t.toml", "--threads", "1", "--results", "one"]);
    assert!(
        timeless(&folder.join("one/t")).iter().all(|(path, bytes)| {
            fs::read(folder.join("results/t").join(path)).unwrap() == *bytes
        })
    );
}

/// What is fitted on held-out normal images: a residual is linear in what it is made of, a sum in
/// its parts.
#[test]
fn residuals_and_sums_are_linear_in_their_parts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let parts = "\"l2_grad\", \"l2_png\", \"l2_res\", \"z_nn\"";
    let fitted = "validation = 0.5\nseed = 0\nabnormal_class = \"cross\"\nalso_score = []\n";
    let scores = format!("further_scores = [{parts}, \"l2_res+z_nn\", \"con+l2_grad+z_nn\"]\n");
    let text = TINY.replace("train_limit = 32", "train_limit = 96");
    assert_ne!(text, TINY);
    fs::write(folder.join("t.toml"), format!("{text}{fitted}{scores}")).unwrap();
    ok(folder, &["sweep", "t.toml"]);
    ok(folder, &["verify", "results"]);
    let run = &runs(&folder.join("results/t"))[0];
    let of = |name: &str| column(run, &format!("{name}_running"));
    let logarithms = |values: Vec<f64>| values.into_iter().map(f64::ln).collect::<Vec<_>>();
    let over = |a: &[f64], b: &[f64]| logarithms(a.iter().zip(b).map(|(a, b)| a / b).collect());
    let check = |what: &str, of: Vec<f64>, parts: &[Vec<f64>]| {
        let rows: Vec<Vec<f64>> =
            (0..of.len()).map(|at| parts.iter().map(|part| part[at]).collect()).collect();
        let fit = ganomaly_metrics::linear_regression(&rows, &of, 0.95).unwrap();
        assert!(fit.r_squared > 1.0 - 1e-9, "{what}: {fit:?}");
        fit.coefficients.into_iter().skip(1).map(|c| c.value).collect::<Vec<_>>()
    };
    let l2 = of("l2");
    let busy = [over(&l2, &of("l2_grad")), over(&l2, &of("l2_png"))];
    let taken = logarithms(l2.clone()).iter().zip(of("l2_res")).map(|(l2, res)| l2 - res).collect();
    check("l2_res", taken, &busy);
    for (sum, parts) in [
        ("l2_res+z_nn", &["l2_res", "z_nn"][..]),
        ("con+l2_grad+z_nn", &["con", "l2_grad", "z_nn"]),
    ] {
        let scaled = |part: &&str| {
            let values = of(part);
            let most = values.iter().fold(0.0, |most, v| v.abs().max(most));
            values.into_iter().map(|v| v / most).collect()
        };
        let parts: Vec<Vec<f64>> = parts.iter().map(scaled).collect();
        let weights = check(sum, of(sum), &parts);
        assert!(weights.iter().all(|weight| *weight > 0.0), "{sum}: {weights:?}");
    }
}

#[test]
fn a_gpu_records_them_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("t.toml"), TINY.to_string() + KEPT).unwrap();
    let on = |device: &str| {
        let set = format!("device={device}");
        let args = ["sweep", "t.toml", "--set", &set, "--name", "t", "--results", device];
        let output = ganomaly(folder, &args);
        if stderr(&output).contains("Install a C compiler") {
            skip::missing("there is no C compiler");
            return None;
        }
        assert!(output.status.success(), "{}", stderr(&output));
        Some(runs(&folder.join(device).join("t"))[0].clone())
    };
    let (Some(twin), Some(cpu)) = (on("twin"), on("cpu")) else { return };
    for name in ["l2_rel_running", "l2_grad_running", "z_nn_running"] {
        for (a, b) in column(&twin, name).iter().zip(column(&cpu, name)) {
            assert!((a - b).abs() < 1e-2 * b, "{name}: {a} against {b}");
        }
    }
}

#[test]
fn scores_that_would_not_be_there_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let train = |settings: &str| {
        let run = "abnormal_class = \"cross\"\nseed = 0\n";
        fs::write(folder.join("t.toml"), format!("{TINY}{run}{settings}")).unwrap();
        ganomaly(folder, &["train", "t.toml"])
    };
    for (settings, words) in [
        ("further_scores = [\"l1\"]", "unknown score \"l1\""),
        ("further_scores = [\"l1+\"]", "unknown score \"l1+\""),
        ("further_scores = [\"l2_res\"]", "l2_res is fitted on held-out normal images"),
        ("further_scores = [\"l1+z_nn\"]", "such as validation = 0.1"),
        ("further_scores = [\"l3+z_nn\"]", "l3+z_nn is made of l3"),
        ("score = \"z_nn\"", "name it in further_scores, too"),
        ("score = \"z_nn\"\nfurther_scores = [\"z_nn\"]", "use also_score = []"),
        (
            "scoring = \"batch-shuffled\"\nalso_score = []\nfurther_scores = [\"z_nn\"]",
            "add \"running\" to also_score",
        ),
    ] {
        let output = train(settings);
        assert!(!output.status.success() && stderr(&output).contains(words), "{}", stderr(&output));
    }
    let output = train("score = \"z_nn\"\nfurther_scores = [\"z_nn\"]\nalso_score = []");
    assert!(output.status.success(), "{}", stderr(&output));
}
