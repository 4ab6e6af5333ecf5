//! `ganomaly parity`.

use crate::args::code;
use crate::dev::parity;
use anyhow::Result;
use clap::Args;
use ganomaly_experiment::config::DeviceName;
use ganomaly_runner::terminal::out;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct ParityArgs {
    /// Each trace's path without its extension.
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// Device to compute on: cpu, cuda:0, ... or twin (the GPU kernels on the CPU).
    #[arg(long, default_value_t = DeviceName::Cpu)]
    device: DeviceName,
}

pub fn run(args: &ParityArgs) -> Result<ExitCode> {
    let mut holds = true;
    for trace in &args.traces {
        let parity = parity::check_trace(trace, args.device)?;
        out(&format!("{}\n", parity.table()))?;
        holds &= parity.holds();
    }
    out(if holds {
        "every deviation is within its limit\n"
    } else {
        "NOT EQUAL to the published code\n"
    })?;
    Ok(code(holds))
}
