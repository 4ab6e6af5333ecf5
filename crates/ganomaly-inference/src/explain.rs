//! What a model is and what its verdicts promise, in words.

use crate::model_file::{Calibrated, ModelFile, Tested, TestedClass};
use anyhow::Result;
use ganomaly_data::printable;
use ganomaly_experiment::record::auroc::LEVEL;
use ganomaly_metrics::{Interval, recall_interval};
use std::fmt::Write;

impl ModelFile {
    /// The model in a few lines.
    pub fn explain(&self) -> Result<String> {
        let colours = if self.channels == 1 { "grey" } else { "colour" };
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} for {colours} images, resized to {}×{} ({}){}; {}",
            self.detector,
            self.isize,
            self.isize,
            self.resize.0,
            self.tile.map_or(String::new(), |tile| format!(", seen in tiles of {tile}×{tile}")),
            self.origin
        );
        if let Some(training) = &self.training {
            let commit = training.commit.as_deref().map(|c| format!(", commit {c}"));
            let _ = writeln!(
                text,
                "trained on {} images of {}\ndata SHA-256 {}; version {}{}, numerics {}",
                training.images,
                training.folder,
                training.data_sha256,
                training.version,
                commit.unwrap_or_default(),
                training.numerics
            );
        }
        match &self.calibration {
            Some(calibrated) => text += &calibrated.explain()?,
            None => text += "not calibrated: it gives scores, and no verdicts\n",
        }
        // Parts of it are from a file.
        Ok(printable(&text))
    }
}

impl Calibrated {
    /// The threshold, what it promises, and how it did.
    pub fn explain(&self) -> Result<String> {
        let t = self.threshold;
        let alarms = t.images - t.rank;
        let mut text = format!(
            "anomalous above {} of score {}: {alarms} of the {} held-out normal images are\n\
             at most {} of normal images are called anomalous, on average over such calibrations; \
             for this one the rate lies in {} (95 %)\n",
            t.value,
            self.score,
            t.images,
            percent(t.promised),
            range(t.band(LEVEL)?)
        );
        if let Some(tested) = &self.tested {
            text += &tested.explain()?;
        }
        Ok(text)
    }
}

impl Tested {
    fn explain(&self) -> Result<String> {
        let mut text = format!(
            "tested on {} normal and {} anomalous images that had no part in it\n  \
             false alarms: {}\n  best F1 over all thresholds, chosen with the answers in hand: {:.3}\n",
            self.normal,
            self.all.images,
            rate(self.false_alarms, self.normal)?,
            self.best_f1
        );
        let classes = self.classes.iter().filter(|_| self.classes.len() > 1);
        for class in std::iter::once(&self.all).chain(classes) {
            let TestedClass { class: name, images, detected, auroc, pixels, .. } = class;
            let [low, high] = class.auroc_interval;
            let found = rate(*detected, *images)?;
            let _ =
                writeln!(text, "  {name}: AUROC {auroc:.3} [{low:.3}, {high:.3}], found {found}");
            if let Some(pixels) = pixels {
                let _ = writeln!(
                    text,
                    "    heat maps against masks: pixel AUROC {:.3}, AUPRC {:.3}, AUPRO {:.3}",
                    pixels.auroc, pixels.auprc, pixels.aupro
                );
            }
        }
        Ok(text)
    }
}

fn rate(hits: usize, of: usize) -> Result<String> {
    let share = percent(hits as f64 / of as f64);
    Ok(format!("{hits} of {of} ({share}; {}, 95 %)", range(recall_interval(hits, of, LEVEL)?)))
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent > 0.0 && percent < 1.0 {
        format!("{percent:.2} %")
    } else {
        format!("{percent:.1} %")
    }
}

/// An interval of shares.
pub fn range(Interval { low, high }: Interval) -> String {
    format!("{} to {}", percent(low), percent(high))
}
