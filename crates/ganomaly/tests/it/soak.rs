//! Many runs in one process: its memory and its open files do not grow.

use crate::common::{GANOMALY, TINY, runs, slow, verify};
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

/// By how much the last third's mean memory may exceed the middle third's, in KiB: what the
/// allocator and the system's caches take and give back. A leak of just one run's weights would be
/// more.
const TOLERANCE_KIB: f64 = 1024.0;

#[test]
fn memory_and_open_files_stay_flat() {
    // Each of the eight kinds of drawings, with this many seeds.
    let seeds: usize = if slow() { 40 } else { 8 };
    let sandbox = tempfile::tempdir().unwrap();
    let all: Vec<String> = (0..seeds).map(|s| s.to_string()).collect();
    let sweep = format!(
        "[sweep]\nabnormal_class = [0, 1, 2, 3, 4, 5, 6, 7]\nseed = [{}]\n",
        all.join(", ")
    );
    fs::write(sandbox.path().join("s.toml"), TINY.to_string() + &sweep).unwrap();
    let mut child = Command::new(GANOMALY)
        .args(["sweep", "s.toml", "--jobs", "1", "--threads", "1"])
        .current_dir(sandbox.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = format!("/proc/{}", child.id());
    let (mut memory, mut open) = (Vec::new(), Vec::new());
    let mut largest_open = 0;
    let folder = sandbox.path().join("results/s");
    while child.try_wait().unwrap().is_none() {
        // Then come tables and plots over all runs.
        if runs(&folder).len() == 8 * seeds {
            break;
        }
        let status = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = rss.and_then(|rss| rss.trim().trim_end_matches(" kB").parse::<f64>().ok());
        let fds = fs::read_dir(format!("{process}/fd")).map(Iterator::count).unwrap_or_default();
        if let Some(kib) = kib {
            memory.push(kib);
            open.push(fds as f64);
            largest_open = largest_open.max(fds);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(runs(&folder).len(), 8 * seeds);
    assert!(verify(&folder).status.success());

    let third = |values: &[f64], which: usize| {
        let part = &values[which * values.len() / 3..(which + 1) * values.len() / 3];
        part.iter().sum::<f64>() / part.len() as f64
    };
    assert!(memory.len() > 60, "only {} samples", memory.len());
    let kib = [0, 1, 2].map(|which| third(&memory, which));
    let fds = [0, 1, 2].map(|which| third(&open, which));
    println!(
        "{} runs, {} samples: memory by thirds {kib:.0?} KiB, open files {fds:.1?}, at most {largest_open}",
        8 * seeds,
        memory.len()
    );
    assert!(kib[2] <= kib[1] + TOLERANCE_KIB, "memory grows: {kib:.0?} KiB");
    assert!(fds[2] <= fds[1] + 0.5, "open files grow: {fds:.2?}");
}
