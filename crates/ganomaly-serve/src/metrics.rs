//! What Prometheus is told.

use anyhow::{Context, Result};
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    path: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Judged {
    model: String,
    verdict: &'static str,
}

/// The service's metrics.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Histogram,
    images: Family<Judged, Counter>,
    batch: Histogram,
    waiting: Gauge,
}

/// The type of the text, for the header.
pub const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("ganomaly");
        let seconds = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
        let sizes = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
        let (requests, images) = (Family::default(), Family::default());
        let (seconds, batch) = (Histogram::new(seconds), Histogram::new(sizes));
        let waiting = Gauge::default();
        registry.register("requests", "Answered requests", requests.clone());
        let help = "Time from a request's headers to its answer";
        registry.register_with_unit("request", help, Unit::Seconds, seconds.clone());
        registry.register("images", "Scored images", images.clone());
        registry.register("batch_images", "Images that were scored together", batch.clone());
        registry.register(
            "waiting_images",
            "Images that are being scored or wait",
            waiting.clone(),
        );
        Self { registry, requests, seconds, images, batch, waiting }
    }
}

impl Metrics {
    /// A request was answered; the path is that of a route, of which there are few.
    pub fn request(&self, path: &str, status: u16, took: Duration) {
        self.requests.get_or_create(&Answered { path: path.into(), status }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// An image was scored; none if the model is not calibrated.
    pub fn image(&self, model: &str, anomalous: Option<bool>) {
        let verdict = match anomalous {
            None => "none",
            Some(true) => "anomalous",
            Some(false) => "normal",
        };
        self.images.get_or_create(&Judged { model: model.into(), verdict }).inc();
    }

    /// Images were scored together.
    pub fn batch(&self, images: usize) {
        self.batch.observe(images as f64);
    }

    /// The text that Prometheus reads.
    pub fn text(&self, waiting: usize) -> Result<String> {
        self.waiting.set(waiting.try_into().unwrap_or(i64::MAX));
        let mut text = String::new();
        encode(&mut text, &self.registry).context("the metrics cannot be written")?;
        Ok(text)
    }
}
