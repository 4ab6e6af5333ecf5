//! Draws a set of images as MVTec AD arranges them: plates with rivets, some with a scratch, a blot
//! or a missing rivet, and masks of these. A model of real inspection images that anyone can make.
//!
//! `cargo run --release --example textures -- FOLDER [SEED]`

use anyhow::{Context, Result};
use image::{GrayImage, Luma, Rgb, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::f32::consts::PI;
use std::fs;
use std::path::{Path, PathBuf};

/// Side of an image.
pub const SIDE: u32 = 96;
/// Distance of the rivets.
const PITCH: f32 = 24.0;
/// The kinds of defects.
pub const DEFECTS: [&str; 3] = ["blot", "missing", "scratch"];

/// Draws a set: normal images to train on, and of each kind to test on.
pub fn draw_set(root: &Path, seed: u64, train: usize, test: usize) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut write = |part: &str, kind: &str, count: usize| -> Result<()> {
        let folder = root.join(part).join(kind);
        fs::create_dir_all(&folder)?;
        for index in 0..count {
            let (image, mask) = plate(&mut rng, kind);
            image.save(folder.join(format!("{index:03}.png")))?;
            if kind != "good" {
                let folder = root.join("ground_truth").join(kind);
                fs::create_dir_all(&folder)?;
                mask.save(folder.join(format!("{index:03}_mask.png")))?;
            }
        }
        Ok(())
    };
    write("train", "good", train)?;
    for kind in ["good"].iter().chain(&DEFECTS) {
        write("test", kind, test)?;
    }
    Ok(())
}

/// A plate and the mask of its defect, which is empty for `good`.
fn plate(rng: &mut ChaCha8Rng, kind: &str) -> (RgbImage, GrayImage) {
    let mut mask = GrayImage::new(SIDE, SIDE);
    let side = SIDE as f32;
    // Light from another side, other grain, rivets a little off in each image.
    let (angle, light) = (rng.random_range(0.0..2.0 * PI), rng.random_range(0.85..1.15));
    let (left, top) = (rng.random_range(9.0..15.0), rng.random_range(9.0..15.0));
    let grain = rng.random_range(0.0..2.0 * PI);
    let at = |i: usize, from: f32| from + PITCH * i as f32;
    let missing = (rng.random_range(0..4), rng.random_range(0..4));
    let start = (rng.random_range(20.0..76.0), rng.random_range(20.0..76.0));
    let (course, length) = (rng.random_range(0.0..PI), rng.random_range(14.0..30.0));
    let (wide, high) = (rng.random_range(5.0..11.0), rng.random_range(5.0..11.0));
    let mut image = RgbImage::new(SIDE, SIDE);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let (fx, fy) = (x as f32, y as f32);
            let across = (fx * angle.cos() + fy * angle.sin()) / side;
            let mut value = 120.0 * light + 18.0 * across + 6.0 * (fy * 0.9 + grain).sin();
            let mut defect = false;
            for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
                let (dx, dy) = (fx - at(i, left), fy - at(j, top));
                let inside = 4.5 - dx.hypot(dy);
                if inside > -0.5 {
                    if kind == "missing" && missing == (i, j) {
                        defect = true;
                    } else {
                        let shine = if dx + dy < 0.0 { 60.0 } else { -35.0 };
                        value += shine * inside.clamp(0.0, 1.0);
                    }
                }
            }
            let (dx, dy) = (fx - start.0, fy - start.1);
            let along = dx * course.cos() + dy * course.sin();
            let off = (dy * course.cos() - dx * course.sin()).abs();
            if kind == "scratch" && along.abs() < length / 2.0 && off < 1.4 {
                value += 70.0;
                defect = true;
            }
            let round = (dx / wide).hypot(dy / high);
            if kind == "blot" && round < 1.0 {
                value -= 60.0 * (1.0 - round * round);
                defect = true;
            }
            let noise: f32 = rng.random_range(-6.0..6.0);
            let tone = |share: f32| (value * share + noise).clamp(0.0, 255.0) as u8;
            image.put_pixel(x, y, Rgb([tone(1.05), tone(1.0), tone(0.9)]));
            mask.put_pixel(x, y, Luma([if defect { 255 } else { 0 }]));
        }
    }
    (image, mask)
}

#[allow(dead_code)] // Tests take the drawing alone.
fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let root = PathBuf::from(args.next().context("name a folder to draw into")?);
    let seed = args.next().map_or(Ok(0), |seed| seed.parse()).context("the seed is a number")?;
    draw_set(&root, seed, 300, 40)
}
