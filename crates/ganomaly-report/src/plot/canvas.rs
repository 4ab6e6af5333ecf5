//! What figures are drawn with: shapes and texts at positions in pixels, as an SVG document.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::colors::colormaps::{ColorMap, ViridisRGB};
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Plotters places points on whole pixels: drawing at this scale makes the positions fine enough.
const SCALE: f64 = 4.0;
/// Plotters gives the sizes of letters in points, 1.24 to a pixel.
const POINTS: f64 = 1.24;

/// What a shape represents, which sets its colour. Blue and vermilion mean normal and anomalous,
/// and nothing else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ink {
    /// Normal images.
    Normal,
    /// Anomalous images.
    Anomalous,
    /// The only thing that a figure shows, or the first of several.
    Main,
    /// One of several things.
    Series(usize),
    /// What other things are compared with.
    Muted,
    /// Axes and grid lines.
    Grid,
    /// What lies on something dark.
    White,
    /// A value on the colour scale, in [0, 1].
    Value(f64),
    /// The same for a background, mixed with white.
    Pale(f64),
}

impl Ink {
    fn colour(self) -> RGBColor {
        // Okabe and Ito's palette, distinguishable with every kind of colour vision; the page's
        // style sheet maps the same numbers to those of a light or a dark page.
        match self {
            Self::Normal => RGBColor(0, 114, 178),
            Self::Anomalous => RGBColor(213, 94, 0),
            Self::Main => RGBColor(34, 34, 34),
            Self::Muted => RGBColor(130, 130, 130),
            Self::Grid => RGBColor(228, 228, 228),
            Self::White => WHITE,
            Self::Value(part) => ViridisRGB.get_color_normalized(part as f32, 0.0, 1.0),
            Self::Pale(part) => {
                let RGBColor(r, g, b) = Self::Value(part).colour();
                let [r, g, b] = [r, g, b].map(|c| (f64::from(c) * 0.6 + 255.0 * 0.4) as u8);
                RGBColor(r, g, b)
            }
            Self::Series(index) => match index % Self::SERIES {
                0 => RGBColor(0, 158, 115),
                1 => RGBColor(204, 121, 167),
                2 => RGBColor(230, 159, 0),
                3 => RGBColor(86, 180, 233),
                4 => RGBColor(120, 94, 240),
                5 => Self::Main.colour(),
                _ => Self::Muted.colour(),
            },
        }
    }

    /// Number of different colours of [`Ink::Series`].
    pub const SERIES: usize = 7;

    /// The CSS class that gives an HTML element this colour.
    pub fn class(self) -> String {
        match self {
            Self::Series(index) => format!("ink-{}", index % Self::SERIES),
            other => format!("ink-{other:?}").to_lowercase(),
        }
    }

    /// The ink of a text on an area of this one.
    pub fn beneath(self) -> Self {
        let RGBColor(r, g, b) = self.colour();
        let bright = 0.3 * f64::from(r) + 0.6 * f64::from(g) + 0.1 * f64::from(b);
        if bright > 128.0 { Self::Main } else { Self::White }
    }
}

/// Where a text is relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// It starts there.
    Left,
    /// It is centred there.
    Centre,
    /// It ends there.
    Right,
    /// It is centred there, rotated to read upwards.
    Upwards,
}

/// A shape, drawn through or at each of its points; its size is a width or a radius.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Line,
    Dashed,
    /// A closed line.
    Frame,
    Area,
    Dot,
    /// A dot with a dark edge.
    Disc,
    Ring,
    Diamond,
}

impl Shape {
    /// The CSS class that gives the key of a legend this shape.
    pub fn class(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

pub(super) struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

/// A document of a size in pixels, whose root has the given attributes.
pub(super) fn svg(
    size: (f64, f64),
    attributes: &str,
    body: impl FnOnce(&Canvas<'_>) -> Result<()>,
) -> Result<String> {
    let (width, height) = (px(size.0), px(size.1));
    let mut svg = String::new();
    {
        let backend = SVGBackend::with_string(&mut svg, (width, height));
        let canvas = Canvas(backend.into_drawing_area());
        body(&canvas)?;
        canvas.0.present().map_err(error)?;
    }
    let mut document = format!("<svg {attributes} viewBox=\"0 0 {width} {height}\">\n");
    for line in svg.lines().skip(1) {
        document += &line.replace(r#" opacity="1""#, "");
        document.push('\n');
    }
    Ok(document)
}

fn error(e: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a figure cannot be drawn: {e}")
}

fn px(pixels: f64) -> u32 {
    (pixels * SCALE).round() as u32
}

fn pixel((x, y): (f64, f64)) -> (i32, i32) {
    ((x * SCALE).round() as i32, (y * SCALE).round() as i32)
}

impl Canvas<'_> {
    pub fn text(
        &self,
        at: (f64, f64),
        text: &str,
        letters: f64,
        ink: Ink,
        anchor: Anchor,
    ) -> Result<()> {
        let font = ("sans-serif", letters * POINTS * SCALE).into_font();
        let (font, h) = match anchor {
            Anchor::Left => (font, HPos::Left),
            Anchor::Centre => (font, HPos::Center),
            Anchor::Right => (font, HPos::Right),
            Anchor::Upwards => (font.transform(FontTransform::Rotate270), HPos::Center),
        };
        let style = font.color(&ink.colour()).pos(Pos::new(h, VPos::Center));
        self.0.draw(&Text::new(text, pixel(at), style)).map_err(error)
    }

    /// Draws a shape; points that are not finite are left out.
    pub fn shape(
        &self,
        shape: Shape,
        points: impl Iterator<Item = (f64, f64)>,
        ink: Ink,
        size: f64,
        opacity: f64,
    ) -> Result<()> {
        let finite = |p: &(f64, f64)| p.0.is_finite() && p.1.is_finite();
        let mut points: Vec<(i32, i32)> = points.filter(finite).map(pixel).collect();
        let colour = ink.colour().mix(opacity);
        let stroke = colour.stroke_width(px(size));
        let area = &self.0;
        let circles = |style: ShapeStyle| {
            points.iter().try_for_each(|&p| area.draw(&Circle::new(p, px(size), style)))
        };
        match shape {
            Shape::Line => area.draw(&PathElement::new(points, stroke)),
            Shape::Dashed => area.draw(&DashedPathElement::new(points, px(4.0), px(3.0), stroke)),
            Shape::Frame => {
                // The first corner is drawn twice, so that it is a corner too.
                points.extend_from_within(..points.len().min(2));
                area.draw(&PathElement::new(points, stroke))
            }
            Shape::Area => area.draw(&Polygon::new(points, colour.filled())),
            Shape::Dot => circles(colour.filled()),
            Shape::Disc => circles(colour.filled())
                .and_then(|()| circles(Ink::Main.colour().stroke_width(px(0.75)))),
            Shape::Ring => circles(colour.stroke_width(px(1.5))),
            Shape::Diamond => {
                let r = px(size) as i32;
                points.iter().try_for_each(|&(x, y)| {
                    let (top, right) = ((x, y - r), (x + r, y));
                    let corners = vec![top, right, (x, y + r), (x - r, y), top, right];
                    area.draw(&PathElement::new(corners, colour.stroke_width(px(1.5))))
                })
            }
        }
        .map_err(error)
    }
}
