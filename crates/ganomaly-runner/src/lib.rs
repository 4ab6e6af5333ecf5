//! Experiments from TOML files: training, scoring, sweeps, records, tables and plots.
pub mod parity;
