//! How well a trained detector's heat maps find the defects of the test images.

use crate::interrupt::Cancel;
use anyhow::Result;
use ganomaly_experiment::config::RunConfig;
use ganomaly_experiment::record::PixelMetrics;
use ganomaly_experiment::run_data::RunData;
use ganomaly_inference::heat_map::{self, HeatMap, Masked, PixelError};
use ganomaly_metrics::Localisation;
use ganomaly_model::Detector;

/// Of all anomalous classes, then of each by itself if there are several, against all normal test
/// images; empty without masks.
pub(super) fn judge(
    detector: &dyn Detector,
    data: &RunData,
    config: &RunConfig,
    cancel: &Cancel,
) -> Result<Vec<PixelMetrics>> {
    let (images, split) = (&data.images, &data.split);
    if !images.have_masks() || split.test.is_empty() {
        return Ok(Vec::new());
    }
    let (mode, sees) = (data.transform.resize, config.network_input().side);
    let mut seen: Vec<(Option<u8>, Masked)> = Vec::new();
    let mut tested = split.test.iter().zip(&split.test_is_anomaly);
    for batch in data.batches(split.test.clone(), config.score_batch_size)? {
        cancel.check()?;
        for map in
            HeatMap::of(detector, &batch?.images, &data.transform, sees, PixelError::Absolute)?
        {
            let Some((&index, &anomalous)) = tested.next() else { break };
            let index = index as usize;
            let class = anomalous.then(|| images.labels()[index]);
            let masked = Masked::of(&map, images, index, anomalous, mode)?;
            seen.extend(masked.map(|masked| (class, masked)));
        }
    }
    let of_class = |only: Option<u8>| {
        let against = |class: &Option<u8>| class.is_none() || only.is_none() || *class == only;
        heat_map::judge(seen.iter().filter(|(class, _)| against(class)).map(|(_, masked)| masked))
    };
    let row = |class: &str, of: Option<Localisation>| {
        let class = class.to_string();
        of.map(|Localisation { auroc, auprc, aupro }| PixelMetrics { class, auroc, auprc, aupro })
    };
    let mut all: Vec<PixelMetrics> = row("all", of_class(None)?).into_iter().collect();
    let mut classes: Vec<u8> = seen.iter().filter_map(|(class, _)| *class).collect();
    classes.sort_unstable();
    classes.dedup();
    for class in classes.iter().filter(|_| classes.len() > 1) {
        all.extend(row(&images.class_names()[usize::from(*class)], of_class(Some(*class))?));
    }
    Ok(all)
}
