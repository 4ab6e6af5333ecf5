//! Results are taken for what they are, by the real binary: runs of other data, of another
//! generation, under another name or of a changed experiment are never mixed and never destroyed.

use crate::common::{Sandbox, TINY, copy, runs, stderr, stdout};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

impl Sandbox {
    /// The command fails with these words, and changes nothing in the results.
    fn refused<S: AsRef<OsStr>>(&self, args: &[S], words: &[&str]) {
        let shown: Vec<_> = args.iter().map(|a| a.as_ref().to_string_lossy()).collect();
        let before = files(&self.path("results"));
        let output = self.run(args);
        let said = stderr(&output) + &stdout(&output);
        assert!(!output.status.success(), "{shown:?} should fail: {said}");
        for word in words {
            assert!(said.contains(word), "{shown:?}: {said:?} should contain {word:?}");
        }
        assert!(files(&self.path("results")) == before, "{shown:?} changed the results");
    }
}

fn sha256(bytes: &[u8]) -> String {
    sha2::Digest::finalize(sha2::Digest::chain_update(sha2::Sha256::default(), bytes))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Everything below a folder; for what cannot be read, only that it is there.
fn files(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        }
        all.insert(path.clone(), fs::read(&path).ok());
    }
    all
}

fn tiny(rest: &str) -> String {
    format!("{TINY}{rest}")
}

/// Images in CIFAR-10's format, drawn by a rule.
fn cifar(folder: &Path, inverted: bool) {
    fs::create_dir_all(folder).unwrap();
    for (file, count) in [("data_batch_1.bin", 200u32), ("test_batch.bin", 100)] {
        let mut bytes = Vec::new();
        for record in 0..count {
            bytes.push((record % 10) as u8);
            let pixel = |at: u32| (at * (record % 10 + 1) / 7 + record) as u8;
            bytes.extend((0..3072).map(|at| if inverted { !pixel(at) } else { pixel(at) }));
        }
        fs::write(folder.join(file), bytes).unwrap();
    }
}

const CIFAR: &str = "\nalso_score = []\n[sweep]\nabnormal_class = [0]\nseed = [0, 1]\n";

#[test]
fn a_run_of_other_images_is_never_taken_for_one_of_these() {
    let s = Sandbox::of(&tiny(CIFAR).replace("synthetic", "cifar10"));
    let data = s.path("data");
    cifar(&data, false);
    // A partial data set is reported, on the terminal and in the tables.
    let part = "not the official set: 200 training and 100 test images";
    let (table, said) = s.both(&["sweep", "s.toml", "--only", "seed=0", "--data-dir", "data"]);
    assert!(said.contains(part) && table.contains(part), "{said}{table}");
    assert!(fs::read_to_string(s.path("results/s/table.csv")).unwrap().contains(part));
    s.both(&["report", "s", "--data-dir", "data"]);
    assert!(fs::read_to_string(s.path("results/s/report.html")).unwrap().contains(part));
    cifar(&data, true);
    let sweep = ["sweep", "s.toml", "--data-dir", "data"];
    s.refused(&sweep, &["saw other images of cifar10", "Bring those images back"]);
    let train = ["train", "s.toml", "--only", "seed=0", "--data-dir", "data"];
    s.refused(&train, &["saw other images of cifar10"]);
    // In their own folder they are allowed; all comparing commands reject both in one folder.
    s.both(&["sweep", "s.toml", "--only", "seed=1", "--data-dir", "data", "--results", "others"]);
    let other = runs(&s.path("others/s")).remove(0);
    copy(&other, &s.path("results/s").join(other.file_name().unwrap()));
    for command in [
        &["collect", "results/s"][..],
        &["report", "s"],
        &["compare", "results/s", "seed=0", "seed=1"],
        &["compare", "results/s", "others/s"],
        &sweep,
    ] {
        s.refused(command, &["images of cifar10"]);
    }
    let verify = s.run(&["verify", "results/s", "--data-dir", "none"]);
    assert!(stdout(&verify).contains("different images of cifar10"), "{}", stdout(&verify));
    assert_eq!(verify.status.code(), Some(1));
    // The plan and a dry run need no data.
    fs::remove_dir_all(&data).unwrap();
    fs::remove_dir_all(s.path("results/s").join(other.file_name().unwrap())).unwrap();
    let (planned, _) = s.both(&["sweep", "s.toml", "--dry-run"]);
    assert!(planned.contains("1 of 2 runs would be done"), "{planned}");
    assert!(s.both(&["status", "s.toml"]).0.contains("1 done, 0 running, 0 failed, 1 missing"));
}

