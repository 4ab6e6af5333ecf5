//! The page of a calibrated detector and the images that it scored: what its threshold promises,
//! the scores, and the images that deserve a look.

use super::page::{Page, legend, wide_figure};
use crate::plot::curves::histograms;
use crate::plot::figure::{Ink, Mark, Shape, Size};
use crate::text::significant;
use anyhow::Result;
use base64::Engine;
use maud::{Markup, html};

/// The size of the histogram.
const FIGURE: Size = (540.0, 300.0);

/// What a page shows.
pub struct FolderPage {
    /// Its title.
    pub title: String,
    /// The numbers at the top: name and value.
    pub facts: Vec<(String, String)>,
    /// What the detector is and promises, in lines.
    pub about: String,
    /// The name of the score that counts.
    pub score: String,
    /// An image is anomalous above this.
    pub threshold: f64,
    /// Scores of several kinds of images.
    pub scores: Vec<(String, Kind, Vec<f64>)>,
    /// Images, by what they have in common.
    pub galleries: Vec<Gallery>,
}

/// What an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Normal.
    Normal,
    /// Anomalous.
    Anomalous,
    /// Nobody has said.
    Unknown,
}

impl Kind {
    fn ink(self) -> Ink {
        match self {
            Self::Normal => Ink::Normal,
            Self::Anomalous => Ink::Anomalous,
            Self::Unknown => Ink::Series(0),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Anomalous => "anomalous",
            Self::Unknown => "unlabelled",
        }
    }
}

/// Images with something in common.
pub struct Gallery {
    /// What that is.
    pub title: String,
    /// What it means.
    pub note: String,
    /// The images, in order.
    pub shots: Vec<Shot>,
}

/// An image that was scored.
pub struct Shot {
    /// Its path.
    pub path: String,
    /// Its class, if that is known.
    pub class: String,
    /// What it is.
    pub kind: Kind,
    /// Its score.
    pub score: f64,
    /// Its conformal p-value.
    pub p_value: f64,
    /// The image, and the same with its heat map over it, as JPEG files.
    pub jpegs: [Vec<u8>; 2],
}

impl FolderPage {
    /// The whole page; it loads nothing from outside.
    pub fn build(&self) -> Result<String> {
        let lead = html! {
            dl.facts { @for (name, value) in &self.facts { div { dt { (name) } dd { (value) } } } }
        };
        let mut page = Page::new(&self.title, lead);
        page.section("scores", "Scores", self.histogram()?);
        for (at, gallery) in self.galleries.iter().enumerate() {
            page.section(&format!("images-{at}"), &gallery.title, gallery.draw());
        }
        page.section("about", "The detector", html! { pre.about { (self.about) } });
        Ok(page.finish())
    }

    fn histogram(&self) -> Result<Markup> {
        let kinds: Vec<(&str, Ink, &[f64])> =
            self.scores.iter().map(|(name, kind, s)| (name.as_str(), kind.ink(), &s[..])).collect();
        let (mut figure, cut) = histograms(FIGURE, &format!("score {}", self.score), &kinds);
        if let Some(panel) = figure.panels.first_mut() {
            let t = self.threshold.clamp(panel.x.range.0, panel.x.range.1);
            panel.marks.push(Mark::dashed(vec![(t, figure.y.range.0), (t, figure.y.range.1)]));
        }
        figure.legend.push((Ink::Muted, Shape::Dashed, "threshold".into()));
        let counts = self.scores.iter().map(|(name, _, scores)| format!("{} {name}", scores.len()));
        let label = format!(
            "histograms of the scores of {}, with the threshold {}",
            counts.collect::<Vec<_>>().join(" and "),
            self.threshold
        );
        Ok(html! {
            p {
                "Each area is a share of its own images. Images right of the threshold are called anomalous. "
                @if cut { "The highest scores are left out where they would squeeze the rest, at most 0.5 %." }
            }
            (wide_figure(&figure, &label)?)
        })
    }
}

impl Gallery {
    fn draw(&self) -> Markup {
        let uri = |jpeg: &[u8]| {
            let text = base64::engine::general_purpose::STANDARD.encode(jpeg);
            format!("data:image/jpeg;base64,{text}")
        };
        let mut kinds: Vec<Kind> = Vec::new();
        for shot in self.shots.iter().filter(|shot| shot.kind != Kind::Unknown) {
            if !kinds.contains(&shot.kind) {
                kinds.push(shot.kind);
            }
        }
        let entry = |kind: &Kind| (kind.ink(), Shape::Frame, kind.name().to_string());
        let entries: Vec<_> = kinds.iter().map(entry).collect();
        html! {
            p { (self.note) }
            @if !entries.is_empty() { (legend(&entries)) }
            div.shots {
                @for shot in &self.shots {
                    figure.shot {
                        div class={ "image " (shot.kind.name()) } {
                            @for (jpeg, what) in shot.jpegs.iter().zip(["", "heat map of "]) {
                                img src=(uri(jpeg)) alt={ (what) (shot.path) ", " (shot.kind.name()) };
                            }
                        }
                        figcaption {
                            span.path { (shot.path) }
                            span {
                                @if !shot.class.is_empty() { (shot.class) ", " }
                                "score " (significant(shot.score, 3)) ", p " (significant(shot.p_value, 2))
                            }
                        }
                    }
                }
            }
        }
    }
}
