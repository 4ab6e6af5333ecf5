//! `ganomaly verify` finds every change in results, with the real binary.

use crate::common::{GANOMALY, TINY, copy, runs, stderr, stdout, verify};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SWEEP: &str = r#"
also_score = ["batch-shuffled", "batch-sequential", "single"]
keep_scores = "every-epoch"
validation = 8
train_limit = 64

[sweep]
abnormal_class = [0, 1]
seed = [0, 1]
"#;

/// Good results, to be corrupted in copies.
struct Results {
    sandbox: tempfile::TempDir,
    copies: std::cell::Cell<usize>,
}

impl Results {
    fn new() -> Self {
        let sandbox = tempfile::tempdir().unwrap();
        let config = TINY.replace("train_limit = 32\n", "") + SWEEP;
        fs::write(sandbox.path().join("s.toml"), config).unwrap();
        let results = Self { sandbox, copies: 0.into() };
        results.ok(&["sweep", "s.toml", "--tensorboard"]);
        results.ok(&["audit", "s.toml"]);
        results
    }

    fn ok(&self, args: &[&str]) -> String {
        let output =
            Command::new(GANOMALY).args(args).current_dir(self.sandbox.path()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    }

    fn well(&self) -> PathBuf {
        self.sandbox.path().join("results/s")
    }

    /// Corrupts a copy, and expects each of these words on its own line.
    fn spoilt(&self, what: &str, spoil: impl FnOnce(&Path), expected: &[&str]) -> String {
        self.copies.set(self.copies.get() + 1);
        let folder = self.sandbox.path().join(format!("{}/s", self.copies.get()));
        copy(&self.well(), &folder);
        spoil(&folder);
        let output = verify(&folder);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(1), "{what}: {text}{}", stderr(&output));
        for words in expected {
            let found = text.lines().any(|line| words.split(" & ").all(|word| line.contains(word)));
            assert!(found, "{what}: expected a line with {words:?} in\n{text}");
        }
        text
    }
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn flip(path: &Path, at: usize) {
    edit(path, |bytes| bytes[at] ^= 1);
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from:?} in {text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// Where the last digit of a line's last number is.
fn last_digit(path: &Path, line: usize) -> usize {
    let text = fs::read_to_string(path).unwrap();
    text.lines().take(line).map(|line| line.len() + 1).sum::<usize>() - 2
}

/// Updates the checksums to what is there now: what a careful forger would do.
fn forge_checksums(run: &Path) {
    let text = fs::read_to_string(run.join("SHA256SUMS")).unwrap();
    let sum = |line: &str| {
        let name = line.split_once("  ").unwrap().1;
        let digest = Sha256::digest(fs::read(run.join(name)).unwrap());
        let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        format!("{hex}  {name}\n")
    };
    fs::write(run.join("SHA256SUMS"), text.lines().map(sum).collect::<String>()).unwrap();
}

#[test]
fn whatever_is_changed_is_found() {
    let results = Results::new();
    let well = verify(&results.well());
    assert!(well.status.success() && stdout(&well).contains("4 runs"), "{}", stdout(&well));
    assert!(stdout(&well).contains(" 0 notes: all is as it was"), "{}", stdout(&well));
    let run = |folder: &Path| runs(folder)[0].clone();
    let name = run(&results.well()).file_name().unwrap().to_string_lossy().into_owned();
    let of = |rest: &str| format!("{name}{rest}");

    results.spoilt(
        "a flipped bit in scores",
        |f| flip(&run(f).join("scores.csv"), last_digit(&run(f).join("scores.csv"), 5)),
        &[&of("/scores.csv: SHA-256: expected & found")],
    );
    // The first score is l2 by running statistics: the score that counts.
    let forged = results.spoilt(
        "scores changed with their checksum",
        |f| {
            let path = run(f).join("scores.csv");
            let text = fs::read_to_string(&path).unwrap();
            let cell = text.lines().nth(1).unwrap().split(',').nth(3).unwrap().to_string();
            replace(&path, &cell, "123.5");
            forge_checksums(&run(f));
        },
        &[
            &of("/metrics.json: by scores.csv and epochs.csv, & expected & found"),
            &of("/epochs.csv: auroc_running of the last epoch: expected"),
            &of("/epoch_scores.safetensors: running/l2 of the last epoch, row 1: expected 123.5"),
            "runs.csv: line & expected",
            "scores.svg: line",
        ],
    );
    assert!(!forged.contains("SHA-256"), "{forged}");
    results.spoilt(
        "scores of two runs swapped, with their checksums",
        |f| {
            let (a, b) = (runs(f)[0].join("scores.csv"), runs(f)[1].join("scores.csv"));
            let (of_a, of_b) = (fs::read(&a).unwrap(), fs::read(&b).unwrap());
            fs::write(&a, of_b).unwrap();
            fs::write(&b, of_a).unwrap();
            forge_checksums(&runs(f)[0]);
            forge_checksums(&runs(f)[1]);
        },
        &[&of("/metrics.json: by scores.csv"), &of("/epoch_scores.safetensors: ")],
    );
    results.spoilt(
        "a flipped bit in weights",
        |f| {
            edit(&run(f).join("weights.safetensors"), |bytes| {
                let at = bytes.len() - 40;
                bytes[at] ^= 4;
            });
        },
        &[&of("/weights.safetensors: SHA-256: expected & found")],
    );
    results.spoilt(
        "weights that are not finite, with their checksum",
        |f| {
            edit(&run(f).join("weights.safetensors"), |bytes| {
                let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
                let text = String::from_utf8(bytes[8..8 + header].to_vec()).unwrap();
                let header_json: serde_json::Value = serde_json::from_str(&text).unwrap();
                let tensors = header_json.as_object().unwrap();
                let of_f32 = tensors.values().find(|t| t["dtype"] == "F32").unwrap();
                let at = 8 + header + of_f32["data_offsets"][0].as_u64().unwrap() as usize;
                bytes[at..at + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
            });
            forge_checksums(&run(f));
        },
        &[&of("/weights.safetensors: & is infinite or not a number")],
    );
    results.spoilt(
        "a weight's shape",
        |f| {
            edit(&run(f).join("weights.safetensors"), |bytes| {
                let at = bytes.windows(6).position(|w| w == b"\"F32\",").unwrap();
                bytes[at + 1] = b'X';
            });
            forge_checksums(&run(f));
        },
        &[&of("/weights.safetensors: ")],
    );
    for table in ["table.md", "table.csv", "runs.csv", "plots/auroc.svg"] {
        results.spoilt(
            table,
            |f| {
                edit(&f.join(table), |bytes| {
                    let at = bytes.len() - 20;
                    bytes[at] ^= 1;
                })
            },
            &[&format!("{table}: line & expected & found")],
        );
    }
    for table in ["audit.json", "audit.csv", "audit.md", "plots/audit.svg", "plots/summary.svg"] {
        results.spoilt(
            table,
            |f| {
                let path = f.join(table);
                let text = fs::read_to_string(&path).unwrap();
                let at = text.rfind("0.").unwrap() + 2;
                flip(&path, at);
            },
            &[&format!("{table}: & expected & found")],
        );
    }
    results.spoilt(
        "a missing run",
        |f| fs::remove_dir_all(run(f)).unwrap(),
        &[
            &of(": missing run: expected by plan.toml, found no folder"),
            "table.md: line & expected & found",
        ],
    );
    results.spoilt(
        "an edited config",
        |f| replace(&run(f).join("config.toml"), "w_con = 50.0", "w_con = 5.0"),
        &[
            &of("/config.toml: SHA-256: expected & by run.json, found"),
            &of("/config.toml: by plan.toml, line & w_con = 50.0 & w_con = 5.0"),
            &of(": name: expected"),
        ],
    );
    results.spoilt(
        "an edited plan",
        |f| replace(&f.join("plan.toml"), "w_con = 50.0", "w_con = 5.0"),
        &["plan.toml: run & by its settings, expected the name", &of("/config.toml: by plan.toml")],
    );
    results.spoilt(
        "a broken plan",
        |f| edit(&f.join("plan.toml"), |bytes| bytes.truncate(bytes.len() / 2)),
        &["plan.toml: "],
    );
    results.spoilt(
        "a renamed run",
        |f| fs::rename(run(f), f.join("ring-seed7-0000000000000000")).unwrap(),
        &[
            &format!("ring-seed7-0000000000000000: name: expected {name} by its config"),
            &of(": missing run"),
        ],
    );
    for file in [
        "scores.csv",
        "weights.safetensors",
        "metrics.json",
        "epochs.csv",
        "SHA256SUMS",
        "run.json",
        "config.toml",
    ] {
        results.spoilt(
            "a truncated file",
            |f| edit(&run(f).join(file), |bytes| bytes.truncate(bytes.len() / 2)),
            &[&of(&format!("/{file}: "))],
        );
        results.spoilt(
            "a file gone",
            |f| fs::remove_file(run(f).join(file)).unwrap(),
            &[&of(&format!("/{file}: & expected"))],
        );
    }
    results.spoilt(
        "a file too many",
        |f| fs::write(run(f).join("a\nb"), "").unwrap(),
        &[&of("/a\\nb: expected only the files in SHA256SUMS")],
    );
    results.spoilt(
        "a folder that is no run",
        |f| fs::create_dir(f.join("half")).unwrap(),
        &["half: a folder that is not a run's"],
    );
    results.spoilt(
        "the checksums' list leads out of the folder",
        |f| replace(&run(f).join("SHA256SUMS"), "  scores.csv", "  ../scores.csv"),
        &["/SHA256SUMS: expected names of files in the folder"],
    );
    results.spoilt(
        "other data files than those of the other runs",
        |f| {
            for (at, sum) in [(0, "aa"), (1, "bb")] {
                let data = format!("\"data_sha256\": {{\"d\": \"{sum}\"}}");
                replace(&runs(f)[at].join("run.json"), "\"data_sha256\": {}", &data);
                forge_checksums(&runs(f)[at]);
            }
        },
        &["/run.json: data_sha256: expected the data files of & found d bb for aa"],
    );
}

#[test]
fn no_damaged_result_is_read_as_good() {
    let results = Results::new();
    let run = runs(&results.well())[0].clone();
    let fails = |args: &[&str], words: &str| {
        let output =
            Command::new(GANOMALY).args(args).current_dir(results.sandbox.path()).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(stderr(&output).contains(words), "{args:?}: {}", stderr(&output));
    };
    let damaged = "damaged or changed since the run ended: SHA-256 is";
    let metrics = fs::read_to_string(run.join("metrics.json")).unwrap();
    fs::write(run.join("metrics.json"), metrics.replacen("0.", "0.0", 1)).unwrap();
    fails(&["collect", "results/s"], damaged);
    fails(&["sweep", "s.toml"], damaged);
    fails(&["report", "s"], damaged);
    fs::write(run.join("metrics.json"), metrics).unwrap();
    flip(&run.join("epoch_scores.safetensors"), 3000);
    fails(&["audit", "s.toml"], damaged);
    flip(&run.join("weights.safetensors"), 4000);
    fails(&["score", &run.display().to_string(), "s.toml"], damaged);
    fs::remove_file(run.join("metrics.json")).unwrap();
    fails(
        &["sweep", "s.toml"],
        "in the place of a run, and not one: config.toml, metrics.json and run.json are not all",
    );
    fs::remove_dir_all(&run).unwrap();
    results.ok(&["sweep", "s.toml"]);
    results.ok(&["audit", "s.toml"]);
    assert!(verify(&results.well()).status.success());
}

#[test]
fn a_single_run_all_results_and_what_is_neither() {
    let results = Results::new();
    let metrics = runs(&results.well())[0].join("metrics.json");
    replace(&metrics, "\"auroc\": 0.", "\"auroc\": 0.0");
    forge_checksums(metrics.parent().unwrap());
    let output = verify(&results.well());
    assert!(!output.status.success() && stdout(&output).contains("metrics.json: by scores.csv"));
    // A single run, a folder of experiments, and something that is neither.
    let one = verify(&runs(&results.well())[1]);
    assert!(one.status.success() && stdout(&one).contains("1 runs"), "{}", stdout(&one));
    let all = verify(results.well().parent().unwrap());
    assert!(stdout(&all).contains("s: 4 runs"), "{}", stdout(&all));
    let none = verify(&results.sandbox.path().join("none"));
    assert!(stderr(&none).contains("no such folder"), "{}", stderr(&none));
}
