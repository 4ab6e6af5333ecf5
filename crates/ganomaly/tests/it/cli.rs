//! The real binary, in temporary folders.

use crate::common::{GANOMALY, Sandbox, skip};

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
seed = 0
"#;

/// The folder of the only run of experiment `name`.
fn run_folder(sandbox: &Sandbox, name: &str) -> PathBuf {
    let runs: Vec<PathBuf> = fs::read_dir(sandbox.path("results").join(name))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.join("config.toml").is_file())
        .collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.into_iter().next().unwrap()
}

/// Where a run's plots are.
fn plots_of(run: &Path) -> PathBuf {
    run.parent().unwrap().join("plots").join(run.file_name().unwrap())
}

#[test]
fn a_run_leaves_everything_and_scores_images() {
    let sandbox = Sandbox::empty();
    sandbox.write("tiny.toml", TINY);
    let printed: serde_json::Value =
        serde_json::from_str(&sandbox.ok(&["train", "tiny.toml"])).unwrap();
    assert!((0.0..=1.0).contains(&printed["auroc"].as_f64().unwrap()));
    let run = run_folder(&sandbox, "tiny");
    assert!(run.file_name().unwrap().to_string_lossy().starts_with("cross-seed0-"));
    for file in [
        "config.toml",
        "epochs.csv",
        "scores.csv",
        "metrics.json",
        "run.json",
        "weights.safetensors",
    ] {
        assert!(fs::metadata(run.join(file)).unwrap().len() > 100, "{file}");
    }
    let plots = plots_of(&run);
    for file in ["roc.svg", "scores.svg", "auroc.svg", "losses.svg", "pictures.png"] {
        assert!(fs::metadata(plots.join(file)).unwrap().len() > 100, "{file}");
    }
    let epochs = fs::read_to_string(run.join("epochs.csv")).unwrap();
    let header = epochs.lines().next().unwrap();
    for column in [
        "err_g_con",
        "auroc_running",
        "auroc_batch-shuffled",
        "auroc_running_best_on_test",
        "images_per_s",
    ] {
        assert!(header.split(',').any(|c| c == column), "{column} is not in {header}");
    }
    assert_eq!(epochs.lines().count(), 3);
    assert_eq!(fs::read_to_string(run.join("scores.csv")).unwrap().lines().count(), 201);

    // The recorded metrics are those of the recorded scores.
    let scores = fs::read_to_string(run.join("scores.csv")).unwrap();
    let mut csv = String::from("score,label\n");
    for line in scores.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        csv += &format!("{},{}\n", cells[3], cells[2]);
    }
    sandbox.write("scores.csv", &csv);
    let again: serde_json::Value =
        serde_json::from_str(&sandbox.ok(&["metrics", "scores.csv"])).unwrap();
    assert_eq!(again["auroc"], printed["auroc"]);

    // An image gets the same score alone as among others, in any format that keeps its pixels.
    let image = image::GrayImage::from_fn(28, 28, |x, y| image::Luma([(x * y % 256) as u8]));
    image.save(sandbox.path("a.png")).unwrap();
    image.save(sandbox.path("b.bmp")).unwrap();
    let table = sandbox.ok(&["score", run.to_str().unwrap(), "a.png", "b.bmp"]);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows[0], "picture,l2,l1,con");
    assert_eq!(rows[1].split_once(',').unwrap().1, rows[2].split_once(',').unwrap().1);

    sandbox.write("no.png", "not an image");
    sandbox.fails(&["score", run.to_str().unwrap(), "no.png"], &["no.png: cannot read the image"]);
    sandbox.fails(&["score", run.to_str().unwrap(), "gone.png"], &["gone.png: No such file"]);
    sandbox.fails(&["score", "gone", "a.png"], &["gone: cannot be read as weights"]);
    sandbox.fails(
        &["score", "a.png", "a.png"],
        &["a.png: cannot be read as weights: not safetensors"],
    );
}

