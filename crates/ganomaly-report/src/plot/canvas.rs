//! A canvas for what plotters' charts do not draw: marks at pixel positions, as an SVG document.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::colors::colormaps::{ColorMap, ViridisRGB};
use plotters::style::text_anchor::{HPos, Pos, VPos};

const FONT: &str = "sans-serif";
/// Text.
pub(super) const INK: RGBColor = RGBColor(40, 40, 40);
/// Axes and captions.
pub(super) const GREY: RGBColor = RGBColor(120, 120, 120);
/// Grid lines.
pub(super) const LIGHT: RGBColor = RGBColor(225, 225, 225);

/// How a text is anchored at its point.
#[derive(Clone, Copy)]
pub(super) enum At {
    /// It starts there.
    Left,
    /// It is centred there.
    Centre,
    /// It ends there.
    Right,
    /// It is centred there, rotated to read upwards.
    Upwards,
}

pub(super) struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

/// Draws on a white canvas.
pub(super) fn svg(
    size: (u32, u32),
    body: impl FnOnce(&Canvas<'_>) -> Result<()>,
) -> Result<String> {
    let mut svg = String::new();
    {
        let canvas = Canvas(SVGBackend::with_string(&mut svg, size).into_drawing_area());
        canvas.0.fill(&WHITE).map_err(error)?;
        body(&canvas)?;
        canvas.0.present().map_err(error)?;
    }
    Ok(svg)
}

fn error(e: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a plot cannot be drawn: {e}")
}

fn pixel((x, y): (f64, f64)) -> (i32, i32) {
    (x.round() as i32, y.round() as i32)
}

impl Canvas<'_> {
    pub fn text(
        &self,
        at: (f64, f64),
        text: &str,
        size: f64,
        colour: RGBColor,
        how: At,
    ) -> Result<()> {
        let font = (FONT, size).into_font();
        let (font, h) = match how {
            At::Left => (font, HPos::Left),
            At::Centre => (font, HPos::Center),
            At::Right => (font, HPos::Right),
            At::Upwards => (font.transform(FontTransform::Rotate270), HPos::Center),
        };
        let style = font.color(&colour).pos(Pos::new(h, VPos::Center));
        self.0.draw(&Text::new(text, pixel(at), style)).map_err(error)
    }

    pub fn line(&self, points: &[(f64, f64)], colour: RGBColor, width: u32) -> Result<()> {
        let points: Vec<_> = points.iter().copied().map(pixel).collect();
        self.0.draw(&PathElement::new(points, colour.stroke_width(width))).map_err(error)
    }

    pub fn rectangle(&self, a: (f64, f64), b: (f64, f64), colour: RGBColor) -> Result<()> {
        self.0.draw(&Rectangle::new([pixel(a), pixel(b)], colour.filled())).map_err(error)
    }

    pub fn frame(&self, a: (f64, f64), b: (f64, f64), colour: RGBColor) -> Result<()> {
        self.0.draw(&Rectangle::new([pixel(a), pixel(b)], colour.stroke_width(1))).map_err(error)
    }

    /// A disc with a thin dark edge.
    pub fn disc(&self, at: (f64, f64), radius: i32, fill: RGBColor) -> Result<()> {
        self.0.draw(&Circle::new(pixel(at), radius, fill.filled())).map_err(error)?;
        self.ring(at, radius, INK, 1)
    }

    pub fn ring(&self, at: (f64, f64), radius: i32, colour: RGBColor, width: u32) -> Result<()> {
        self.0.draw(&Circle::new(pixel(at), radius, colour.stroke_width(width))).map_err(error)
    }

    /// A colour bar of `scale`, with its numbers.
    pub fn legend(&self, scale: &Scale, top: (f64, f64), height: f64, title: &str) -> Result<()> {
        const STEPS: usize = 64;
        const WIDTH: f64 = 16.0;
        let (x, y) = top;
        self.text((x, y - 16.0), title, 13.0, INK, At::Left)?;
        for step in 0..STEPS {
            let part = |s: usize| y + height * (1.0 - s as f64 / STEPS as f64);
            let colour = scale.at((step as f64 + 0.5) / STEPS as f64);
            self.rectangle((x, part(step + 1)), (x + WIDTH, part(step)), colour)?;
        }
        self.frame((x, y), (x + WIDTH, y + height), GREY)?;
        for tick in 0..=4 {
            let part = f64::from(tick) / 4.0;
            let value = scale.low + (scale.high - scale.low) * part;
            let at = y + height * (1.0 - part);
            self.line(&[(x + WIDTH, at), (x + WIDTH + 4.0, at)], GREY, 1)?;
            self.text((x + WIDTH + 8.0, at), &format!("{value:.3}"), 12.0, INK, At::Left)?;
        }
        Ok(())
    }
}

/// Viridis over a range of values.
pub(super) struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// Over the range of the values; there must be at least one.
    pub fn over(values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        if high > low { Self { low, high } } else { Self { low: low - 0.01, high: high + 0.01 } }
    }

    /// The colour of a value.
    pub fn colour(&self, value: f64) -> RGBColor {
        self.at((value - self.low) / (self.high - self.low))
    }

    fn at(&self, part: f64) -> RGBColor {
        ViridisRGB.get_color_normalized(part as f32, 0.0, 1.0)
    }
}

/// A colour mixed with white: 0 is white.
pub(super) fn thinned(colour: RGBColor, by: f64) -> RGBColor {
    let mix = |c: u8| (f64::from(c) * by + 255.0 * (1.0 - by)).round() as u8;
    RGBColor(mix(colour.0), mix(colour.1), mix(colour.2))
}
