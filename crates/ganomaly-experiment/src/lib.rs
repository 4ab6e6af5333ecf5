//! What is asked for and what is left on disk: experiments from TOML files and their plans; the
//! records of finished runs.
//!
//! [`config::Experiment`] reads a file and expands its sweep. [`record::write`] stores a finished
//! run, and [`results::Results`] reads an experiment's runs back.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod config;
pub mod files;
pub mod host;
pub mod numerics;
pub mod plan;
pub mod protobuf;
pub mod record;
pub mod registry;
pub mod results;
pub mod run_data;
pub mod selection;
pub mod sha256;
