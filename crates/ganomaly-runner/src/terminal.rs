//! Printing, in one way for the whole program. A closed terminal, a full disk or a pipe that nobody
//! reads ends the printing and nothing else.

use anyhow::{Context, Result};
use ganomaly_data::printable;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

static QUIET: AtomicBool = AtomicBool::new(false);

/// After this, [`note`] prints nothing.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether to print only errors.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Prints a line to standard error: an error, or something the user must know.
pub fn say(line: impl Display) {
    // In one piece, so that lines of several threads do not mix.
    let line = printable(&format!("{line}\n"));
    let _ = stderr().write_all(line.as_bytes());
}

/// Prints a line to standard error, unless the program is quiet.
pub fn note(line: impl Display) {
    if !is_quiet() {
        say(line);
    }
}

/// Prints text for people to standard output.
pub fn out(text: &str) -> Result<()> {
    write_out(printable(text).as_bytes())
}

/// Prints data for other programs to standard output: unchanged, except on a terminal.
pub fn data(text: &str) -> Result<()> {
    if stdout().is_terminal() { out(text) } else { write_out(text.as_bytes()) }
}

/// If nobody reads any more (`| head`), the text is dropped and the work continues.
fn write_out(bytes: &[u8]) -> Result<()> {
    let mut stdout = stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot print to standard output"),
    }
}

/// A word as a shell reads it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    match word.chars().all(plain) && !word.is_empty() {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}
