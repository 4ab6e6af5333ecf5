//! MNIST's memory use, in a separate process so that nothing else is counted.

#![cfg(target_os = "linux")]

#[path = "../../../tests/skip.rs"]
mod skip;

use ganomaly_data::{Dataset, datasets::Mnist};

/// The kilobytes in a line of /proc/self/status.
fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|l| l.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn mnist_costs_less_than_60_mb() {
    let Some(shared) = skip::shared() else { return };
    let before = status("VmRSS:");
    let images = Mnist::digits().load(&shared.join("data")).unwrap();
    assert_eq!(images.len(), 70_000);
    let resident = status("VmRSS:") - before;
    let peak = status("VmHWM:") - before;
    println!("{resident} kB resident, {peak} kB at the peak of loading");
    assert!(resident < 60_000 && peak < 60_000, "{resident} kB, {peak} kB");
}
