//! Excessive requests, other things in place of files, leftovers of dead processes, and how they
//! are reported.

use super::{Sandbox, code, signal, until};
use crate::common::{TINY, runs, stderr, stdout};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

fn fifo(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn limits_are_told_before_anything_is_built() {
    let sandbox = Sandbox::new();
    let design = |design: &str| {
        let text = TINY.replace("bootstrap = 10\n", "");
        format!("{text}abnormal_class = 0\nseed = 0\n[design]\n{design}")
    };
    let many = "kind = \"random\"\nsettings = 1000000000\nw_adv = [1, 2]\nw_con = [1, 2]\nw_enc = [1, 2]\n";
    sandbox.write("many.toml", &design(many));
    sandbox.fails(&["sweep", "many.toml"], &["settings = 1000000000: use 1 to 10000"]);
    let levels: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let levels = format!("[{}]", levels.join(", "));
    let grid = format!("kind = \"grid\"\nw_adv = {levels}\nw_con = {levels}\nw_enc = {levels}\n");
    sandbox.write("grid.toml", &design(&grid));
    sandbox.fails(&["sweep", "grid.toml"], &["1000000000 weightings; 10000 at most"]);
    let started = Instant::now();
    for threads in ["0", "100000", "18446744073709551615"] {
        sandbox.fails(&["sweep", "e.toml", "--threads", threads], &["use 1 to 1024"]);
    }
    assert!(started.elapsed() < Duration::from_secs(10));
    let output = sandbox.run(&["sweep", "e.toml", "--jobs", "1000000"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("use auto, or 1 to 1024"), "{}", stderr(&output));
}

#[test]
fn claims_with_impossible_numbers_end_no_sweep() {
    let sandbox = Sandbox::new();
    let name = &sandbox.first_run();
    let claims = sandbox.path("results/e/.claims");
    fs::create_dir_all(&claims).unwrap();
    let last = claims.join(format!("{name}.{}", u64::MAX));
    File::create(&last).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    // A number in another spelling is not a claim.
    fs::write(claims.join(format!("{name}.007")), "").unwrap();
    sandbox.fails(
        &["sweep", "e.toml", "--jobs", "1"],
        &["no claim has such a number; remove it", &name[..5]],
    );
    fs::remove_file(last).unwrap();
    assert!(sandbox.run(&["sweep", "e.toml", "--jobs", "1"]).status.success());
}

#[test]
fn pipes_in_the_place_of_files_are_named_and_never_waited_for() {
    for place in [
        "plan.toml",
        "RUN/run.json",
        "RUN/config.toml",
        "RUN/epochs.csv",
        "RUN/metrics.json",
        ".claims/RUN.1",
    ] {
        let sandbox = Sandbox::swept();
        let results = sandbox.path("results/e");
        let run = runs(&results).remove(0);
        let name = run.file_name().unwrap().to_str().unwrap();
        if place.starts_with(".claims") {
            fs::remove_dir_all(&run).unwrap();
        }
        fifo(&results.join(place.replace("RUN", name)));
        for args in [
            &["status"][..],
            &["sweep", "e.toml", "--jobs", "1"],
            &["collect", "results/e"],
            &["verify"],
            &["report"],
            &["compare", "results/e", "results/e"],
            &["audit", "e.toml"],
        ] {
            let output = sandbox.run(args);
            let code = output.status.code();
            assert!(matches!(code, Some(0 | 1)), "{place}, {args:?}: {code:?}");
            assert!(!stderr(&output).contains("panicked"), "{place}: {}", stderr(&output));
        }
        let verified = sandbox.run(&["verify"]);
        let file = place.rsplit('/').next().unwrap();
        if !place.starts_with(".claims") {
            let said = stdout(&verified) + &stderr(&verified);
            assert!(verified.status.code() == Some(1) && said.contains(file), "{place}: {said}");
        }
    }
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("results/e")).unwrap();
    fifo(&sandbox.path("results/e/sweep.log"));
    assert!(sandbox.run(&["sweep", "e.toml", "--jobs", "1"]).status.success());
}

#[test]
fn what_is_no_run_in_the_place_of_one_is_not_done() {
    let sandbox = Sandbox::new();
    let name = &sandbox.first_run();
    let place = sandbox.path("results/e").join(name);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    let told = || {
        let status = stdout(&sandbox.run(&["status", "e.toml"]));
        assert!(status.contains("0 done") && status.contains("1 blocked"), "{status}");
        sandbox.fails(&["sweep", "e.toml", "--jobs", "1"], &[name, "Move it away"]);
    };
    std::os::unix::fs::symlink("nowhere", &place).unwrap();
    told();
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    told();
    fs::remove_dir(&place).unwrap();
    fs::write(&place, "").unwrap();
    told();
}

#[test]
fn escape_sequences_from_files_do_not_reach_the_terminal() {
    let sandbox = Sandbox::swept();
    let results = sandbox.path("results/e");
    let run = runs(&results).remove(0);
    let name = run.file_name().unwrap().to_str().unwrap().to_string();
    let plan = results.join("plan.toml");
    let text = fs::read_to_string(&plan).unwrap();
    fs::write(&plan, text.replace("name = \"e\"", "name = \"\\u001b[2Je\\u202e\"")).unwrap();
    fs::remove_dir_all(&run).unwrap();
    fs::create_dir(results.join(".failed")).unwrap();
    let failure = "time_unix_s = 1\nhost = \"\\u001b]0;h\\u0007\"\npid = 1\nerror = \"\\u001b[31mred\\u009b2J\"\n";
    fs::write(results.join(".failed").join(&name), failure).unwrap();
    for args in [
        &["status"][..],
        &["status", "results/e"],
        &["collect", "results/e"],
        &["sweep", "e.toml", "--dry-run"],
        &["verify"],
        &["report"],
        &["sweep", "e.toml", "--only", "abnormal_class=\u{1b}[2J"],
        &["sweep", "e.toml", "--set", "w_con=\u{1b}[2J"],
        &["score", "\u{1b}[2J", "a.png"],
    ] {
        let output = sandbox.run(args);
        let said = stdout(&output) + &stderr(&output);
        let bad = |c: char| c.is_control() && c != '\n' && c != '\t' || c == '\u{202e}';
        assert!(!said.contains(bad), "{args:?}: {said:?}");
    }
    assert!(stdout(&sandbox.run(&["status", "results/e"])).contains("\\u{1b}[31mred"));
}

/// A process is stopped, another takes over its run and finishes it, and the first wakes up.
#[test]
fn a_process_that_wakes_up_after_a_takeover_leaves_nothing() {
    let settings = TINY.replace("train_limit = 32", "train_limit = 320");
    let settings = settings.replace("epochs = 1", "epochs = 60");
    let sandbox = Sandbox::with(&settings, "abnormal_class = 0\nseed = 0");
    let args = ["sweep", "e.toml", "--stale-after", "0.5", "--checkpoint-steps", "5"];
    let mut first = sandbox.spawn(&args);
    let checkpoints = sandbox.path("results/e/.checkpoints");
    until("a checkpoint", || checkpoints.is_dir());
    signal("STOP", &first);
    let second = sandbox.run(&args);
    signal("CONT", &first);
    assert_eq!(code(&mut first), Some(0));
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
    assert_eq!(runs(&sandbox.path("results/e")).len(), 1);
    assert!(!checkpoints.exists(), "{:?}", fs::read_dir(&checkpoints).map(Iterator::count));
    assert_eq!(fs::read_dir(sandbox.path("results/e/.claims")).unwrap().count(), 0);
}

#[test]
fn what_a_killed_collect_left_is_removed_by_the_next() {
    let sandbox = Sandbox::swept();
    let old = SystemTime::now() - Duration::from_secs(3600);
    let left = ["plots/.auroc.svg.h-1-2-3.tmp", ".table.md.h-1-2-3.tmp"];
    let left = left.map(|name| sandbox.path("results/e").join(name));
    for path in &left {
        File::create(path).unwrap().set_modified(old).unwrap();
    }
    let being_written = sandbox.path("results/e/plots/.auroc.svg.h-4-5-6.tmp");
    fs::write(&being_written, "").unwrap();
    assert!(sandbox.run(&["collect", "results/e"]).status.success());
    assert!(left.iter().all(|path| !path.exists()) && being_written.exists());
}

/// The clock may be set by a day while a process trains.
#[test]
fn a_living_process_is_told_as_such_whatever_the_clock_says() {
    let sandbox = Sandbox::endless();
    let mut child = sandbox.spawn(&["sweep", "e.toml"]);
    let claims = sandbox.path("results/e/.claims");
    let claim = || fs::read_dir(&claims).into_iter().flatten().flatten().next();
    until("a claim", || claim().is_some_and(|c| c.metadata().is_ok_and(|m| m.len() > 0)));
    // As it looks to a clock that is a day ahead.
    let day = SystemTime::now() - Duration::from_secs(86400);
    let file = File::options().write(true).open(claim().unwrap().path()).unwrap();
    file.set_modified(day).unwrap();
    let status = stdout(&sandbox.run(&["status", "e.toml"]));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(status.contains("1 running"), "{status}");
    // Once killed, it is gone at once.
    let status = stdout(&sandbox.run(&["status", "e.toml"]));
    assert!(status.contains("1 missing") && status.contains("which is gone"), "{status}");
}

#[test]
fn messages_say_what_was_wrong_in_the_users_words() {
    let sandbox = Sandbox::swept();
    sandbox.fails(
        &["report", "--compare", "e:sed=0", "e"],
        &["\"sed\": there is no such setting; the runs differ in abnormal_class"],
    );
    sandbox.fails(
        &["compare", "results/e", "abnormal_class=0", "abnormal_class=1", "--only", "w_con=abc"],
        &["w_con = \"abc\": not a value of this setting; the runs have 50.0", "expected a number"],
    );
    sandbox.fails(&["sweep", "e.toml", "--set", "w_con=10,50"], &["a list has brackets: [10,50]"]);
    sandbox.fails(&["sweep", "e.toml", "--set", "epochs=many"], &["expected a whole number"]);
    sandbox.fails(&["verify", "e.toml"], &["e.toml: a file; name a folder of results"]);
    sandbox.fails(&["verify", "nowhere"], &["nowhere: no such folder"]);
    sandbox.fails(&["compare", "e.toml", "e.toml"], &["e.toml: a file; name a folder of results"]);
    sandbox.write("results/f", "");
    sandbox.fails(&["sweep", "e.toml", "--name", "f"], &["results/f: a file; name a folder"]);
    sandbox
        .fails(&["sweep", "e.toml", "--set", "w_con=[1,2"], &["is a bracket or a quote missing?"]);
    let listed = ["sweep", "e.toml", "--dry-run", "--set", "further_scores=[\"z_nn\"]"];
    let output = sandbox.run(&listed);
    assert!(stdout(&output).contains("2 of 2 runs would be done"), "{}", stderr(&output));

    for labels in ["1,0", "1.0,0.0", "True,False", "true,FALSE"] {
        let (a, b) = labels.split_once(',').unwrap();
        sandbox.write("m.csv", &format!("score,label\n0.9,{a}\n0.1,{b}\n"));
        let output = sandbox.run(&["metrics", "m.csv"]);
        assert!(stdout(&output).contains("\"auroc\": 1.0"), "{labels}: {}", stderr(&output));
    }
    for label in ["-1", "2", "0.5", "yes", ""] {
        sandbox.write("m.csv", &format!("score,label\n0.9,1\n0.1,{label}\n"));
        let words = ["m.csv: line 3: ", "use 1 for an anomaly, 0 for a normal image"];
        sandbox.fails(&["metrics", "m.csv"], &words);
    }
    sandbox.write("m.csv", "score,label\nx,1\n");
    sandbox.fails(&["metrics", "m.csv"], &["m.csv: line 2: score: not a number"]);
    sandbox.write("m.csv", "score,label\n1\n");
    sandbox.fails(&["metrics", "m.csv"], &["m.csv: line 2: 1 columns, and the heading has 2"]);
    sandbox.write("m.csv", "score,kind\n1,1\n");
    sandbox.fails(&["metrics", "m.csv"], &["missing field `label`"]);

    let run = runs(&sandbox.path("results/e")).remove(0);
    let path = sandbox.path("a.png");
    image::GrayImage::from_fn(16, 16, |x, y| image::Luma([(x * y) as u8])).save(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    // In the checksum of the header.
    bytes[30] ^= 1;
    fs::write(&path, bytes).unwrap();
    let output = sandbox.run(&["score", run.to_str().unwrap(), "a.png"]);
    let said = stderr(&output);
    assert_eq!(said.matches("CRC error").count(), 1, "{said}");
    assert!(said.contains("a.png: cannot read the image: it is damaged"), "{said}");
    assert!(!said.contains("ChunkType"), "{said}");
}
