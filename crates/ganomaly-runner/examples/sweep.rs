//! A two-run experiment made in code; its results go into the given folder.
//!
//!     cargo run --release -p ganomaly-runner --example sweep -- FOLDER

use anyhow::{Context, Result};
use ganomaly_runner::config::Experiment;
use ganomaly_runner::data::DataStore;
use ganomaly_runner::interrupt::Cancel;
use ganomaly_runner::jobs::Jobs;
use ganomaly_runner::progress::for_people;
use ganomaly_runner::sweep;
use std::path::Path;

const CONFIG: &str = r#"
dataset = "synthetic"
isize = 16
nz = 20
ngf = 8
epochs = 2
seed = 0

[sweep]
abnormal_class = ["cross", "arrow"]
"#;

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).context("usage: sweep FOLDER")?;
    let experiment = Experiment::parse("two-glyphs", CONFIG, &[])?;
    let store = DataStore::new(None);
    let (progress, cancel) = (for_people(true, experiment.runs.len()), Cancel::default());
    let summary =
        sweep::run(&experiment, Path::new(&folder), &store, Jobs::Auto, &*progress, &cancel)?;
    println!("{}", summary.table);
    Ok(())
}
