//! A two-run experiment made in code; its results go into the given folder.
//!
//!     cargo run --release -p ganomaly --example sweep -- FOLDER

use anyhow::{Context, Result};
use ganomaly::Registry;
use ganomaly_experiment::config::Experiment;
use ganomaly_experiment::plan::Plan;
use ganomaly_experiment::run_data::DataStore;
use ganomaly_report::tables::write_tables;
use ganomaly_runner::interrupt::Cancel;
use ganomaly_runner::progress::for_people;
use ganomaly_runner::sweep;
use ganomaly_runner::sweep::jobs::Jobs;
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
    let store = DataStore::new(Registry::builtin(), None);
    let experiment = Experiment::parse("two-glyphs", CONFIG, &[], store.registry())?;
    let (progress, cancel) = (for_people(true, experiment.runs.len()), Cancel::default());
    let results = Path::new(&folder);
    let summary = sweep::run(&experiment, results, &store, Jobs::Auto, &*progress, &cancel)?;
    println!("{}", write_tables(&Plan::new(&experiment)?, &summary.folder)?);
    Ok(())
}
