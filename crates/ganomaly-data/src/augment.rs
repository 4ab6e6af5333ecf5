//! Random changes to training images: flips, shifts, small rotations.

use crate::{Error, Purpose, Result};
use rand::RngExt;
use std::fmt;
use std::str::FromStr;

/// Along which axes an image may be mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Flip {
    /// None.
    #[default]
    None,
    /// Left and right change places in half of the images.
    Horizontal,
    /// Top and bottom do.
    Vertical,
    /// Each of the two.
    Both,
}

const NAMES: [(Flip, &str); 4] = [
    (Flip::None, "none"),
    (Flip::Horizontal, "horizontal"),
    (Flip::Vertical, "vertical"),
    (Flip::Both, "both"),
];

impl fmt::Display for Flip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(flip, _)| flip == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Flip {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let flip = NAMES.iter().find(|(_, n)| *n == name).map(|(flip, _)| *flip);
        flip.ok_or_else(|| format!("unknown flip {name:?}: use one of {:?}", NAMES.map(|n| n.1)))
    }
}

/// How images may change. The default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augment {
    /// Mirroring.
    pub flip: Flip,
    /// The largest shift along each axis, as a part of the side, 0 to 0.5; in whole pixels.
    pub shift: f64,
    /// The largest rotation in degrees, 0 to 180, in both directions.
    pub rotate: f64,
}

impl Augment {
    /// Rejects values outside their ranges.
    pub fn check(&self) -> Result<()> {
        for (name, value, most) in [("shift", self.shift, 0.5), ("rotate", self.rotate, 180.0)] {
            if !(0.0..=most).contains(&value) {
                return Err(Error::Invalid(format!("{name} = {value}: use 0 to {most}")));
            }
        }
        Ok(())
    }
}

/// The changes to the images of an epoch: a function of these three and of the image's index, so
/// that training can resume anywhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochAugment {
    /// What is drawn from.
    pub augment: Augment,
    /// The run's seed.
    pub seed: u64,
    /// The epoch, from 1.
    pub epoch: u32,
}

impl EpochAugment {
    /// Changes image `index`, `[C, S, S]`. Outside of the image, its edge continues; between
    /// pixels, values are bilinear.
    pub(crate) fn apply(&self, index: u32, image: &mut [f32], side: usize) {
        let Augment { flip, shift, rotate } = self.augment;
        let number = u64::from(self.epoch) << 32 | u64::from(index);
        let mut rng = Purpose::AUGMENT.generator(self.seed, number);
        // All are drawn in any case, so that one setting does not change what another draws.
        let [across, down, x, y, turn] = std::array::from_fn(|_| rng.random::<f64>());
        let mirror = |on: bool, drawn: f64| if on && drawn < 0.5 { -1.0 } else { 1.0 };
        let mirror_x = mirror(matches!(flip, Flip::Horizontal | Flip::Both), across);
        let mirror_y = mirror(matches!(flip, Flip::Vertical | Flip::Both), down);
        let most = (shift * side as f64).round();
        let pixels = |drawn: f64| (drawn * (2.0 * most + 1.0)).floor().min(2.0 * most) - most;
        let (dx, dy) = (pixels(x), pixels(y));
        let (sin, cos) = (rotate.to_radians() * (2.0 * turn - 1.0)).sin_cos();
        if (mirror_x, mirror_y, dx, dy, sin) == (1.0, 1.0, 0.0, 0.0, 0.0) {
            return;
        }
        let middle = (side as f64 - 1.0) / 2.0;
        for plane in image.chunks_exact_mut(side * side) {
            let from = plane.to_vec();
            for (at, to) in plane.iter_mut().enumerate() {
                let (x, y) = ((at % side) as f64 - middle - dx, (at / side) as f64 - middle - dy);
                let (x, y) = (cos * x + sin * y, cos * y - sin * x);
                *to = between(&from, side, mirror_x * x + middle, mirror_y * y + middle);
            }
        }
    }
}

/// The value at a position, in pixels from the centre of the first.
fn between(plane: &[f32], side: usize, x: f64, y: f64) -> f32 {
    let last = side as f64 - 1.0;
    let (x, y) = (x.clamp(0.0, last), y.clamp(0.0, last));
    let (left, top) = (x as usize, y as usize);
    let (right, bottom) = ((left + 1).min(side - 1), (top + 1).min(side - 1));
    let (across, down) = ((x - left as f64) as f32, (y - top as f64) as f32);
    let row = |y: usize| {
        let (a, b) = (plane[y * side + left], plane[y * side + right]);
        a + (b - a) * across
    };
    row(top) + (row(bottom) - row(top)) * down
}
