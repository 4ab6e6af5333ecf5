//! The page and the description of the interface: files that are part of the program.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::IntoResponse;

/// The page loads nothing but its own files, and nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

pub async fn page() -> impl IntoResponse {
    let text = include_str!("page/index.html").replace("{version}", env!("CARGO_PKG_VERSION"));
    (with("text/html; charset=utf-8"), text)
}

pub async fn style() -> impl IntoResponse {
    (with("text/css; charset=utf-8"), include_str!("page/page.css"))
}

pub async fn script() -> impl IntoResponse {
    (with("text/javascript; charset=utf-8"), include_str!("page/page.js"))
}

pub async fn openapi() -> impl IntoResponse {
    let text = include_str!("openapi.json").replace("{version}", env!("CARGO_PKG_VERSION"));
    (with("application/json"), text)
}

fn with(kind: &'static str) -> HeaderMap {
    let headers: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    headers.map(|(name, value)| (name, HeaderValue::from_static(value))).into_iter().collect()
}
