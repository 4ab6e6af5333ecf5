//! What is answered where.

use crate::answer::Answer;
use crate::batches::{Batches, Wants};
use crate::body::{BUFFERED, File, Limits};
use crate::failure::Failure;
use crate::metrics::{self, Metrics};
use crate::models::{Model, Shelf};
use crate::options::Options;
use crate::{access, assets};
use anyhow::Result;
use axum::body::Body;
use axum::extract::{MatchedPath, Query, State, rejection::QueryRejection};
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use ganomaly_inference::images::Prepared;
use image::ImageReader;
use serde::Deserialize;
use serde_json::json;
use std::io::Cursor;
use std::net::IpAddr;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Everything that requests share.
pub struct App {
    pub options: Options,
    pub shelf: Shelf,
    /// Set when the service is asked to end: answers then close their connections.
    pub ending: AtomicBool,
    batches: Batches,
    clients: access::Clients,
    buffered: Semaphore,
    /// As many images are decoded at once as there are cores.
    decoders: Semaphore,
    metrics: Arc<Metrics>,
}

/// The address of the client.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub IpAddr);

impl App {
    pub fn new(options: Options, shelf: Shelf) -> Result<Self> {
        let metrics = Arc::new(Metrics::default());
        let Options { batch, batch_delay, queue, .. } = options;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            batches: Batches::start(batch, batch_delay, queue, metrics.clone())?,
            options,
            shelf,
            ending: AtomicBool::new(false),
            clients: access::Clients::default(),
            buffered: Semaphore::new(BUFFERED),
            decoders: Semaphore::new(cores),
            metrics,
        })
    }

    /// The whole interface.
    pub fn router(self: &Arc<Self>) -> Router {
        let guarded = Router::new()
            .route("/v1/score", post(score))
            .route("/v1/models", get(models))
            .route("/metrics", get(prometheus))
            .layer(from_fn_with_state(self.clone(), guard));
        Router::new()
            .merge(guarded)
            .route("/", get(assets::page))
            .route("/page.css", get(assets::style))
            .route("/page.js", get(assets::script))
            .route("/openapi.json", get(assets::openapi))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .fallback(|| async { Failure::new(StatusCode::NOT_FOUND, "there is nothing here") })
            .method_not_allowed_fallback(|| async {
                Failure::new(StatusCode::METHOD_NOT_ALLOWED, "not with this method")
            })
            .layer(from_fn_with_state(self.clone(), observe))
            .with_state(self.clone())
    }
}

/// Logs and counts each request.
async fn observe(
    State(app): State<Arc<App>>,
    Extension(Client(client)): Extension<Client>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let start = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_string());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_string());
    let mut response = next.run(request).await;
    let (took, status) = (start.elapsed(), response.status().as_u16());
    app.metrics.request(route.as_deref().unwrap_or("other"), status, took);
    let ms = took.as_secs_f64() * 1e3;
    tracing::info!(%client, %method, path, status, ms, "request");
    if app.ending.load(Ordering::Relaxed) {
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Lets those in who may ask.
async fn guard(
    State(app): State<Arc<App>>,
    Extension(Client(client)): Extension<Client>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let Options { token, listen, per_client, .. } = &app.options;
    let entered = access::check(token.as_ref(), listen.ip().is_loopback(), request.headers())
        .and_then(|()| app.clients.enter(client, *per_client));
    match entered {
        Ok(_underway) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

/// The query of a request for scores.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    model: Option<String>,
    #[serde(default)]
    heat_map: bool,
    #[serde(default)]
    reconstruction: bool,
}

async fn score(
    State(app): State<Arc<App>>,
    query: Result<Query<Asked>, QueryRejection>,
    request: Request<Body>,
) -> Result<Json<Answer>, Failure> {
    let Query(asked) = query.map_err(|e| Failure::new(StatusCode::BAD_REQUEST, e.body_text()))?;
    let model = app.shelf.find(asked.model.as_deref())?;
    let Options { request_bytes: bytes, patience, .. } = app.options;
    let limits = Limits { bytes, patience, buffered: &app.buffered };
    let (files, _buffered) = limits.files(request).await?;
    let places = app.batches.places(files.len())?;
    let (mut names, mut images) = (Vec::new(), Vec::new());
    for File { name, bytes } in files {
        let (reader, called) = (model.clone(), name.clone());
        let _turn = app.decoders.acquire().await;
        let decoded = spawn_blocking(move || decode(&reader, called.as_deref(), &bytes)).await;
        images.push(decoded.map_err(|e| Failure::internal(&e.into()))??);
        names.push(name);
    }
    let wants = Wants { heat_map: asked.heat_map, reconstruction: asked.reconstruction };
    let scored = app.batches.score(model.clone(), images, wants, places).await?;
    for image in &scored {
        app.metrics.image(&model.about.name, image.verdict.map(|(_, v)| v.anomalous));
    }
    if !wants.heat_map && !wants.reconstruction {
        let answer = Answer::new(&model, names, scored, false);
        return answer.map(Json).map_err(|e| Failure::internal(&e));
    }
    let _turn = app.decoders.acquire().await;
    let drawn = spawn_blocking(move || Answer::new(&model, names, scored, wants.heat_map)).await;
    drawn.map_err(Into::into).flatten().map(Json).map_err(|e| Failure::internal(&e))
}

fn decode(model: &Model, name: Option<&str>, bytes: &[u8]) -> Result<Prepared, Failure> {
    let name = name.unwrap_or("the image");
    // The header alone; what it does not tell, the decoder refuses.
    let size = catch_unwind(|| {
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?.into_dimensions().ok()
    });
    let most = model.images.limits.pixels;
    if let Ok(Some((w, h))) = size
        && u64::from(w) * u64::from(h) > most
    {
        let message = format!("{name}: it has {w}×{h} pixels, more than {most}");
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    let read = model.images.from_bytes(name, bytes);
    read.map_err(|e| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{e:#}")))
}

async fn models(State(app): State<Arc<App>>) -> Response {
    let models = app.shelf.all();
    let all: Vec<_> = models.iter().map(|model| &model.about).collect();
    Json(json!({ "models": all })).into_response()
}

async fn prometheus(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let waiting = app.options.queue - app.batches.free();
    let text = app.metrics.text(waiting).map_err(|e| Failure::internal(&e))?;
    Ok(([(header::CONTENT_TYPE, metrics::TYPE)], text).into_response())
}

/// Whether it takes requests: not while it ends, nor while no place is free.
async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, Failure> {
    if app.ending.load(Ordering::Relaxed) {
        return Err(Failure::busy("ending"));
    }
    if app.batches.free() == 0 {
        return Err(Failure::busy("too many images are waiting; try again soon"));
    }
    Ok("ready\n")
}
