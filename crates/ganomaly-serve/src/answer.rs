//! What a client is told of its images.

use crate::batches::Scored;
use crate::models::Model;
use anyhow::Result;
use base64::Engine;
use image::{DynamicImage, ImageFormat, RgbImage};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Cursor;

/// The answer to a request for scores.
#[derive(Serialize)]
pub struct Answer {
    model: String,
    /// In the order of the request.
    images: Vec<Image>,
}

#[derive(Serialize)]
struct Image {
    /// The name of its file, if the request gave it one.
    name: Option<String>,
    /// Every score by its name.
    scores: BTreeMap<&'static str, f64>,
    #[serde(flatten)]
    verdict: Option<Judgement>,
    /// PNG files as data URIs, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    heat_map: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reconstruction: Option<String>,
}

/// What the score that counts means.
#[derive(Serialize)]
struct Judgement {
    score: f64,
    threshold: Option<f64>,
    /// The share of normal images that score as high.
    p_value: f64,
    verdict: &'static str,
}

impl Answer {
    /// Of a model's images. Draws the pictures, so it takes its time.
    pub fn new(
        model: &Model,
        names: Vec<Option<String>>,
        scored: Vec<Scored>,
        heat_map: bool,
    ) -> Result<Self> {
        let image = |(name, scored): (Option<String>, Scored)| -> Result<Image> {
            let Scored { image, scores, verdict, reconstruction } = scored;
            let verdict = verdict.map(|(score, verdict)| Judgement {
                score,
                threshold: model.about.threshold,
                p_value: verdict.p_value,
                verdict: if verdict.anomalous { "anomalous" } else { "normal" },
            });
            let heat_map = if heat_map { model.images.heat_map(&image)? } else { None };
            Ok(Image {
                name,
                scores: model.about.scores.iter().copied().zip(scores).collect(),
                verdict,
                heat_map: heat_map.map(png).transpose()?,
                reconstruction: reconstruction.map(png).transpose()?,
            })
        };
        let images = names.into_iter().zip(scored).map(image).collect::<Result<_>>()?;
        Ok(Self { model: model.about.name.clone(), images })
    }
}

fn png(image: RgbImage) -> Result<String> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, ImageFormat::Png)?;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes.into_inner());
    Ok(format!("data:image/png;base64,{text}"))
}
