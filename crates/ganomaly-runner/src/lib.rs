//! Experiments from TOML files: training, scoring, sweeps, records, tables and plots.
//!
//! [`config::Experiment`] reads a file and expands its sweep; [`sweep::run`] does every missing run
//! ([`train::train`], [`record::write`]) and writes the tables. The binary `ganomaly` is glue over
//! this library.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod audit;
mod aurocs;
mod cards;
pub mod chaos;
pub mod checkpoint;
mod checksums;
pub mod claim;
pub mod collect;
pub mod compare;
pub mod config;
pub mod data;
pub mod device;
pub mod epoch_scores;
pub mod evaluate;
pub mod failure;
mod files;
mod further;
mod host;
pub mod interrupt;
pub mod jobs;
pub mod lockstep;
mod measures;
pub mod numerics;
pub mod parity;
pub mod plan;
pub mod progress;
pub mod protocols;
pub mod provenance;
pub mod record;
pub mod registry;
pub mod report;
pub mod score;
pub mod selection;
#[cfg(test)]
#[path = "../../../tests/skip.rs"]
mod skip;
pub mod status;
pub mod sweep;
mod sweep_log;
pub mod tensorboard;
pub mod terminal;
pub mod train;
pub mod verify;
pub mod weightings;
