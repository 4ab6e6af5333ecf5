//! Weights that the published code saved, from `.pth` files to scores.

use crate::common::{Sandbox, skip};

use ganomaly_model::ganomaly::{Ganomaly, GanomalyConfig};
use ganomaly_model::{BatchNormMode, Detector, weights};
use std::fs;
use std::path::{Path, PathBuf};

fn tiny(suffix: &str) -> String {
    format!("{}/tests/golden/tiny.{suffix}", env!("CARGO_MANIFEST_DIR"))
}

/// A sandbox with two images, grey or in colour, whose pixels are known.
fn with_images(channels: usize, side: u32) -> (Sandbox, Vec<Vec<u8>>) {
    let sandbox = Sandbox::empty();
    let pixel = |i: u32, x: u32, y: u32, c: u32| (x * 7 * (i + 1) + y * 5 + c * 60) as u8;
    let images = (0..2).map(|i| {
        let path = sandbox.path(&format!("{i}.png"));
        if channels == 1 {
            let grey = |x, y| image::Luma([pixel(i, x, y, 0)]);
            image::GrayImage::from_fn(side, side, grey).save(path).unwrap();
        } else {
            let rgb = |x, y| image::Rgb([0, 1, 2].map(|c| pixel(i, x, y, c)));
            image::RgbImage::from_fn(side, side, rgb).save(path).unwrap();
        }
        let at = |k: u32| pixel(i, k % side, k / side % side, k / (side * side));
        (0..channels as u32 * side * side).map(at).collect()
    });
    let images = images.collect();
    (sandbox, images)
}

#[test]
fn ganomaly_scores_with_and_without_its_discriminator() {
    let tensors = weights::read_safetensors(tiny("pth.safetensors").as_ref()).unwrap();
    let text = fs::read_to_string(tiny("json")).unwrap();
    let config = &serde_json::from_str::<serde_json::Value>(&text).unwrap()["config"];
    let number = |key: &str| config[key].as_u64().unwrap() as usize;
    let (isize, nc) = (number("isize"), number("nc"));
    let extralayers = number("extralayers");
    let (nz, ngf) = (number("nz"), number("ngf"));
    let config = GanomalyConfig { isize, nc, nz, ngf, extralayers, ..Default::default() };
    let mut model = Ganomaly::new(config, 5).unwrap();
    model.load_state(&tensors).unwrap();
    let (sandbox, images) = with_images(nc, isize as u32);
    let (mean, std) = if nc == 1 { (0.1307, 0.3081) } else { (0.5, 0.5) };
    let mut expected = String::from("picture,l2,l1,con\n");
    for (i, pixels) in images.iter().enumerate() {
        let x: Vec<f32> = pixels.iter().map(|&v| (f32::from(v) / 255.0 - mean) / std).collect();
        let shape = (1, nc, isize, isize);
        let x = candle_core::Tensor::from_vec(x, shape, &candle_core::Device::Cpu).unwrap();
        let scores = model.score(&x, BatchNormMode::Running).unwrap();
        let scores = ["l2", "l1", "con"].map(|name| scores.of(name)[0].to_string());
        expected += &format!("{i}.png,{}\n", scores.join(","));
    }
    let (net_g, net_d) = (tiny("netG.pth"), tiny("netD.pth"));
    let said = sandbox.ok(&["import", &net_g, &net_d, "-o", "both.gano"]);
    assert!(said.contains(&format!("ganomaly for images of {nc}×{isize}×{isize}")), "{said}");
    let (_, said) = sandbox.both(&["import", &net_g, "-o", "one.gano"]);
    assert!(said.contains("the discriminator's weights are random"), "{said}");
    for model in ["both.gano", "one.gano"] {
        assert_eq!(sandbox.ok(&["score", model, "0.png", "1.png"]), expected, "{model}");
    }
    sandbox.ok(&["import", &net_g, "-o", "tanh.gano", "--normalize", "tanh"]);
    let tanh = sandbox.ok(&["score", "tanh.gano", "0.png", "1.png"]);
    assert_eq!(tanh == expected, nc != 1);
}

