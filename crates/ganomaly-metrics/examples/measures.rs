//! Every metric for a small list of scores.

use ganomaly_metrics::{BootstrapOptions, bootstrap_auroc, evaluate};

fn main() -> ganomaly_metrics::Result<()> {
    let scores = [0.10, 0.40, 0.35, 0.80, 0.20, 0.70];
    let anomalous = [false, false, true, true, false, true];
    println!("{:#?}", evaluate(&scores, &anomalous)?);
    println!("{:#?}", bootstrap_auroc(&scores, &anomalous, BootstrapOptions::default())?);
    Ok(())
}
