//! Draws a set of images as MVTec AD arranges them: plates with rivets, some with a scratch, a blot
//! or a missing rivet, and masks of these. A model of real inspection images that anyone can make.
//!
//! `cargo run --release --example textures -- FOLDER [SEED] [NORMAL] [SIDE]`: by default seed 0, 300
//! normal images to train on, and sides of 96 pixels. Of each kind, 40 images are for testing.

use anyhow::{Context, Result};
use image::{GrayImage, Luma, Rgb, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::f32::consts::PI;
use std::fs;
use std::path::{Path, PathBuf};

/// Side of an image, unless another is asked for.
pub const SIDE: u32 = 96;
/// Distance of the rivets.
const PITCH: f32 = 24.0;
/// The kinds of defects.
pub const DEFECTS: [&str; 3] = ["blot", "missing", "scratch"];

/// Draws a set: normal images to train on, and of each kind to test on.
pub fn draw_set(root: &Path, seed: u64, train: usize, test: usize) -> Result<()> {
    draw_set_of(root, seed, (train, test), SIDE)
}

/// The same with larger images, of at least [`SIDE`] pixels: they show more of a plate.
pub fn draw_set_of(root: &Path, seed: u64, (train, test): (usize, usize), side: u32) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut write = |part: &str, kind: &str, count: usize| -> Result<()> {
        let folder = root.join(part).join(kind);
        fs::create_dir_all(&folder)?;
        for index in 0..count {
            let (image, mask) = plate(&mut rng, kind, side);
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
fn plate(rng: &mut ChaCha8Rng, kind: &str, side: u32) -> (RgbImage, GrayImage) {
    let (mut image, mut mask) = (RgbImage::new(side, side), GrayImage::new(side, side));
    let (pixels, side) = (side, side as f32);
    let rivets = (side / PITCH) as i32;
    // Light from another side, other grain, rivets a little off in each image.
    let (angle, light) = (rng.random_range(0.0..2.0 * PI), rng.random_range(0.85..1.15));
    let (left, top) = (rng.random_range(9.0..15.0), rng.random_range(9.0..15.0));
    let grain = rng.random_range(0.0..2.0 * PI);
    // The nearest rivet along an axis, and its distance.
    let nearest = |v: f32, from: f32| {
        let i = ((v - from) / PITCH).round().clamp(0.0, rivets as f32 - 1.0);
        (i as i32, v - (from + PITCH * i))
    };
    let missing = (rng.random_range(0..rivets), rng.random_range(0..rivets));
    let start = (rng.random_range(20.0..side - 20.0), rng.random_range(20.0..side - 20.0));
    let (course, length) = (rng.random_range(0.0..PI), rng.random_range(14.0..30.0));
    let (wide, high) = (rng.random_range(5.0..11.0), rng.random_range(5.0..11.0));
    for y in 0..pixels {
        for x in 0..pixels {
            let (fx, fy) = (x as f32, y as f32);
            let across = (fx * angle.cos() + fy * angle.sin()) / side;
            let mut value = 120.0 * light + 18.0 * across + 6.0 * (fy * 0.9 + grain).sin();
            let mut defect = false;
            let ((i, dx), (j, dy)) = (nearest(fx, left), nearest(fy, top));
            let inside = 4.5 - dx.hypot(dy);
            if inside > -0.5 && kind == "missing" && missing == (i, j) {
                defect = true;
            } else if inside > -0.5 {
                let shine = if dx + dy < 0.0 { 60.0 } else { -35.0 };
                value += shine * inside.clamp(0.0, 1.0);
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
    let mut number = |default| args.next().map_or(Ok(default), |text| text.parse::<u32>());
    let mut next = |default| number(default).context("seed, images and side are numbers");
    let (seed, normal, side) = (next(0)?, next(300)?, next(SIDE)?);
    draw_set_of(&root, seed.into(), (normal as usize, 40), side.max(SIDE))
}
