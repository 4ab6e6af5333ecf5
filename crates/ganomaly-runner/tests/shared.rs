//! Against the published implementation's traces and the real data, where `GANOMALY_SHARED` names their folder.

use ganomaly_runner::config::DeviceName;
use ganomaly_runner::parity::check_trace;
use std::path::PathBuf;

fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("GANOMALY_SHARED").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: GANOMALY_SHARED is not set");
    }
    folder
}

#[test]
fn every_trace_is_matched() {
    let Some(shared) = shared() else { return };
    for name in ["mnist32", "mnist32_warm", "rgb64_extra1"] {
        let parity = check_trace(&shared.join("golden").join(name), DeviceName::Cpu).unwrap();
        assert!(parity.holds(), "{}", parity.table());
        if let Some((_, kinks)) = parity.free_run {
            assert!(kinks.moved * 100_000 < kinks.of, "{kinks:?}: too many sides were taken over");
        }
    }
}

#[test]
fn every_trace_is_matched_by_the_kernels_for_cards() {
    let Some(shared) = shared() else { return };
    for name in ["mnist32", "mnist32_warm", "rgb64_extra1"] {
        let parity = check_trace(&shared.join("golden").join(name), DeviceName::Twin).unwrap();
        assert!(parity.holds(), "{}", parity.table());
    }
}

/// A check that cannot fail is none: each kind of damage to a trace must be found.
#[test]
fn a_changed_trace_is_refused() {
    let Some(shared) = shared() else { return };
    let golden = shared.join("golden");
    let dir = tempfile::tempdir().unwrap();
    let stem = dir.path().join("t");
    let copy = |suffix: &str| {
        let target = format!("{}{suffix}", stem.display());
        std::fs::write(
            &target,
            std::fs::read(golden.join(format!("mnist32_warm{suffix}"))).unwrap(),
        )
        .unwrap();
        PathBuf::from(target)
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
        // The second step's discriminator loss, off by 3e-4 of itself.
        ("0.031133218116771947", "0.03114255"),
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
