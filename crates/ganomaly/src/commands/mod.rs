//! The commands: each turns its arguments into calls of the libraries.

mod audit;
mod chaos;
mod collect;
mod compare;
mod data;
mod explain;
mod export;
mod fit;
mod gpus;
mod import;
mod metrics;
mod page;
mod parity;
mod report;
mod score;
mod serve;
mod slurm;
mod status;
mod sweep;
mod train;
mod verify;
mod weights;

use crate::Program;
use crate::dev::bench;
use anyhow::Result;
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Do every run of an experiment and write its tables and plots.
    Sweep(sweep::SweepArgs),
    /// Show what is done, running, failed and missing in experiments, and the time left.
    Status(status::StatusArgs),
    /// Rebuild an experiment's tables and plots from its results alone.
    Collect(collect::CollectArgs),
    /// Recompute results from stored data, check every checksum, and report mismatches.
    Verify(verify::VerifyArgs),
    /// Do one run of an experiment; with a [sweep], select it with --only.
    Train(train::TrainArgs),
    /// Train and calibrate a detector on a folder of images; writes a model file.
    Fit(fit::FitArgs),
    /// Say what a model is: its data, its threshold, what that promises, how it did.
    Explain {
        /// A model file, or a run's weights.safetensors.
        model: PathBuf,
    },
    /// Score images with a trained model, one row per image, with a verdict if it is calibrated.
    Score(score::ScoreArgs),
    /// Serve models over HTTP: images in, scores, verdicts and heat maps out, and a page to try
    /// them.
    Serve(serve::ServeArgs),
    /// Write a model as ONNX, for other programs: images in, scores and verdicts out.
    Export(export::ExportArgs),
    /// Make a model file, for `score`, of weights that the published code of GANomaly or
    /// Skip-GANomaly saved. Nothing in them is executed.
    Import(import::ImportArgs),
    /// Compute every metric of a list of scores; prints JSON.
    Metrics {
        /// A CSV file with columns score and label (1 or 0), or a JSON file with a list `cases` of
        /// {name, scores, labels}.
        file: PathBuf,
    },
    /// Evaluate an experiment's weights under every protocol: statistics and order, epoch, score.
    Audit(audit::AuditArgs),
    /// Compare weightings of the three losses in a design.
    Weights(weights::WeightsArgs),
    /// Compare two configurations, paired by class and seed: two results folders, or a folder and
    /// two settings.
    Compare(compare::CompareArgs),
    /// Compare this implementation with traces of the published one.
    Parity(parity::ParityArgs),
    /// Write each experiment's report as one self-contained page, or compare two.
    Report(report::ReportArgs),
    /// Time a training step and scoring; prints JSON.
    Bench(bench::BenchArgs),
    /// Kill sweeps of an experiment at random moments, and check that they result in the same
    /// bytes.
    Chaos(chaos::ChaosArgs),
    /// Show the available GPUs, and what is missing to train on them.
    #[command(alias = "cards")]
    Gpus,
    /// Fetch or check data sets.
    Data(data::DataArgs),
}

impl Command {
    /// Runs it. The exit code is 1 if the command itself worked but a check failed.
    pub fn run(&self, program: &Program) -> Result<ExitCode> {
        match self {
            Self::Sweep(args) => sweep::run(args, program),
            Self::Status(args) => status::run(args, program),
            Self::Collect(args) => collect::run(args, program),
            Self::Verify(args) => verify::run(args, program),
            Self::Parity(args) => parity::run(args),
            Self::Report(args) => report::run(args, program),
            Self::Train(args) => train::run(args, program),
            Self::Fit(args) => fit::run(args, program),
            Self::Explain { model } => explain::run(model, program),
            Self::Score(args) => score::run(args, program),
            Self::Serve(args) => serve::run(args, program),
            Self::Export(args) => export::run(args, program),
            Self::Import(args) => import::run(args),
            Self::Metrics { file } => metrics::print(file),
            Self::Audit(args) => audit::run(args, program),
            Self::Weights(args) => weights::run(args, program),
            Self::Compare(args) => compare::run(args, program),
            Self::Bench(args) => bench::run(args),
            Self::Chaos(args) => chaos::run(args, program),
            Self::Gpus => gpus::run(),
            Self::Data(args) => data::run(args, program),
        }
    }
}
