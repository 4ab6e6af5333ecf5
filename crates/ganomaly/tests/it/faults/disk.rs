//! A disk that fills up, at many different points.

use super::permissions::is_root;
use super::{Bench, SWEEP};
use crate::common::{GANOMALY, skip, slow};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Output};

/// In its own mount namespace, whose mounts vanish with it: the small disk, the sweep, more room,
/// the sweep again.
const SCRIPT: &str = r#"
mount -t tmpfs -o "size=$SIZE" none "$DISK" || exit 77
step() { "$@" > "$OUT/$name.out" 2> "$OUT/$name.err"; echo $? > "$OUT/$name.code"; }
name=first; step "$GANOMALY" "$@"
name=verified; step "$GANOMALY" verify "$DISK/s"
mount -o remount,size=64m "$DISK" || exit 77
name=second; step "$GANOMALY" "$@"
name=end; step "$GANOMALY" verify "$DISK/s"
cp -r "$DISK/s" "$OUT/s"
"#;

#[test]
fn a_disk_that_fills_up_is_survived() {
    let bench = Bench::new(SWEEP);
    let used: usize = bench.calm.values().map(|bytes| bytes.len().div_ceil(4096) * 4).sum();
    let step = if slow() { 4 } else { used / 8 };
    let (mut points, mut failed) = (0, 0);
    // More than the results alone need: folders, and files that the comparison leaves out.
    for size in (4..used + 100).step_by(step) {
        let (disk, out) = (bench.path("disk"), bench.path("out"));
        fs::create_dir_all(&disk).unwrap();
        fs::create_dir_all(&out).unwrap();
        let root = is_root();
        let user: &[&str] = if root { &[] } else { &["--map-root-user"] };
        let status = Command::new("unshare")
            .args(user)
            .args(["--mount", "sh", "-c", SCRIPT, "sh"])
            .args(bench.arguments(&disk))
            .env("SIZE", format!("{size}k"))
            .envs([("DISK", &disk), ("OUT", &out)])
            .env("GANOMALY", GANOMALY)
            .output();
        match status {
            Ok(done) if done.status.success() => {}
            // Not allowed here, or there is no such program.
            Ok(done) if points == 0 => {
                let why = crate::common::stderr(&done);
                return skip::allowed(&format!("no small disk can be mounted: {why}"));
            }
            Err(e) if points == 0 => {
                return skip::allowed(&format!("unshare: {e}"));
            }
            other => panic!("{other:?}"),
        }
        let what = format!("a disk of {size} KiB");
        let first = output(&out, "first");
        bench.judge_error(&what, &first, &disk);
        bench.judge_results(&what, &output(&out, "verified"));
        let second = output(&out, "second");
        assert!(
            second.status.success(),
            "{what}: the second sweep: {}",
            crate::common::stderr(&second)
        );
        bench.judge_end(&what, &output(&out, "end"), &out.join("s"));
        points += 1;
        failed += usize::from(!first.status.success());
        fs::remove_dir_all(&out).unwrap();
    }
    println!("full disk: {points} sizes tried, {failed} of them too small");
    assert!(failed > 1 && failed < points, "{failed} of {points}");
}

fn output(out: &Path, name: &str) -> Output {
    let read = |ending: &str| fs::read(out.join(format!("{name}.{ending}"))).unwrap();
    let code: i32 = String::from_utf8(read("code")).unwrap().trim().parse().unwrap();
    Output { status: ExitStatus::from_raw(code << 8), stdout: read("out"), stderr: read("err") }
}