/// Makes a folder look as before generations were counted: names with eight digits, and no
/// generation in plan and records.
fn make_older(folder: &Path) {
    let without = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let kept = text.lines().filter(|line| !line.contains("numerics"));
        fs::write(path, kept.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    };
    let mut plan = fs::read_to_string(folder.join("plan.toml")).unwrap();
    for run in runs(folder) {
        let name = run.file_name().unwrap().to_string_lossy().into_owned();
        let older = &name[..name.len() - 8];
        plan = plan.replace(&name, older);
        fs::remove_file(run.join("SHA256SUMS")).unwrap();
        without(&run.join("run.json"));
        fs::rename(&run, folder.join(older)).unwrap();
    }
    fs::write(folder.join("plan.toml"), plan).unwrap();
    without(&folder.join("plan.toml"));
}

#[test]
fn a_folder_of_an_older_generation_is_told_and_left_alone() {
    let text = tiny("\n[sweep]\nabnormal_class = [0, 1]\nseed = [0]\n");
    let s = Sandbox::of(&text.replace("train_limit = 32", "train_limit = 64"));
    s.both(&["sweep", "s.toml"]);
    let folder = s.path("results/s");
    make_older(&folder);
    copy(&folder, &s.path("results/s-audit"));
    let words = ["older results, of generation 1 of the numerics", "another folder"];
    for command in [
        &["sweep", "s.toml"][..],
        &["train", "s.toml", "--only", "abnormal_class=0"],
        &["collect", "results/s"],
        &["report", "s"],
        &["compare", "results/s", "abnormal_class=ring", "abnormal_class=bar"],
        &["status", "results/s"],
        &["audit", "s.toml"],
    ] {
        s.refused(command, &words);
    }
    assert!(s.both(&["status"]).0.contains(words[0]));
    let (verified, _) = s.both(&["verify", "results/s"]);
    assert!(verified.contains(words[0]) && verified.contains("2 runs"), "{verified}");
    // The new runs have a place under another name; without a plan, the folder's older runs do not
    // make one.
    s.both(&["sweep", "s.toml", "--name", "new"]);
    assert_eq!((s.runs("new").len(), s.runs("s").len()), (2, 2));
    fs::remove_file(folder.join("plan.toml")).unwrap();
    s.refused(&["collect", "results/s"], &words);
    // A sweep then has its own runs beside them, and tables of these alone.
    s.both(&["sweep", "s.toml"]);
    assert_eq!(s.runs("s").len(), 4);
    let tables = |experiment: &str| fs::read_to_string(s.path("results").join(experiment)).unwrap();
    assert_eq!(tables("s/runs.csv"), tables("new/runs.csv"));
    assert!(s.both(&["collect", "results/s"]).1.contains("of other configs or generations"));
}

