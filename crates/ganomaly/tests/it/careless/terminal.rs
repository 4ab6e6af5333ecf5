//! Terminals that close, pipes that nobody reads, signals: what they end and what they do not.

use super::{Sandbox, code, signal, until};
use crate::common::{GANOMALY, TINY, runs, stderr, stdout};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A pipe without a reader.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A terminal `columns` wide: its own end and the program's.
fn terminal(columns: u16) -> (File, File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let own: OwnedFd =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&own).unwrap();
    unlockpt(&own).unwrap();
    let size = rustix::termios::Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&own, size).unwrap();
    let path = ptsname(&own, Vec::new()).unwrap().into_string().unwrap();
    (own.into(), File::options().read(true).write(true).open(path).unwrap())
}

/// Everything that the program writes to a terminal until it closes it.
fn read_terminal(mut own: File) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    // Linux returns an error once nobody holds the other end.
    while let Ok(n @ 1..) = own.read(&mut buffer) {
        all.extend(&buffer[..n]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn has_checkpoint(results: &Path) -> bool {
    let runs = fs::read_dir(results.join(".checkpoints")).into_iter().flatten();
    runs.flatten().any(|run| fs::read_dir(run.path()).unwrap().next().is_some())
}

fn has_claims(results: &Path) -> bool {
    fs::read_dir(results.join(".claims")).unwrap().next().is_some()
}

#[test]
fn a_run_continues_when_standard_error_cannot_be_written() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    for stderr in [full as fn() -> Stdio, closed] {
        let sandbox = Sandbox::new();
        let output = sandbox.command(&["sweep", "e.toml", "-v"]).stderr(stderr()).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("| average |"));
        assert_eq!(runs(&sandbox.results()).len(), 2);
    }
}

