//! What a service is started with.

use crate::access::Token;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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
