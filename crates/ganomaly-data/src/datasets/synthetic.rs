//! Ten classes of glyphs drawn by this crate, so that everything runs without a download.

use crate::{About, Dataset, Description, LabeledImages, Result, Verification};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;

/// The set is the same everywhere: its images are drawn from this seed.
const SEED: u64 = 20_260_101;
const TRAIN_PER_CLASS: usize = 300;
const TEST_PER_CLASS: usize = 100;
/// No ink is farther from a stroke than this: half of the thickest pen and of a pixel is 0.098.
const REACH: f32 = 0.1;

/// A stroke of a glyph on the unit square, y downwards.
#[derive(Clone, Copy)]
enum Stroke {
    /// From one point to another.
    Line([f32; 2], [f32; 2]),
    /// A circle by centre and radius.
    Ring([f32; 2], f32),
}
use Stroke::{Line, Ring};

/// The name and the strokes of each class.
const GLYPHS: [(&str, &[Stroke]); 10] = [
    ("ring", &[Ring([0.5, 0.5], 0.3)]),
    ("bar", &[Line([0.5, 0.15], [0.5, 0.85])]),
    ("cross", &[Line([0.2, 0.2], [0.8, 0.8]), Line([0.8, 0.2], [0.2, 0.8])]),
    ("plus", &[Line([0.5, 0.15], [0.5, 0.85]), Line([0.15, 0.5], [0.85, 0.5])]),
    (
        "triangle",
        &[
            Line([0.5, 0.18], [0.85, 0.8]),
            Line([0.85, 0.8], [0.15, 0.8]),
            Line([0.15, 0.8], [0.5, 0.18]),
        ],
    ),
    (
        "square",
        &[
            Line([0.22, 0.22], [0.78, 0.22]),
            Line([0.78, 0.22], [0.78, 0.78]),
            Line([0.78, 0.78], [0.22, 0.78]),
            Line([0.22, 0.78], [0.22, 0.22]),
        ],
    ),
    (
        "zigzag",
        &[Line([0.2, 0.2], [0.8, 0.2]), Line([0.8, 0.2], [0.2, 0.8]), Line([0.2, 0.8], [0.8, 0.8])],
    ),
    ("rails", &[Line([0.3, 0.15], [0.3, 0.85]), Line([0.7, 0.15], [0.7, 0.85])]),
    ("eight", &[Ring([0.5, 0.32], 0.17), Ring([0.5, 0.68], 0.17)]),
    (
        "arrow",
        &[
            Line([0.15, 0.5], [0.85, 0.5]),
            Line([0.85, 0.5], [0.55, 0.2]),
            Line([0.85, 0.5], [0.55, 0.8]),
        ],
    ),
];

/// Seeded drawings of ten glyphs, 3,000 to train and 1,000 to test, each with its own shift, scale,
/// slant and pen width.
#[derive(Clone, Copy, Debug)]
pub struct Synthetic {
    name: &'static str,
    channels: usize,
    side: usize,
}

impl Synthetic {
    /// `synthetic`: 28×28 grey, bright on black.
    pub fn grey() -> Self {
        Self { name: "synthetic", channels: 1, side: 28 }
    }

    /// `synthetic-colour`: 32×32, any two colours that differ enough.
    pub fn colour() -> Self {
        Self { name: "synthetic-colour", channels: 3, side: 32 }
    }

