//! Connections, from the first to the last: accepts them, ends slow ones, and lets those under way
//! finish when the service is asked to end.

use crate::routes::{App, Client};
use anyhow::{Context, Result};
use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// Maximum number of connections; others wait to be accepted.
const CONNECTIONS: usize = 4096;
/// Maximum size of a request's headers, in bytes.
const HEADERS: usize = 1 << 14;
/// After the wish to end, how long clients with open connections may still ask: each answer tells
/// them to close, so that none is cut off in the middle of asking.
const LAST_CALL: Duration = Duration::from_millis(500);
/// After an error of the system, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until the process is asked to end, and what is under way to its end.
pub async fn run(listener: TcpListener, app: Arc<App>) -> Result<()> {
    let mut signals = Signals::new()?;
    let connections = Connections {
        router: app.router(),
        places: Arc::new(Semaphore::new(CONNECTIONS)),
        graceful: GracefulShutdown::new(),
        patience: app.options.patience,
    };
    loop {
        tokio::select! {
            accepted = connections.accept(&listener) => connections.begin(accepted).await,
            wish = signals.next() => match wish {
                Wish::Reload => reload(&app).await,
                Wish::End => break,
            },
        }
    }
    app.ending.store(true, Ordering::Relaxed);
    tracing::info!("ending: what is under way is finished");
    let last_call = async {
        loop {
            connections.begin(connections.accept(&listener).await).await;
        }
    };
    let _ = timeout(LAST_CALL, last_call).await;
    drop(listener);
    tokio::select! {
        () = connections.graceful.shutdown() => tracing::info!("ended"),
        () = sleep(app.options.grace) => tracing::warn!("ended before every answer was sent"),
        _ = signals.next() => tracing::warn!("ended at once, as it was asked to again"),
    }
    Ok(())
}

struct Connections {
    router: axum::Router,
    places: Arc<Semaphore>,
    graceful: GracefulShutdown,
    patience: Duration,
}

/// A connection and its place among all.
type Accepted = std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)>;

impl Connections {
    /// The next connection, once there is a place for it.
    async fn accept(&self, listener: &TcpListener) -> Accepted {
        let place = self.places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
        let (stream, address) = listener.accept().await?;
        Ok((stream, address, place))
    }

    async fn begin(&self, accepted: Accepted) {
        let (stream, address, place) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                tracing::warn!(error = %e, "a connection could not be accepted");
                return sleep(PAUSE).await;
            }
        };
        // Answers are small: they are sent at once.
        let _ = stream.set_nodelay(true);
        let router = self.router.clone().layer(Extension(Client(address.ip())));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience)
            .max_buf_size(HEADERS)
            // A client may have nothing more to say, and still want its answer.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        let connection = self.graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!(client = %address.ip(), error = %e, "a connection ended early");
            }
            drop(place);
        });
    }
}

async fn reload(app: &Arc<App>) {
    let again = app.clone();
    match tokio::task::spawn_blocking(move || again.shelf.refill()).await {
        Ok(Ok(())) => tracing::info!("the models were read again"),
        Ok(Err(e)) => {
            tracing::error!(
                error = format!("{e:#}"),
                "the models could not be read again: they stay"
            );
        }
        Err(e) => tracing::error!(error = %e, "the models could not be read again: they stay"),
    }
}

/// What the process is asked for.
enum Wish {
    End,
    #[cfg_attr(not(unix), expect(dead_code, reason = "there is no such signal"))]
    Reload,
}

/// How it is asked.
struct Signals {
    #[cfg(unix)]
    each: [tokio::signal::unix::Signal; 3],
}

impl Signals {
    #[cfg(unix)]
    fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let caught = |kind| signal(kind).context("signals cannot be caught");
        let [end, interrupt, reload] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(caught);
        Ok(Self { each: [end?, interrupt?, reload?] })
    }

    #[cfg(unix)]
    async fn next(&mut self) -> Wish {
        let [end, interrupt, reload] = &mut self.each;
        tokio::select! {
            _ = end.recv() => Wish::End,
            _ = interrupt.recv() => Wish::End,
            _ = reload.recv() => Wish::Reload,
        }
    }

    #[cfg(not(unix))]
    fn new() -> Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> Wish {
        let _ = tokio::signal::ctrl_c().await;
        Wish::End
    }
}
