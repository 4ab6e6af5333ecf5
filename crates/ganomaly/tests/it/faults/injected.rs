//! The N-th writing call fails, for every N.

use super::{Bench, SWEEP};
use crate::common::{skip, slow, stderr};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const KINDS: [&str; 5] = ["enospc", "eio", "full", "short", "torn"];

/// The library that makes calls fail; none if there is no C compiler.
fn shim(bench: &Bench) -> Option<std::path::PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/faults/shim.c");
    let library = bench.path("shim.so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let built = Command::new(compiler)
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output()
        .ok()?;
    assert!(built.status.success(), "{}", stderr(&built));
    Some(library)
}

#[test]
fn every_failing_call_is_survived() {
    let bench = Bench::new(SWEEP);
    let Some(shim) = shim(&bench) else {
        return skip::missing("there is no C compiler");
    };
    let log = bench.path("log");
    let disturbed = |results: &Path, kind: &str, at: usize| -> (Output, usize) {
        let output = bench
            .sweep(results)
            .env("LD_PRELOAD", &shim)
            .env("FAULT_DIR", results)
            .env("FAULT_KIND", kind)
            .env("FAULT_AT", at.to_string())
            .env("FAULT_LOG", &log)
            .output()
            .unwrap();
        (output, fs::read_to_string(&log).unwrap().trim().parse().unwrap())
    };
    let (output, calls) = disturbed(&bench.path("counted"), "enospc", 0);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(calls > 100, "only {calls} calls were seen");
    let step = if slow() { 1 } else { calls / 4 };
    let (mut points, mut failed) = (0, 0);
    for (number, kind) in KINDS.iter().enumerate() {
        // The kinds begin at different calls, so that together they cover more of them.
        for at in (1 + number * step / KINDS.len()..=calls).step_by(step) {
            let results = bench.path(&format!("{kind}-{at}"));
            let (output, _) = disturbed(&results, kind, at);
            let what = format!("{kind} at call {at} of {calls}");
            bench.judge(&what, &output, &results);
            points += 1;
            failed += usize::from(!output.status.success());
            if *kind == "short" {
                assert!(output.status.success(), "{what}: {}", stderr(&output));
            }
            let _ = fs::remove_dir_all(&results);
        }
    }
    println!(
        "injected: {points} points tried, {calls} calls each, {failed} sweeps ended with an error"
    );
    assert!(failed > points / 3, "only {failed} of {points} faults did anything");
}
