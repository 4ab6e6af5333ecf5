//! A request's body: the files in it, within the limits.

use crate::failure::Failure;
use axum::body::HttpBody;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Multipart};
use axum::http::{HeaderMap, Request, StatusCode, header};
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A file that was sent.
pub struct File {
    /// Its name, if it was given one.
    pub name: Option<String>,
    pub bytes: Bytes,
}

/// Maximum number of images in a request.
const IMAGES: usize = 64;

/// How much of all requests' bodies is in memory at once, in bytes.
pub const BUFFERED: usize = 1 << 28;

/// Limits on a body.
pub struct Limits<'a> {
    pub bytes: usize,
    pub patience: Duration,
    /// One permit for each byte of all bodies.
    pub buffered: &'a Semaphore,
}

impl Limits<'_> {
    /// The files of a request: its body, or the parts of a multipart form that are files. The
    /// permits stand for the bytes that they take.
    pub async fn files(
        &self,
        request: Request<Body>,
    ) -> Result<(Vec<File>, Vec<SemaphorePermit<'_>>), Failure> {
        let (parts, body) = request.into_parts();
        let kind = Kind::of(&parts.headers)?;
        let read = tokio::time::timeout(self.patience, self.read(body, &parts.headers));
        let (bytes, permits) = read.await.map_err(|_| {
            let message = format!("the body did not arrive within {:?}", self.patience);
            Failure::new(StatusCode::REQUEST_TIMEOUT, message)
        })??;
        if bytes.is_empty() {
            return Err(Failure::new(StatusCode::BAD_REQUEST, "the body is empty; send an image"));
        }
        if kind == Kind::Image {
            return Ok((vec![File { name: None, bytes }], permits));
        }
        let malformed = |e: &dyn std::fmt::Display| {
            Failure::new(StatusCode::BAD_REQUEST, format!("the form is malformed: {e}"))
        };
        let request = Request::from_parts(parts, Body::from(bytes));
        let mut form = Multipart::from_request(request, &()).await.map_err(|e| malformed(&e))?;
        let mut files = Vec::new();
        while let Some(part) = form.next_field().await.map_err(|e| malformed(&e.body_text()))? {
            if part.file_name().is_none() && part.content_type().is_none() {
                return Err(Failure::new(
                    StatusCode::BAD_REQUEST,
                    "a part of the form is not a file; options go into the query, as in ?heat_map=true",
                ));
            }
            let name = part.file_name().map(str::to_string);
            let bytes = part.bytes().await.map_err(|e| malformed(&e.body_text()))?;
            files.push(File { name, bytes });
            if files.len() > IMAGES {
                let message = format!("more than {IMAGES} images in one request");
                return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message));
            }
        }
        if files.is_empty() {
            return Err(Failure::new(StatusCode::BAD_REQUEST, "the form holds no file"));
        }
        Ok((files, permits))
    }

    async fn read(
        &self,
        body: Body,
        headers: &HeaderMap,
    ) -> Result<(Bytes, Vec<SemaphorePermit<'_>>), Failure> {
        let too_large = || {
            let message = format!("the body has more than {} bytes", self.bytes);
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message)
        };
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: usize| length > self.bytes) {
            return Err(too_large());
        }
        let mut body = pin!(body);
        let (mut all, mut permits) = (Vec::new(), Vec::new());
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let frame = frame.map_err(|e| {
                Failure::new(StatusCode::BAD_REQUEST, format!("the body ended early: {e}"))
            })?;
            // What comes behind a body is passed over.
            let Ok(data) = frame.into_data() else { continue };
            if all.len() + data.len() > self.bytes {
                return Err(too_large());
            }
            let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let permit = self.buffered.try_acquire_many(size);
            permits
                .push(permit.map_err(|_| Failure::busy("too much is being sent; try again soon"))?);
            all.extend_from_slice(&data);
        }
        Ok((all.into(), permits))
    }
}

/// What a body holds.
#[derive(PartialEq)]
enum Kind {
    Image,
    Form,
}

impl Kind {
    /// By its type; without one it is an image, whose format its bytes tell.
    fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Self::Image) };
        let name = value.to_str().unwrap_or_default().to_ascii_lowercase();
        let name = name.split(';').next().unwrap_or_default().trim();
        match name {
            "multipart/form-data" => Ok(Self::Form),
            "application/octet-stream" => Ok(Self::Image),
            name if name.starts_with("image/") => Ok(Self::Image),
            _ => Err(Failure::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send an image as image/* or application/octet-stream, or several as multipart/form-data",
            )),
        }
    }
}