#[test]
fn skip_ganomaly_is_read_from_both_formats() {
    let Some(golden) = skip::shared().map(|shared| shared.join("golden")) else { return };
    let (sandbox, _) = with_images(3, 40);
    let file = |name: &str| golden.join(name).display().to_string();
    let expected = weights::read_safetensors(file("skip_rgb32.pth.safetensors").as_ref()).unwrap();
    let mut scores = Vec::new();
    for format in ["", ".legacy"] {
        let [g, d] = ["G", "D"].map(|net| file(&format!("skip_rgb32{format}.net{net}.pth")));
        let read = weights::read_pth(g.as_ref(), d.as_ref()).unwrap();
        assert_eq!(read.len(), expected.len());
        let bytes = |tensors| weights::to_safetensors(tensors, None).unwrap();
        assert!(bytes(&read) == bytes(&expected), "other values in {g}");
        let said = sandbox.ok(&["import", &g, &d, "-o", "model"]);
        assert!(said.contains("skip-ganomaly for images of 3×32×32"), "{said}");
        scores.push(sandbox.ok(&["score", "model", "0.png", "1.png"]));
        sandbox.fails(&["import", &g, "-o", "none"], &["needs the discriminator"]);
        sandbox.fails(&["import", &d, &g, "-o", "none"], &["name netG.pth first"]);
    }
    assert!(scores[0].starts_with("picture,rec_lat,rec,lat\n0.png,"), "{}", scores[0]);
    assert_eq!(scores[0], scores[1]);
    assert!(!sandbox.path("none").exists());
}

#[test]
fn what_is_no_published_model_is_refused() {
    let (sandbox, _) = with_images(1, 16);
    let (net_g, net_d) = (tiny("netG.pth"), tiny("netD.pth"));
    sandbox.fails(&["import", &net_d, "-o", "m"], &["tiny.netD.pth", "name netG.pth first"]);
    sandbox.fails(&["import", &net_g, &net_g, "-o", "m"], &["tiny.netG.pth", "netd."]);
    sandbox.fails(&["import", "0.png", "-o", "m"], &["0.png", "neither a zip file"]);
    sandbox.fails(&["import", &net_g, "-o", "away/m"], &["away/m", "cannot write"]);
    sandbox.ok(&["import", &net_g, "-o", "m"]);
    // A model file of a later format, or one whose metadata is not understood.
    let bytes = fs::read(sandbox.path("m")).unwrap();
    for (from, to, words) in [
        ("format = 2", "format = 3", ["its format is 3", "this program reads 1 to 2"]),
        ("channels =", "channel5 =", ["its model", "channel5"]),
        ("ganomaly\\\"", "ganomali\\\"", ["detector = \"ganomali\"", "m"]),
    ] {
        let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        let mut other = bytes.clone();
        other[at..at + to.len()].copy_from_slice(to.as_bytes());
        fs::write(sandbox.path("other"), other).unwrap();
        sandbox.fails(&["score", "other", "0.png"], &words);
    }
}

/// Wherever the older stream is cut or a bit is flipped, there is an error or there are tensors.
#[test]
fn damaged_streams_are_refused() {
    let Some(golden) = skip::shared().map(|shared| shared.join("golden")) else { return };
    let whole = fs::read(golden.join("skip_rgb32.legacy.netD.pth")).unwrap();
    let sandbox = Sandbox::empty();
    let path: PathBuf = sandbox.path("netD.pth");
    let read = |bytes: &[u8], path: &Path| {
        fs::write(path, bytes).unwrap();
        weights::read_pth_file(path, "netd.").map_err(|e| e.to_string())
    };
    assert!(read(&whole, &path).is_ok());
    for cut in (0..whole.len()).step_by(811).chain([whole.len() - 1]) {
        let error = read(&whole[..cut], &path).unwrap_err();
        assert!(error.contains("netD.pth: cannot be read as weights"), "{cut}: {error}");
    }
    let error = read(&[&whole[..], b"x"].concat(), &path).unwrap_err();
    assert!(error.contains("1 bytes follow its last storage"), "{error}");
    let at = whole.windows(13).position(|part| part == b"little_endian").unwrap();
    let mut big = whole.clone();
    let flag = at + 13 + big[at + 13..].iter().position(|&b| b == 0x88).unwrap();
    big[flag] = 0x89;
    let error = read(&big, &path).unwrap_err();
    assert!(error.contains("not little-endian"), "{error}");
    for bit in (0..8 * 8000).step_by(97) {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Err(error) = read(&flipped, &path) {
            assert!(error.contains("netD.pth"), "{error}");
        }
    }
}