#[test]
fn two_runs_of_one_config_give_the_same_bytes_on_any_number_of_threads() {
    let read = |threads: &str| {
        let sandbox = Sandbox::empty();
        sandbox.write("tiny.toml", TINY);
        sandbox.ok(&["train", "tiny.toml", "--threads", threads]);
        let run = run_folder(&sandbox, "tiny");
        let files = ["scores.csv", "weights.safetensors", "metrics.json", "config.toml"];
        let files = files.map(|file| fs::read(run.join(file)).unwrap());
        (files, fs::read(plots_of(&run).join("pictures.png")).unwrap())
    };
    let first = read("1");
    assert!(read("1") == first, "a repetition differs");
    assert!(read("2") == first, "two threads differ from one");
}

#[test]
fn a_sweep_makes_tables_and_repeats_nothing() {
    let sandbox = Sandbox::empty();
    let sweep = format!("{TINY}\n[sweep]\nw_con = [1, 50]\n");
    sandbox.write("s.toml", &sweep.replace("epochs = 2", "epochs = 1"));
    let table = sandbox.ok(&["sweep", "s.toml", "--set", "seed=[0,1]", "--name", "s"]);
    for heading in [
        "## synthetic w_con = 1.0",
        "## synthetic w_con = 50.0",
        "| seed 0 | seed 1 | mean | std |",
    ] {
        assert!(table.contains(heading), "{heading} is not in {table}");
    }
    let folder = sandbox.path("results/s");
    assert_eq!(fs::read_to_string(folder.join("runs.csv")).unwrap().lines().count(), 5);
    assert!(folder.join("plots/auroc.svg").is_file() && folder.join("table.csv").is_file());
    let again = sandbox.run(&["sweep", "s.toml", "--set", "seed=[0,1]", "--name", "s"]);
    let stderr = String::from_utf8_lossy(&again.stderr);
    assert!(stderr.contains("0 runs done now, 4 were there, 0 failed"), "{stderr}");
    assert_eq!(String::from_utf8(again.stdout).unwrap(), table);
    assert!(no_leftovers(&folder));
}

