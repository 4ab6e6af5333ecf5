//! `ganomaly serve`.

use crate::Program;
use crate::args::use_threads;
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use ganomaly_runner::terminal::is_quiet;
use ganomaly_serve::{Options, Token, serve};
use std::io::{IsTerminal, stderr};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Model files (`fit` or `import` makes one), runs' folders, or their weights.safetensors. Each
    /// is known by the name of its file or folder.
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Let only those in who send the token in this file; GANOMALY_TOKEN may hold it instead.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Let everyone in who can reach an address that is not loopback.
    #[arg(long)]
    no_token: bool,
    /// Maximum number of images that go through the network together.
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch: usize,
    /// How long the first image of a batch waits for others, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 2)]
    batch_delay: u64,
    /// Maximum number of images that wait; more are refused (503).
    #[arg(long, value_name = "N", default_value_t = 256)]
    queue: usize,
    /// Maximum number of requests of one address at a time; more are refused (429).
    #[arg(long, value_name = "N", default_value_t = 192)]
    per_client: usize,
    /// Maximum size of a request in MiB; larger ones are refused (413).
    #[arg(long, value_name = "MIB", default_value_t = 16)]
    max_request: usize,
    /// Maximum number of megapixels of an image; larger ones are refused (413).
    #[arg(long, value_name = "MP", default_value_t = 16)]
    max_pixels: u64,
    /// Seconds for a request's headers, and again for its body; slower ones are ended (408).
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
    /// Seconds for what is under way when the service is asked to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    grace: u64,
    /// How the log is written, to standard error.
    #[arg(long, value_enum, default_value_t = Log::Text)]
    log: Log,
    /// Number of threads for scoring; default: all cores.
    #[arg(long)]
    threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Log {
    /// One line per event, for people.
    Text,
    /// One JSON object per event.
    Json,
}

pub fn run(args: &ServeArgs, program: &Program) -> Result<ExitCode> {
    use_threads(args.threads)?;
    for (name, value) in [
        ("--batch", args.batch),
        ("--queue", args.queue),
        ("--per-client", args.per_client),
        ("--max-request", args.max_request),
    ] {
        ensure!((1..=1 << 20).contains(&value), "{name} {value}: use 1 to {}", 1 << 20);
    }
    ensure!(args.timeout > 0, "--timeout 0: use at least 1 second");
    let token = match (&args.token_file, std::env::var("GANOMALY_TOKEN")) {
        (Some(file), _) => Some(Token::read(file)?),
        (None, Ok(text)) if !text.is_empty() => Some(Token::new(&text).context("GANOMALY_TOKEN")?),
        _ => None,
    };
    ensure!(
        token.is_some() || args.no_token || args.listen.ip().is_loopback(),
        "--listen {}: others can reach this address. Give a --token-file, or --no-token to let everyone in",
        args.listen
    );
    let level = if is_quiet() { LevelFilter::WARN } else { LevelFilter::INFO };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    match args.log {
        Log::Text => log.init(),
        Log::Json => log.json().flatten_event(true).init(),
    }
    let options = Options {
        models: args.models.clone(),
        listen: args.listen,
        token,
        batch: args.batch,
        batch_delay: Duration::from_millis(args.batch_delay),
        queue: args.queue,
        per_client: args.per_client,
        request_bytes: args.max_request << 20,
        pixels: args.max_pixels.saturating_mul(1_000_000),
        patience: Duration::from_secs(args.timeout),
        grace: Duration::from_secs(args.grace),
    };
    serve(options, &program.registry)?;
    Ok(ExitCode::SUCCESS)
}