#[test]
fn a_changed_experiment_has_a_folder_and_tables_of_its_own() {
    let s = Sandbox::of(
        &tiny("\n[sweep]\nabnormal_class = [0, 1]\n").replace("bootstrap", "seed = 0\nbootstrap"),
    );
    s.both(&["sweep", "s.toml"]);
    let plain = files(&s.path("results/s"));
    let sets: [&[&str]; 3] = [&["w_con=10"], &["w_con=20"], &["seed=[0,1]", "w_con=20"]];
    let mut folders = vec!["s".to_string()];
    for set in sets {
        let mut args = vec!["sweep", "s.toml"];
        set.iter().for_each(|set| args.extend(["--set", set]));
        let (_, said) = s.both(&args);
        let folder = said.split("results in results/").nth(1).unwrap().trim();
        assert!(!folders.contains(&folder.to_string()) && folder.starts_with("s--"), "{folder}");
        folders.push(folder.to_string());
    }
    assert_eq!(folders[1..], ["s--w_con=10", "s--w_con=20", "s--seed=_0,1_,w_con=20"]);
    assert!(files(&s.path("results/s")) == plain, "the plain experiment is as it was");
    for folder in &folders {
        let (verified, _) = s.both(&["verify", &format!("results/{folder}")]);
        assert!(verified.contains("all is as it was"), "{verified}");
    }
    // A setting that changes nothing gives the same experiment; a name can be requested.
    assert!(s.both(&["sweep", "s.toml", "--set", "w_con=50"]).1.contains("2 were there"));
    s.both(&["sweep", "s.toml", "--set", "w_con=10", "--name", "mine"]);
    assert_eq!(s.runs("mine").len(), 2);
    // An interrupted one leaves the plain experiment's report alone.
    s.both(&["report", "s"]);
    // A part of it is done with --only, in its own folder.
    let (_, said) = s.both(&["train", "s.toml", "--only", "abnormal_class=1"]);
    assert!(said.contains("results in results/s/bar-seed0-"), "{said}");
}

#[test]
fn names_of_experiments_are_those_of_visible_folders_below_the_results() {
    let s = Sandbox::of(&tiny("\nseed = 0\nabnormal_class = 0\n"));
    let text = fs::read(s.path("s.toml")).unwrap();
    for name in ["...toml", "..toml", ".toml", "-x.toml", "a\nb.toml"] {
        fs::write(s.path(name), &text).unwrap();
        s.refused(&["sweep", &format!("./{name}")], &["name"]);
    }
    for name in ["", ".", "..", "../x", "/tmp/x", "a/b", ".hidden"] {
        s.refused(&["sweep", "s.toml", "--name", name], &["--name"]);
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStrExt;
        let name = OsStr::from_bytes(b"\xff.toml");
        fs::write(s.0.path().join(name), &text).unwrap();
        s.refused(&[OsStr::new("sweep"), name], &["not UTF-8"]);
    }
    assert!(!s.path("results").exists());
}

#[test]
fn a_run_is_done_when_its_config_says_so() {
    let s =
        Sandbox::of(&tiny("\nseed = 0\nabnormal_class = 0\n[sweep]\nw_con = [54183, 143073]\n"));
    // Two configs whose hashes agree in their first 32 bits at generation 1.
    s.both(&["sweep", "s.toml"]);
    let both = s.runs("s");
    assert_eq!(both.len(), 2);
    let name = both[1].file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(name.rsplit('-').next().unwrap().len(), 16);
    fs::remove_dir_all(&both[1]).unwrap();
    copy(&both[0], &both[1]);
    let words = ["another run under this name", &name];
    for command in [&["sweep", "s.toml"][..], &["collect", "results/s"], &["report", "s"]] {
        s.refused(command, &words);
    }
    assert!(
        s.both(&["status", "s.toml"])
            .0
            .contains("1 done, 0 running, 0 failed, 0 missing, 1 blocked")
    );
    // An empty folder, a file and a dangling link are not runs either.
    fs::remove_dir_all(&both[1]).unwrap();
    let places: [&dyn Fn(); 3] = [
        &|| fs::create_dir(&both[1]).unwrap(),
        &|| fs::write(&both[1], "x").unwrap(),
        #[cfg(unix)]
        &|| std::os::unix::fs::symlink("nowhere", &both[1]).unwrap(),
        #[cfg(not(unix))]
        &|| fs::write(&both[1], "y").unwrap(),
    ];
    for place in places {
        place();
        s.refused(&["sweep", "s.toml"], &["in the place of a run, and not one"]);
        assert!(s.both(&["status", "s.toml"]).0.contains("1 blocked"));
        let _ = fs::remove_dir(&both[1]).or_else(|_| fs::remove_file(&both[1]));
    }
    assert!(s.both(&["sweep", "s.toml"]).1.contains("1 runs done now, 1 were there"));
}