/// A sweep as on a GPU, on the GPU's twin: classes of unequal length train in lockstep, and result
/// in the same bytes as one by one.
#[test]
fn a_sweep_on_the_gpus_twin_is_the_same_in_groups_of_any_size() {
    let sandbox = Sandbox::empty();
    sandbox.write("s.toml", &TINY.replace("epochs = 2", "epochs = 1"));
    let classes =
        ["--set", "abnormal_class=[0,1,2]", "--set", "score_batch_size=48", "--name", "s"];
    let sweep = |device: &str, jobs: &str, results: &str| {
        let device = format!("device={device}");
        let mut args =
            vec!["sweep", "s.toml", "--set", &device, "--jobs", jobs, "--results", results];
        args.extend(classes);
        let output = sandbox.run(&args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if stderr.contains("Install a C compiler") {
            skip::missing("there is no C compiler");
            return None;
        }
        assert!(output.status.success(), "{stderr}");
        let mut runs: Vec<PathBuf> = fs::read_dir(sandbox.path(results).join("s"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        runs.retain(|p| p.join("scores.csv").is_file());
        runs.sort();
        assert_eq!(runs.len(), 3);
        Some(runs)
    };
    let Some(together) = sweep("twin", "auto", "together") else { return };
    let Some(alone) = sweep("twin", "1", "alone") else { return };
    let Some(cpu) = sweep("cpu", "1", "cpu") else { return };
    let read = |run: &Path, file: &str| fs::read(run.join(file)).unwrap();
    let err_g = |run: &Path| -> f64 {
        let csv = fs::read_to_string(run.join("epochs.csv")).unwrap();
        let (names, values) = csv.split_once('\n').unwrap();
        let at = names.split(',').position(|name| name == "err_g").unwrap();
        values.lines().next().unwrap().split(',').nth(at).unwrap().parse().unwrap()
    };
    for ((together, alone), cpu) in together.iter().zip(&alone).zip(&cpu) {
        for file in ["weights.safetensors", "scores.csv"] {
            assert_eq!(read(together, file), read(alone, file), "{together:?}: {file}");
        }
        let (twin, cpu) = (err_g(together), err_g(cpu));
        assert!((twin - cpu).abs() < 1e-3 * cpu, "err_g is {twin}, on the processor {cpu}");
    }
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_that_says_so() {
    let sandbox = Sandbox::empty();
    sandbox.write("c.toml", TINY);
    sandbox.fails(&["train", "c.toml", "--set", "device=cuda:99"], &["cuda", "device = \"cpu\""]);
    sandbox.fails(&["train", "c.toml", "--set", "device=tpu"], &["unknown device", "tpu"]);
    let on_cpu = |setting| ["train", "c.toml", "--set", "device=cpu", "--set", setting];
    sandbox.fails(&on_cpu("precision=tf32"), &["tf32", "the processor computes in f32"]);
    sandbox.fails(&on_cpu("precision=f16"), &["unknown precision", "f16"]);
    sandbox.fails(&["sweep", "c.toml", "--set", "device=cpu", "--devices", "0"], &["--devices"]);
    sandbox.fails(&["bench", "--device", "cuda:99"], &["cuda"]);
}

fn no_leftovers(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().all(|e| {
        let name = e.unwrap().file_name().to_string_lossy().into_owned();
        !name.ends_with("partial") && !name.ends_with("tmp")
    })
}

/// SIGINT in the middle of training: exit status 130, finished runs kept, nothing half-written.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_cleanly() {
    let sandbox = Sandbox::empty();
    sandbox.write("long.toml", &TINY.replace("epochs = 2", "epochs = 100000"));
    let mut child = Command::new(GANOMALY)
        .args(["sweep", "long.toml"])
        .current_dir(sandbox.0.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The first epoch's line shows that training is in progress.
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    while !lines.next().unwrap().unwrap().contains("epoch 1") {}
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|l| l.contains("0 of 1 runs are done and kept")), "{rest:?}");
    assert!(no_leftovers(&sandbox.path("results/long")));
}

#[test]
fn bad_configs_are_named_with_file_line_and_key() {
    let sandbox = Sandbox::empty();
    sandbox.write("tiny.toml", TINY);
    let cases: &[(&str, &[&str])] = &[
        ("dataset = \"synthetic\"\nw_cno = 3\n", &["bad.toml", "line 2", "w_cno", "w_con"]),
        (
            "dataset = \"synthetic\"\nisize = \"big\"\n",
            &["bad.toml", "line 2", "isize", "invalid type"],
        ),
        (
            "dataset = \"synthetic\"\n[sweep]\nw_con = [1, \"x\"]\n",
            &["bad.toml", "line 3", "[sweep]", "w_con"],
        ),
        ("dataset = \"synthetic\"\n[sweep]\nw_cno = [1]\n", &["bad.toml", "line 3", "w_cno"]),
        ("dataset = \"synthetic\"\n[sweep]\nw_con = []\n", &["line 3", "the list is empty"]),
        ("dataset = \n", &["bad.toml", "line 1"]),
        ("abnormal_class = 1\nseed = 0\n", &["dataset: not given, and there is no default"]),
        ("dataset = \"synthetic\"\nabnormal_class = 1\n", &["seed: not given"]),
        ("dataset = \"synthetic\"\nseed = 0\n", &["abnormal_class: not given"]),
        (
            "dataset = \"minst\"\nabnormal_class = 1\nseed = 0\n",
            &["\"minst\": unknown; the data sets are mnist, cifar10"],
        ),
        (
            "dataset = \"synthetic\"\nabnormal_class = 12\nseed = 0\n",
            &["abnormal_class = \"12\": no such class", "ring"],
        ),
        (
            "dataset = \"synthetic\"\nabnormal_class = \"cat\"\nseed = 0\n",
            &["\"cat\": no such class"],
        ),
        (
            "dataset = \"synthetic\"\nabnormal_class = 1\nseed = 4294967296\n",
            &["seed = 4294967296: use a number below 2^32"],
        ),
        ("dataset = \"synthetic\"\nabnormal_class = 1\nseed = -1\n", &["seed"]),
        (
            "dataset = \"synthetic\"\nsplit = \"half\"\n",
            &["line 2", "unknown split \"half\"", "one-class"],
        ),
        (
            "dataset = \"synthetic\"\nsplit = \"one-class\"\nseed = 0\nabnormal_class = 1\n",
            &["takes normal_class"],
        ),
        (
            "dataset = \"synthetic\"\nscoring = \"batch\"\n",
            &["unknown scoring \"batch\"", "batch-shuffled"],
        ),
        (
            "dataset = \"synthetic\"\nadversarial = \"wgan\"\n",
            &["unknown adversarial loss \"wgan\""],
        ),
    ];
    for (text, words) in cases {
        sandbox.write("bad.toml", text);
        sandbox.fails(&["sweep", "bad.toml"], words);
    }
    let sets: &[(&str, &[&str])] = &[
        ("isize=80", &["isize = 80: the sizes that work are 16, 32, 64"]),
        ("detector=\"magic\"", &["\"magic\": unknown; the detectors are ganomaly"]),
        ("w_con=-1", &["w_con = -1"]),
        ("epochs=0", &["epochs = 0: use 1 or more"]),
        ("batch_size=9999", &["batch_size = 9999", "256 training images"]),
        ("also_score=[\"running\"]", &["\"running\" is named twice"]),
        ("nothing", &["--set \"nothing\"", "expected key=value"]),
        ("speed=3", &["--set \"speed=3\"", "unknown setting \"speed\""]),
        ("seed=[0,1]", &["2 runs are to be done; choose one with --only"]),
        ("lr=1e38", &["the loss", "A lower lr"]),
    ];
    for (set, words) in sets {
        sandbox.fails(&["train", "tiny.toml", "--set", set], words);
    }
    sandbox
        .fails(&["train", "gone.toml"], &["cannot read the experiment: gone.toml: No such file"]);
    sandbox.fails(&["train", "tiny.toml", "--threads", "0"], &["--threads 0: use 1 to 1024"]);
    assert!(!sandbox.path("results/tiny").exists() || no_leftovers(&sandbox.path("results/tiny")));
}

#[test]
fn bad_files_are_named() {
    let sandbox = Sandbox::empty();
    sandbox.write("tiny.toml", TINY).write("results", "a file where the folder should be");
    sandbox.fails(&["train", "tiny.toml"], &["results/tiny", "Not a directory"]);

    // No data and no mirror: what is needed, where it may be, how to get it.
    sandbox.write("m.toml", "dataset = \"mnist\"\nabnormal_class = 2\nseed = 0\n");
    sandbox.fails(
        &["train", "m.toml", "--data-dir", "nowhere"],
        &["train-images-idx3-ubyte", "nowhere/mnist", "could not be downloaded"],
    );
    sandbox.fails(&["data", "fetch", "mnist"], &["could not be downloaded", "127.0.0.1:9"]);
    sandbox.fails(&["data", "verify", "elephants"], &["\"elephants\": unknown"]);
    let output = sandbox.run(&["data", "verify", "mnist"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("the files of mnist are missing"));

    let metrics: &[(&str, &str, &[&str])] = &[
        (
            "nan.csv",
            "score,label\n0.1,0\nNaN,1\n",
            &["nan.csv", "score 1 is NaN: scores must be finite"],
        ),
        ("one.csv", "score,label\n0.1,1\n0.2,1\n", &["all 2 labels are anomalous"]),
        ("empty.csv", "score,label\n", &["there are no scores"]),
        ("word.csv", "score,label\nhigh,1\n", &["word.csv", "line 2: score: not a number"]),
        ("column.csv", "points,label\n0.1,1\n", &["missing field `score`"]),
        ("label.csv", "score,label\n0.1,0\n0.2,2\n", &["line 3: label 2: use 1 for an anomaly"]),
        (
            "c.json",
            "{\"cases\": [{\"name\": \"x\", \"scores\": [1], \"labels\": [1, 0]}]}",
            &["case \"x\"", "1 scores, but 2 labels"],
        ),
        ("d.json", "[]", &["d.json"]),
    ];
    for (name, text, words) in metrics {
        sandbox.write(name, text);
        sandbox.fails(&["metrics", name], words);
    }
    sandbox.fails(&["metrics", "gone.csv"], &["gone.csv"]);
    sandbox.fails(
        &["parity", "gone"],
        &["cannot read a trace; name it without its extension: gone.json: "],
    );
}
