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
mod options;
mod routes;

pub use access::Token;
pub use options::Options;

use anyhow::{Context, Result};
use ganomaly_experiment::registry::Registry;
use models::Shelf;
use routes::App;
use std::sync::Arc;
use tokio::net::TcpListener;

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
