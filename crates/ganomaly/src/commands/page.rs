//! The page of a model file and the images that it scored.

use anyhow::{Context, Result};
use ganomaly_data::shown;
use ganomaly_experiment::files::write_whole;
use ganomaly_experiment::record::auroc::LEVEL;
use ganomaly_inference::explain::{percent, range};
use ganomaly_inference::heat_map::PixelError;
use ganomaly_inference::model_file::Calibrated;
use ganomaly_inference::scorer::{Scorer, Verdict};
use ganomaly_report::html::folder::{FolderPage, Gallery, Kind, Shot};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, RgbImage};
use std::path::{Path, PathBuf};

/// Images in a gallery.
const EACH: usize = 12;
/// The longer side of an image on the page.
const LARGEST: u32 = 256;
const QUALITY: u8 = 88;

/// An image that was scored.
pub struct Seen {
    pub path: PathBuf,
    /// Its class, if that is known.
    pub class: String,
    pub kind: Kind,
    pub score: f64,
    pub verdict: Verdict,
}

/// Writes the page of these images; fails if the model is not calibrated.
pub fn write(page: &Path, title: &str, scorer: &Scorer, seen: &[Seen]) -> Result<()> {
    let model = scorer.model();
    let calibrated = model.calibration.as_ref().context(
        "this model is not calibrated, so that there is no threshold to show; `ganomaly fit` makes one that is",
    )?;
    let of = |kind: Kind| -> Vec<f64> {
        seen.iter().filter(|s| s.kind == kind).map(|s| s.score).collect()
    };
    let held_out = ("held-out normal images", Kind::Normal, calibrated.normal_scores.clone());
    let mut scores = vec![held_out];
    for (name, kind) in [
        ("normal test images", Kind::Normal),
        ("anomalous test images", Kind::Anomalous),
        ("images scored", Kind::Unknown),
    ] {
        scores.push((name, kind, of(kind)));
    }
    // Two areas of one colour cannot be told apart; the calibration is shown where nothing else is.
    if !scores[1].2.is_empty() {
        scores.remove(0);
    }
    scores.retain(|(.., scores)| !scores.is_empty());
    let page_of = FolderPage {
        title: title.into(),
        facts: facts(calibrated, seen)?,
        about: model.explain()?,
        score: calibrated.score.clone(),
        threshold: scorer.threshold().unwrap_or(calibrated.threshold.value),
        scores: scores.into_iter().map(|(name, kind, s)| (name.to_string(), kind, s)).collect(),
        galleries: galleries(scorer, seen)?,
    };
    write_whole(page, page_of.build()?)
}

fn facts(calibrated: &Calibrated, seen: &[Seen]) -> Result<Vec<(String, String)>> {
    let (threshold, tested) = (calibrated.threshold, &calibrated.tested);
    let called = seen.iter().filter(|s| s.verdict.anomalous).count();
    let mut facts = vec![
        ("images".to_string(), seen.len().to_string()),
        ("called anomalous".to_string(), called.to_string()),
        ("false alarms promised, at most".to_string(), percent(threshold.promised)),
        ("their rate, 95 %".to_string(), range(threshold.band(LEVEL)?)),
    ];
    if let Some(tested) = tested {
        let found = format!("{} of {}", tested.all.detected, tested.all.images);
        facts.push(("found in its test".into(), found));
        facts.push(("AUROC in its test".into(), format!("{:.3}", tested.all.auroc)));
    }
    Ok(facts)
}

fn galleries(scorer: &Scorer, seen: &[Seen]) -> Result<Vec<Gallery>> {
    let mut falling: Vec<&Seen> = seen.iter().collect();
    falling.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.path.cmp(&b.path)));
    let mistaken = |kind: Kind| {
        let wrong =
            move |s: &&&Seen| s.kind == kind && s.verdict.anomalous == (kind == Kind::Normal);
        falling.iter().filter(wrong).copied()
    };
    let mut galleries = Vec::new();
    for (title, note, chosen) in [
        (
            "Most anomalous",
            "The highest scores, each image beside its heat map. Full colour is twice the highest \
             error in the held-out normal images.",
            falling.iter().copied().take(EACH).collect::<Vec<_>>(),
        ),
        (
            "Normal, yet called anomalous",
            "False alarms, the highest score first. Is any of them anomalous after all?",
            mistaken(Kind::Normal).take(EACH).collect(),
        ),
        (
            "Anomalous, yet called normal",
            "Missed, the lowest score first.",
            mistaken(Kind::Anomalous).rev().take(EACH).collect(),
        ),
    ] {
        if !chosen.is_empty() {
            let shots = chosen.into_iter().map(|seen| shot(scorer, seen)).collect::<Result<_>>()?;
            galleries.push(Gallery { title: title.into(), note: note.into(), shots });
        }
    }
    Ok(galleries)
}

fn shot(scorer: &Scorer, seen: &Seen) -> Result<Shot> {
    let image = scorer.prepare(&[&seen.path]).pop().context("no image")??;
    let jpegs = [image.picture(), scorer.heat_map(&image, PixelError::Absolute)?].map(jpeg);
    let [plain, hot] = jpegs;
    Ok(Shot {
        path: shown(&seen.path),
        class: seen.class.clone(),
        kind: seen.kind,
        score: seen.score,
        p_value: seen.verdict.p_value,
        jpegs: [plain?, hot?],
    })
}

fn jpeg(image: RgbImage) -> Result<Vec<u8>> {
    let image = DynamicImage::from(image);
    let image = match image.width().max(image.height()) > LARGEST {
        true => image.thumbnail(LARGEST, LARGEST),
        false => image,
    };
    let mut file = Vec::new();
    image.write_with_encoder(JpegEncoder::new_with_quality(&mut file, QUALITY))?;
    Ok(file)
}