    fn draw(self, class: usize, rng: &mut ChaCha8Rng, out: &mut Vec<u8>) {
        let mut between = |low: f32, high: f32| low + (high - low) * rng.random::<f32>();
        let (scale, slant, turn) =
            (between(0.75, 1.05), between(-0.25, 0.25), between(-0.15, 0.15));
        let shift = [between(-0.08, 0.08), between(-0.08, 0.08)];
        let pen = between(0.045, 0.08);
        let (sin, cos) = turn.sin_cos();
        // From the image back to the glyph's coordinates: undo shift, scale, turn and slant.
        let centred = |shift: f32| {
            let side = self.side as f32;
            (0..self.side).map(move |p| ((p as f32 + 0.5) / side - 0.5 - shift) / scale)
        };
        let xs: Vec<f32> = centred(shift[0]).collect();
        let (back, front) = self.colours(&mut between);
        let edge = 1.0 / self.side as f32;
        let mut ink = Vec::with_capacity(self.side * self.side);
        for y in centred(shift[1]) {
            for &x in &xs {
                let (x, y) = (cos * x + sin * y, cos * y - sin * x);
                let point = [x + slant * y + 0.5, y + 0.5];
                let mut distance = f32::INFINITY;
                for stroke in GLYPHS[class].1 {
                    distance = distance.min(stroke.distance(point));
                }
                ink.push(((pen - distance) / edge + 0.5).clamp(0.0, 1.0));
            }
        }
        for (back, front) in back.into_iter().zip(front).take(self.channels) {
            for &ink in &ink {
                let grain = between(-0.03, 0.03) * if self.channels == 1 { ink } else { 1.0 };
                let value = back + (front - back) * ink + grain;
                let value = 255.0 * value.clamp(0.0, 1.0);
                // Rounded half up, without a call of the C library for each pixel.
                let whole = value as u8;
                out.push(whole + u8::from(value - f32::from(whole) >= 0.5));
            }
        }
    }

    fn colours(self, between: &mut impl FnMut(f32, f32) -> f32) -> ([f32; 3], [f32; 3]) {
        if self.channels == 1 {
            return ([0.0; 3], [between(0.8, 1.0); 3]);
        }
        // On opposite sides of mid-grey in each channel, so that the glyph always stands out.
        let mut back = [0.0; 3];
        let mut front = [0.0; 3];
        for channel in 0..3 {
            let low = between(0.0, 0.35);
            let high = between(0.65, 1.0);
            (back[channel], front[channel]) =
                if between(0.0, 1.0) < 0.5 { (low, high) } else { (high, low) };
        }
        (back, front)
    }
}

impl Stroke {
    /// The distance of a point that the pen may reach; otherwise infinity, which takes less time.
    fn distance(self, [x, y]: [f32; 2]) -> f32 {
        let (x, y, radius) = match self {
            Ring([cx, cy], radius) => (x - cx, y - cy, radius),
            Line([ax, ay], [bx, by]) => {
                let (dx, dy) = (bx - ax, by - ay);
                let along = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy);
                let t = along.clamp(0.0, 1.0);
                (x - ax - t * dx, y - ay - t * dy, 0.0)
            }
        };
        let square = x * x + y * y;
        let (low, high) = ((radius - REACH).max(0.0), radius + REACH);
        if square < low * low || square > high * high {
            return f32::INFINITY;
        }
        // `hypot`, which is a call of the C library.
        let distance = (f64::from(x) * f64::from(x) + f64::from(y) * f64::from(y)).sqrt() as f32;
        (distance - radius).abs()
    }
}

impl Dataset for Synthetic {
    fn name(&self) -> &str {
        self.name
    }

    fn describe(&self, _data_dir: &Path) -> Result<Description> {
        Ok(Description::new(GLYPHS.map(|(name, _)| name), [self.channels, self.side, self.side]))
    }

    fn about(&self) -> About {
        About {
            description: "4,000 drawings of ten glyphs, made when they are needed",
            homepage: "this crate",
            licence: "that of this crate",
            citation: "none",
        }
    }

    fn load(&self, data_dir: &Path) -> Result<LabeledImages> {
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let train = TRAIN_PER_CLASS * GLYPHS.len();
        let total = train + TEST_PER_CLASS * GLYPHS.len();
        let mut pixels = Vec::with_capacity(total * self.channels * self.side * self.side);
        let mut labels = Vec::with_capacity(total);
        for index in 0..total {
            let class = index % GLYPHS.len();
            self.draw(class, &mut rng, &mut pixels);
            labels.push(class as u8);
        }
        LabeledImages::new(pixels, labels, self.describe(data_dir)?, train)
    }

    fn verify(&self, _data_dir: &Path) -> Result<Verification> {
        Ok(Verification::Generated)
    }
}
