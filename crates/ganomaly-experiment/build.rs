//! Tells the program which commit it is built from, where it is built in a checkout of its repository.

use std::path::Path;
use std::process::Command;

/// What the program is made of, from the repository's top folder.
const SOURCES: [&str; 4] = ["Cargo.toml", "Cargo.lock", "crates/*/Cargo.toml", "crates/*/src"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A copy of the sources inside another repository is not a checkout of this one.
    if git(&["rev-parse", "--show-prefix"]).as_deref() != Some("crates/ganomaly-experiment/") {
        return;
    }
    let Some(commit) = git(&["rev-parse", "HEAD"]) else { return };
    // The log of HEAD grows with every commit and every change of branch.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name]).unwrap_or_default();
        watch(Path::new(&path));
    }
    // Whatever changes in these makes cargo build this crate again anyway.
    for member in std::fs::read_dir("..").into_iter().flatten().flatten() {
        watch(&member.path().join("src"));
    }
    let specs = SOURCES
        .map(|path| format!(":(top,glob){path}{}", if path.ends_with("src") { "/**" } else { "" }));
    let mut status =
        vec!["--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--"];
    status.extend(specs.iter().map(String::as_str));
    let dirty = git(&status).is_none_or(|changes| !changes.is_empty());
    println!("cargo::rustc-env=GANOMALY_COMMIT={commit}{}", if dirty { "-dirty" } else { "" });
}

/// A path that is not there would make every build run this again.
fn watch(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// What git prints; none where there is no git, or no repository.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_string())
}
