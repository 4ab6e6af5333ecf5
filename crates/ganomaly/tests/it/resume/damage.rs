//! Checkpoints that are damaged, or of something else.

use super::*;

/// Two checkpoints of a run, the newest last.
fn two(bench: &Bench, config: &RunConfig) -> [PathBuf; 2] {
    interrupted(bench.train(config, every(3), &Interrupter::after(7)));
    let folder = bench.folder(config);
    let all = ["epoch2-step2.safetensors", "epoch2-step3.safetensors"].map(|n| folder.join(n));
    assert_eq!(names(&folder).len(), 2);
    assert!(all.iter().all(|path| path.exists()));
    all
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let config = config(&[]);
    let whole = Bench::new().whole(&config);
    let other = self::config(&["lr=1e-3"]);
    let flipped = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        let at = at.min(bytes.len() - 1);
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    type Damage<'a> = Box<dyn Fn(&Path) + 'a>;
    let damages: Vec<(Damage<'_>, &str)> = vec![
        (Box::new(|p| fs::write(p, b"").unwrap()), "no checksum"),
        (
            Box::new(|p| fs::write(p, fs::read(p).unwrap().split_last().unwrap().1).unwrap()),
            "damaged",
        ),
        (Box::new(|p| fs::write(p, &fs::read(p).unwrap()[..700]).unwrap()), "damaged"),
        (Box::new(|p| flipped(p, usize::MAX)), "damaged: its checksum does not hold"),
        (Box::new(|p| flipped(p, 0)), "damaged"),
        (Box::new(|p| flipped(p, 5000)), "damaged: its checksum does not hold"),
        (
            Box::new(|p| {
                let bench = Bench::new();
                fs::copy(&two(&bench, &other)[1], p).unwrap();
            }),
            "it is of the run",
        ),
        (
            Box::new(|p| {
                fs::copy(p.with_file_name("epoch2-step2.safetensors"), p).unwrap();
            }),
            "another step than its name says",
        ),
    ];
    for (damage, words) in &damages {
        let bench = Bench::new();
        let [_, newest] = two(&bench, &config);
        damage(&newest);
        let by = Interrupter::default();
        let outcome = bench.train(&config, every(100), &by).unwrap();
        let said = by.said();
        assert!(said.contains("checkpoint refused") && said.contains(words), "{words}: {said}");
        assert!(said.contains("resumed at epoch 2, step 2"), "{said}");
        same(&outcome, &whole, words);
    }
    // Both.
    let bench = Bench::new();
    for path in two(&bench, &config) {
        flipped(&path, 4321);
    }
    let by = Interrupter::default();
    let outcome = bench.train(&config, every(100), &by).unwrap();
    assert!(by.said().contains("no checkpoint can be used: it starts again"), "{}", by.said());
    assert_eq!(by.taken.load(Ordering::SeqCst), STEPS);
    same(&outcome, &whole, "both damaged");
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let bench = Bench::new();
    let config = config(&["ngf=2", "nz=2"]);
    let [_, newest] = two(&bench, &config);
    let bytes = fs::read(&newest).unwrap();
    let checkpoint = Checkpoint::from_bytes(&bytes, None).unwrap();
    assert_eq!((checkpoint.state.epoch, checkpoint.state.step), (2, 3));
    let stride = (bytes.len() / 400).max(1);
    for at in (0..bytes.len()).step_by(stride).chain(0..16) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(Checkpoint::from_bytes(&bytes, None).is_err(), "byte {at}");
    }
    for len in (0..bytes.len()).step_by(10 * stride) {
        assert!(Checkpoint::from_bytes(&bytes[..len], None).is_err(), "{len} bytes");
    }
}

#[test]
fn other_versions_data_and_configs_are_refused_by_name() {
    let of = Identity { run: "r".into(), config: "c".into(), data: "d".into(), numerics: 2 };
    let state = ganomaly_runner::checkpoint::RunState::new();
    let checkpoint = Checkpoint { state, ..Checkpoint::default() };
    let bytes = checkpoint.to_bytes(&of).unwrap();
    Checkpoint::from_bytes(&bytes, Some(&of)).unwrap();
    for (other, words) in [
        (Identity { run: "s".into(), ..of.clone() }, "it is of the run r"),
        (Identity { config: "x".into(), ..of.clone() }, "another config"),
        (Identity { data: "x".into(), ..of.clone() }, "other data"),
        (Identity { numerics: 3, ..of.clone() }, "generation 2 of the numerics, this program of 3"),
    ] {
        let error = Checkpoint::from_bytes(&bytes, Some(&other)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    // Another version, with a checksum that holds.
    let after =
        |what: &[u8]| bytes.windows(what.len()).position(|w| w == what).unwrap() + what.len();
    let at = after(b"sha256\\\":\\\"");
    let version = after(b"\\\"version\\\":2,") - 2;
    let mut other = bytes.clone();
    other[version] = b'7';
    other[at..at + 64].fill(b'0');
    use sha2::Digest;
    let digest = sha2::Sha256::digest(&other);
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    other[at..at + 64].copy_from_slice(hex.as_bytes());
    let error = Checkpoint::from_bytes(&other, None).unwrap_err().to_string();
    assert_eq!(error, "its format is version 7; this program reads version 2");
}
