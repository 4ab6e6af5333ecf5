//! Reads finished runs: tables, plots, pages, audits, comparisons, verification. Everything is a
//! function of an experiment's folder, so it can be made again anywhere.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod audit;
pub mod auroc_table;
mod beside;
pub mod compare;
pub mod html;
pub mod plot;
pub mod published;
pub mod tables;
pub mod tensorboard;
pub mod text;
pub mod verify;
pub mod weightings;
