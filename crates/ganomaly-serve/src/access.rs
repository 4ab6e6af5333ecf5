//! Who may ask: those who know the token, and who are not asking too much already.

use crate::failure::Failure;
use anyhow::{Context, Result, ensure};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use ganomaly_data::shown;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What clients must know, kept as its digest: comparing digests tells nothing by the time that
/// it takes.
#[derive(Clone, Debug)]
pub struct Token([u8; 32]);

impl Token {
    /// A token of at least 16 characters that a header can hold.
    pub fn new(text: &str) -> Result<Self> {
        let text = text.trim();
        ensure!(
            text.len() >= 16 && text.bytes().all(|b| b.is_ascii_graphic()),
            "a token has at least 16 letters, digits or signs, and no spaces"
        );
        Ok(Self(Sha256::digest(text).into()))
    }

    /// The token in a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| shown(path))?;
        Self::new(&text).with_context(|| shown(path))
    }

    fn is_in(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let sent = sent.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        sent.is_some_and(|token| <[u8; 32]>::from(Sha256::digest(token)) == self.0)
    }
}

/// Refuses those without the token, and pages of other sites that a browser here has open. Without
/// a token only a loopback name reaches a service on loopback, so that no other name that leads to
/// it (DNS rebinding) does.
pub fn check(token: Option<&Token>, loopback: bool, headers: &HeaderMap) -> Result<(), Failure> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST);
    if let Some(origin) = text(header::ORIGIN) {
        let from = origin.parse::<Uri>().ok();
        let from = from.as_ref().and_then(|uri| uri.authority().map(|a| a.as_str()));
        if from.is_none() || from != host {
            return Err(Failure::new(
                StatusCode::FORBIDDEN,
                "a page of another site may not ask this service",
            ));
        }
    }
    if let Some(token) = token {
        return match token.is_in(headers) {
            true => Ok(()),
            false => Err(Failure::new(
                StatusCode::UNAUTHORIZED,
                "send the service's token: Authorization: Bearer TOKEN",
            )),
        };
    }
    if loopback && !host.is_some_and(is_loopback) {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "without a token this service is reached by localhost, 127.0.0.1 or [::1] alone",
        ));
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// How many requests each address has under way.
#[derive(Clone, Debug, Default)]
pub struct Clients(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A request under way; it counts until it is dropped.
pub struct Underway {
    clients: Clients,
    address: IpAddr,
}

impl Clients {
    pub fn enter(&self, address: IpAddr, most: usize) -> Result<Underway, Failure> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            let message = format!("{most} requests of this address are under way already");
            return Err(Failure::new(StatusCode::TOO_MANY_REQUESTS, message));
        }
        *count += 1;
        Ok(Underway { clients: self.clone(), address })
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut counts = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}