#[test]
fn slips_of_the_pen_are_errors() {
    let s = Sandbox::of(&tiny("\nseed = 0\n[sweep]\nabnormal_class = [0, 1]\n"));
    for (args, words) in [
        (&["--set", "w_con=10\nnonsense=7"][..], &["a value is a single line"][..]),
        (&["--only", "abnormal_class=0\nnonsense=7"], &["a value is a single line"]),
        (&["--set", "w_con=10,50"], &["a list has brackets: [10,50]"]),
        (&["--set", "w_con=[10"], &["not a TOML value"]),
        (&["--set", "dataset=[\"synthetic\",\"mnist\"]"], &["an experiment is about one data set"]),
    ] {
        s.refused(&[&["sweep", "s.toml"], args].concat(), words);
    }
    let none = s.run(&["sweep", "s.toml", "--set", "validation=0.0001"]);
    let said = stderr(&none);
    assert!(
        !none.status.success() && said.contains("of 32 training images that is none"),
        "{said}"
    );
    assert!(said.contains("use 3.1e-2 or more"), "{said}");
    s.both(&["sweep", "s.toml"]);
    let image = s
        .path("results/s/plots")
        .join(s.runs("s")[0].file_name().unwrap())
        .join("pictures.png")
        .display()
        .to_string();
    s.refused(
        &["score", "results/s", &image],
        &["an experiment's folder with 2 runs, not a run's; name one of them, such as results/s/"],
    );
    s.refused(&["score", "results", &image], &["not a run's folder"]);
}

/// A fresh clone has only a run's small records: everything that can be computed from them is
/// there.
#[test]
fn what_is_not_here_is_told_apart_from_what_is_wrong() {
    let s = Sandbox::of(&tiny("\nseed = 0\n[sweep]\nabnormal_class = [0, 1]\n"));
    s.both(&["sweep", "s.toml"]);
    let small = ["config.toml", "epochs.csv", "metrics.json", "run.json", "SHA256SUMS"];
    for run in s.runs("s") {
        for file in files(&run).into_keys() {
            if !small.iter().any(|name| file.ends_with(name)) {
                fs::remove_file(file).unwrap();
            }
        }
    }
    let tables = files(&s.path("results/s"));
    let (verified, _) = s.both(&["verify"]);
    assert!(
        verified.contains("of 2 of its 2 runs the scores and weights are not here"),
        "{verified}"
    );
    assert!(verified.contains("all is as it was"), "{verified}");
    s.both(&["collect", "results/s"]);
    assert!(files(&s.path("results/s")) == tables, "tables of the records are those of the runs");
    let (_, said) = s.both(&["sweep", "s.toml"]);
    assert!(said.contains("2 of the runs that were there are records"), "{said}");
    s.refused(&["report", "s"], &["not here; of this run the records are kept alone"]);
    let run = s.runs("s").remove(0);
    // A number in a record, a record, and only one of the large files.
    let original = fs::read(run.join("metrics.json")).unwrap();
    let metrics =
        String::from_utf8(original.clone()).unwrap().replacen("\"auroc\": 0.", "\"auroc\": 0.1", 1);
    fs::write(run.join("metrics.json"), metrics).unwrap();
    s.refused(&["verify"], &["metrics.json: SHA-256", "MISMATCH"]);
    let sums = fs::read_to_string(run.join("SHA256SUMS")).unwrap();
    let own: String = sums
        .lines()
        .filter(|line| !line.ends_with("metrics.json"))
        .map(|line| format!("{line}\n"))
        .collect();
    let forged = sha256(&fs::read(run.join("metrics.json")).unwrap());
    fs::write(run.join("SHA256SUMS"), format!("{own}{forged}  metrics.json\n")).unwrap();
    s.refused(&["verify"], &["auroc: expected", "table.md"]);
    fs::write(run.join("metrics.json"), original).unwrap();
    fs::write(run.join("SHA256SUMS"), sums).unwrap();
    fs::remove_file(run.join("epochs.csv")).unwrap();
    s.refused(&["verify"], &["epochs.csv: SHA-256"]);
    fs::write(s.runs("s")[1].join("weights.safetensors"), "").unwrap();
    s.refused(&["verify"], &["scores.csv: SHA-256"]);
}
