//! Trained detectors behind HTTP: images in, scores, verdicts and heat maps out, and a page to try
//! them. The program's command `serve`; docs/service.md has the interface.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod access;
mod answer;
mod assets;
mod batches;
mod body;
mod failure;
mod listener;
mod metrics;
mod models;
mod routes;

pub use access::Token;

use anyhow::{Context, Result};
use ganomaly_experiment::registry::Registry;
use models::Shelf;
use routes::App;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// What is served, to whom, and within which limits.
#[derive(Clone, Debug)]
pub struct Options {
    /// Model files, runs' folders, or their weights.
    pub models: Vec<PathBuf>,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What clients must know; none lets everyone in.
    pub token: Option<Token>,
    /// Maximum number of images that go through the network together.
    pub batch: usize,
    /// How long the first image of a batch waits for others.
    pub batch_delay: Duration,
    /// Maximum number of images that wait for the network; more are refused with 503.
    pub queue: usize,
    /// Maximum number of requests of one address at a time; more are refused with 429.
    pub per_client: usize,
    /// Maximum size of a request in bytes; larger ones are refused with 413.
    pub request_bytes: usize,
    /// Maximum number of pixels of an image; larger ones are refused with 413.
    pub pixels: u64,
    /// Time for a request's headers, and again for its body; slower ones are refused with 408.
    pub patience: Duration,
    /// Time for what is under way when the service is asked to end.
    pub grace: Duration,
}

/// Serves until SIGTERM or Ctrl-C, then finishes what is under way. SIGHUP reads the models again.
/// Events go to the `tracing` subscriber.
pub fn serve(options: Options, registry: &Registry) -> Result<()> {
    let shelf = Shelf::fill(options.models.clone(), registry, options.pixels)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the threads of the service cannot be started")?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        let address = listener.local_addr().context("the address cannot be read")?;
        let app = Arc::new(App::new(options, shelf)?);
        tracing::info!(address = format!("http://{address}"), "listening");
        listener::run(listener, app).await
    })
}