/// `sweep ... 2>&1 | tee log`: Ctrl-C ends tee first.
#[test]
fn ctrl_c_leaves_a_checkpoint_when_nobody_reads_any_more() {
    let sandbox = Sandbox::endless();
    let mut child = sandbox.command(&["sweep", "e.toml"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("epoch 2") {}
    drop(lines);
    signal("INT", &child);
    assert_eq!(code(&mut child), Some(130));
    assert!(has_checkpoint(&sandbox.results()) && !has_claims(&sandbox.results()));
}

#[test]
fn a_terminal_that_is_closed_ends_a_run_with_a_checkpoint() {
    let sandbox = Sandbox::endless();
    let (own, theirs) = terminal(80);
    // Whoever runs the tests may ignore it, as `nohup` does.
    let mut child = Command::new("env")
        .args(["--default-signal=HUP", GANOMALY, "sweep", "e.toml"])
        .current_dir(sandbox.0.path())
        .env("TERM", "xterm")
        .stderr(theirs.try_clone().unwrap())
        .stdout(theirs)
        .spawn()
        .unwrap();
    until("two epochs", || sandbox.log().contains("epoch 2"));
    drop(own);
    // Without a terminal it continues until it gets a signal, which the system sends at the same
    // moment.
    let before = sandbox.log().len();
    until("an epoch without a terminal", || sandbox.log().len() > before);
    signal("HUP", &child);
    assert_eq!(code(&mut child), Some(130));
    assert!(has_checkpoint(&sandbox.results()) && !has_claims(&sandbox.results()));
}

/// A reader that has stopped blocks whoever prints; a second signal still ends the process.
#[test]
fn a_second_signal_ends_a_process_that_cannot_print() {
    let sandbox = Sandbox::endless();
    let mut child = sandbox
        .command(&["sweep", "e.toml"])
        .env("GANOMALY_SAY_STEPS", "1")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let unread = child.stderr.take().unwrap();
    let grows = || {
        let before = sandbox.log().len();
        std::thread::sleep(Duration::from_millis(500));
        sandbox.log().len() > before
    };
    until("the first epoch", || sandbox.log().contains("epoch 1"));
    until("a full pipe", || !grows());
    signal("TERM", &child);
    std::thread::sleep(Duration::from_millis(300));
    signal("TERM", &child);
    assert_eq!(code(&mut child), Some(130));
    drop(unread);
}

#[test]
fn nohup_is_kept() {
    let sandbox = Sandbox::with(TINY, "[sweep]\nabnormal_class = [0, 1, 2]\nseed = [0, 1]");
    let mut child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$0\" sweep e.toml --jobs 1", GANOMALY])
        .current_dir(sandbox.0.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the first run", || sandbox.log().contains("training steps"));
    signal("HUP", &child);
    assert_eq!(code(&mut child), Some(0));
    assert_eq!(runs(&sandbox.results()).len(), 6);
}

#[test]
fn a_closed_standard_output_ends_the_output_alone() {
    let sandbox = Sandbox::new();
    let with_closed = |args: &[&str]| sandbox.command(args).stdout(closed()).output().unwrap();
    // A file in place of a run makes it fail.
    let name = sandbox.first_run();
    fs::create_dir_all(sandbox.results()).unwrap();
    fs::create_dir(sandbox.results().join(".checkpoints")).unwrap();
    fs::write(sandbox.results().join(".checkpoints").join(&name), "").unwrap();
    let output = with_closed(&["sweep", "e.toml"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("failed: {name}: ")), "{}", stderr(&output));
    fs::remove_file(sandbox.results().join(".checkpoints").join(&name)).unwrap();
    assert_eq!(with_closed(&["sweep", "e.toml"]).status.code(), Some(0));

    assert_eq!(with_closed(&["verify"]).status.code(), Some(0));
    fs::write(sandbox.results().join("table.md"), "another").unwrap();
    assert_eq!(with_closed(&["verify"]).status.code(), Some(1));

    let run = runs(&sandbox.results()).remove(0);
    let run = run.to_str().unwrap();
    image::GrayImage::new(16, 16).save(sandbox.0.path().join("a.png")).unwrap();
    assert_eq!(with_closed(&["score", run, "a.png", "a.png"]).status.code(), Some(0));
    let output = with_closed(&["score", run, "a.png", "none.png"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("none.png"));
    // A full disk is different.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = sandbox.command(&["status"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot print to standard output"), "{}", stderr(&output));
}

#[test]
fn measuring_the_number_of_jobs_can_be_interrupted() {
    let sandbox = Sandbox::new();
    let large = ["--set", "isize=64", "--set", "ngf=64", "--set", "batch_size=128"];
    let mut child = sandbox
        .command(&["sweep", "e.toml", "--threads", "2"])
        .args(large)
        .args(["--set", "train_limit=128", "--name", "e"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the plan", || sandbox.results().join("plan.toml").exists());
    std::thread::sleep(Duration::from_millis(300));
    signal("INT", &child);
    assert_eq!(code(&mut child), Some(130));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("0 of 2 runs are done and kept"), "{said}");
    assert!(!sandbox.log().contains("training steps"), "no run had begun: {}", sandbox.log());
}

#[test]
fn a_download_can_be_interrupted_and_leaves_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}", listener.local_addr().unwrap());
    let sandbox = Sandbox::new();
    for args in [&["sweep", "e.toml", "--set", "dataset=mnist"][..], &["data", "fetch", "mnist"]] {
        let child = sandbox
            .command(args)
            .args(["--data-dir", "data"])
            .env("GANOMALY_DATA_MIRROR", &mirror)
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.unwrap();
        // It has sent its request, and gets the beginning of an answer.
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc").unwrap();
        until("a partial file", || {
            fs::read_dir(sandbox.0.path().join("data/mnist")).is_ok_and(|mut d| d.next().is_some())
        });
        let started = Instant::now();
        signal("INT", &child);
        assert_eq!(code(&mut child), Some(130), "{args:?}");
        assert!(started.elapsed() < Duration::from_secs(5));
        assert_eq!(fs::read_dir(sandbox.0.path().join("data/mnist")).unwrap().count(), 0);
    }
}

#[test]
fn a_line_a_run_where_there_are_many_and_all_lines_in_the_log() {
    let sweep = |args: &[&str]| {
        let sandbox = Sandbox::new();
        let output = sandbox.command(&["sweep", "e.toml", "--jobs", "1"]).args(args).output();
        let output = output.unwrap();
        assert!(output.status.success());
        assert!(stdout(&output).contains("| average |"));
        let log = sandbox.log();
        assert_eq!(log.lines().filter(|l| l.contains(": epoch 1: AUROC ")).count(), 2, "{log}");
        assert_eq!(log.lines().filter(|l| l.contains(": done, AUROC ")).count(), 2, "{log}");
        assert!(log.lines().all(|l| l.starts_with("20") && l.contains('Z')), "{log}");
        stderr(&output)
    };
    let plain = sweep(&[]);
    let lines = plain.lines().filter(|l| !l.is_empty());
    // Without a GPU, one line says so.
    let (device, lines): (Vec<_>, Vec<_>) = lines.partition(|l| l.starts_with("device = "));
    assert!(lines.len() == 3 && device.len() <= 1, "{plain}");
    assert!(!plain.contains("epoch") && plain.contains(": done, AUROC "), "{plain}");
    let verbose = sweep(&["-v"]);
    assert!(verbose.contains(": epoch 1: AUROC ") && verbose.contains("training steps"));
    assert_eq!(sweep(&["-q"]), "");
    // A single run prints its epochs.
    assert!(sweep_one().contains(": epoch 1: AUROC "));
}

fn sweep_one() -> String {
    let sandbox = Sandbox::new();
    stderr(&sandbox.run(&["sweep", "e.toml", "--only", "abnormal_class=0"]))
}

#[test]
fn terminals_of_any_width_and_those_that_cannot_move_their_cursor() {
    for (columns, term, bars) in [
        (200, "xterm", true),
        (80, "xterm", true),
        (9, "xterm", true),
        (0, "xterm", true),
        (80, "dumb", false),
    ] {
        let sandbox = Sandbox::new();
        let (own, theirs) = terminal(columns);
        let shown = std::thread::spawn(move || read_terminal(own));
        let status = sandbox
            .command(&["sweep", "e.toml", "--jobs", "1", "--set", "train_limit=512", "--name", "e"])
            .env("TERM", term)
            .env("NO_COLOR", "1")
            .stderr(theirs)
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{columns} columns, {term}");
        let shown = shown.join().unwrap();
        assert!(!shown.contains("panicked"), "{shown}");
        assert_eq!(shown.contains('\x1b'), bars, "{columns} columns, {term}: {shown:?}");
        // Colours end in m; bars have none.
        let coloured = shown.split('\x1b').skip(1).any(|s| {
            s.trim_start_matches(['[', ';']).trim_start_matches(char::is_numeric).starts_with('m')
        });
        assert!(!coloured, "{shown:?}");
        assert!(shown.contains("done, AUROC") || columns < 20, "{shown:?}");
    }
}
