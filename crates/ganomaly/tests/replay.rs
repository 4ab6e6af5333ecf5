//! Runs the fuzz targets' corpus, and mutations of it that are random but the same every time,
//! through every reader. The long search is `fuzz/run`; this part runs with `cargo test`, in a
//! process of its own, whose peak memory it checks.

#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;
use targets::{TARGETS, Target};

/// Mutated inputs for each file of a corpus.
const MUTANTS: usize = 100;

/// A small random number generator (xorshift), seeded by the test.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    /// Changes, doubles, removes or sets to an extreme a few bytes.
    fn mutate(&mut self, input: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(8)).min(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 if at < end => bytes[at] ^= 1 << self.below(8),
                2 => bytes[at.min(end)..end].fill([0, 0x7f, 0x80, 0xff][self.below(4)]),
                3 => {
                    let part = bytes[at.min(end)..end].to_vec();
                    bytes.splice(at..at, part);
                }
                4 => drop(bytes.drain(at.min(end)..end)),
                _ => bytes.insert(at, self.below(256) as u8),
            }
        }
        bytes
    }
}

fn replay(target: &Target) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target.name);
    let mut files: Vec<_> = fs::read_dir(corpus).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for file in &files {
        let input = fs::read(file).unwrap();
        (target.run)(dir.path(), &input);
        for _ in 0..MUTANTS {
            (target.run)(dir.path(), &random.mutate(&input));
        }
    }
    files.len()
}

#[test]
fn no_input_makes_a_reader_panic_or_take_more_memory_than_it_may() {
    for target in &TARGETS {
        assert!(replay(target) >= 4, "{}: its corpus is not there", target.name);
    }
    // All of them in sequence; fuzz/run measures each input alone.
    #[cfg(target_os = "linux")]
    {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
        let kilobytes: usize = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
        let most = TARGETS.iter().map(|t| t.most_bytes).max().unwrap() / 1024 + 65_536;
        println!("{kilobytes} kB at the peak");
        assert!(kilobytes < most, "{kilobytes} kB, more than {most}");
    }
}
