//! Checks against the published implementation's traces: the small one in `golden/`, and larger
//! ones if `GANOMALY_SHARED` names their folder. `tools/golden/` explains how they are made.

use crate::common::skip;

use ganomaly::dev::parity::{Guidance, check_trace};
use ganomaly_experiment::config::DeviceName;
use std::path::{Path, PathBuf};

/// The small trace, without file extensions.
fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny")
}

fn traces() -> Vec<PathBuf> {
    let golden = skip::shared().map(|shared| shared.join("golden"));
    let names = ["mnist32", "mnist32_warm", "rgb64_extra1"];
    let shared = golden.iter().flat_map(|golden| names.map(|name| golden.join(name)));
    std::iter::once(tiny()).chain(shared).collect()
}

/// Traces of the detectors that train on the CPU alone.
fn of_others() -> Vec<PathBuf> {
    let golden = skip::shared().map(|shared| shared.join("golden"));
    let names = ["skip_rgb32", "skip_gray32", "vae32", "egbad28", "anogan28"];
    golden.iter().flat_map(|golden| names.map(|name| golden.join(name))).collect()
}

#[test]
fn every_trace_is_matched() {
    for trace in [traces(), of_others()].concat() {
        let parity = check_trace(&trace, DeviceName::Cpu).unwrap();
        assert!(parity.holds(), "{}", parity.table());
        if let Some((_, Guidance::Kinks(kinks))) = parity.free_run {
            assert!(kinks.moved * 100_000 < kinks.of, "{kinks:?}: too many sides were taken over");
        }
    }
}

#[test]
fn every_trace_is_matched_by_the_kernels_for_gpus() {
    for trace in traces() {
        match check_trace(&trace, DeviceName::Twin) {
            Err(e) if format!("{e:#}").contains("C compiler") => {
                return skip::missing("there is no C compiler");
            }
            parity => {
                let parity = parity.unwrap();
                assert!(parity.holds(), "{}", parity.table());
            }
        }
    }
}

/// A check that cannot fail is useless: each kind of damage to a trace must be found.
#[test]
fn a_changed_trace_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let stem = dir.path().join("t");
    let copy = |suffix: &str| {
        let with = |stem: &Path| PathBuf::from(format!("{}{suffix}", stem.display()));
        std::fs::copy(with(&tiny()), with(&stem)).unwrap();
        with(&stem)
    };
    for suffix in [".safetensors", ".netG.pth", ".netD.pth", ".pth.safetensors"] {
        copy(suffix);
    }
    let json = copy(".json");
    assert!(check_trace(&stem, DeviceName::Cpu).unwrap().holds());

    let text = std::fs::read_to_string(&json).unwrap();
    for (from, to) in [
        ("\"w_enc\": 1", "\"w_enc\": 1.01"),
        ("\"beta1\": 0.5", "\"beta1\": 0.501"),
        ("\"lr\": 0.0002", "\"lr\": 0.000201"),
        // The second step's discriminator loss, off by a relative 3e-4.
        ("0.7751677180875831", "0.7754"),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&json, text.replacen(from, to, 1)).unwrap();
        assert!(!check_trace(&stem, DeviceName::Cpu).unwrap().holds(), "{to} went unnoticed");
    }
    std::fs::write(&json, &text).unwrap();

    // One bit of one weight in the .pth file's twin.
    let twin = copy(".pth.safetensors");
    let mut bytes = std::fs::read(&twin).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&twin, &bytes).unwrap();
    assert!(!check_trace(&stem, DeviceName::Cpu).unwrap().holds(), "a flipped bit went unnoticed");
}
