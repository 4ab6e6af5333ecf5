//! Images, configs and results folders from a stranger, given to the real binary with limited
//! memory.

use crate::common::GANOMALY;
use ganomaly_data::{Limits, read_image};
use ganomaly_experiment::config::{Experiment, RunConfig};
use ganomaly_experiment::registry::Registry;
use ganomaly_inference::scorer::Scorer;
use ganomaly_model::weights::to_safetensors;
use image::{DynamicImage, ImageFormat};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

const CONFIG: &str = "dataset = \"synthetic\"\nabnormal_class = 1\nseed = 0\nisize = 16\nnz = 4\nngf = 2\ndevice = \"cpu\"\n";

/// Weights of a small network, never trained, with this config beside them.
fn write_model(path: &Path, config: &str) {
    let small = RunConfig::from_toml(CONFIG, &Registry::builtin()).unwrap();
    let state = small.new_detector(&Registry::builtin()).unwrap().state().unwrap();
    let metadata = HashMap::from([("config".to_string(), config.to_string())]);
    fs::write(path, to_safetensors(&state, Some(metadata)).unwrap()).unwrap();
}

/// `ganomaly score` with limited address space.
fn score(dir: &Path, images: &[OsString]) -> Output {
    Command::new("sh")
        .arg("-c")
        .arg("ulimit -v 3000000; exec \"$0\" score \"$@\"")
        .arg(GANOMALY)
        .arg("model.safetensors")
        .args(images)
        .env("RAYON_NUM_THREADS", "1")
        .current_dir(dir)
        .output()
        .unwrap()
}

fn segment(marker: u8, contents: &[u8]) -> Vec<u8> {
    let len = (contents.len() as u16 + 2).to_be_bytes();
    [&[0xff, marker], &len[..], contents].concat()
}

/// A JPEG file's bytes up to its first scan, with these components' sampling.
fn jpeg(width: u16, height: u16, sampling: &[u8]) -> Vec<u8> {
    let mut frame = vec![8];
    frame.extend(height.to_be_bytes().iter().chain(&width.to_be_bytes()));
    frame.push(sampling.len() as u8);
    for (i, s) in sampling.iter().enumerate() {
        frame.extend([i as u8 + 1, *s, 0]);
    }
    let table = segment(0xdb, &[&[0][..], &[1; 64]].concat());
    let scan = segment(0xda, &[1, 1, 0, 0, 63, 0]);
    [vec![0xff, 0xd8], table, segment(0xc0, &frame), scan, vec![0, 0xff, 0xd9]].concat()
}

/// A PNG file with this header, followed only by the extra chunks.
fn png(width: u32, height: u32, extra: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let header = [&size[..], &[8, 0, 0, 0, 0]].concat();
    for (kind, data) in std::iter::once(&(b"IHDR", header.as_slice())).chain(extra) {
        bytes.extend((data.len() as u32).to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&kind[..]);
        crc.update(data);
        bytes.extend(&kind[..]);
        bytes.extend(*data);
        bytes.extend(crc.sum().to_be_bytes());
    }
    bytes
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn bad_images_are_errors_that_name_them_and_the_good_are_scored() {
    let dir = tempfile::tempdir().unwrap();
    write_model(&dir.path().join("model.safetensors"), CONFIG);
    let good = DynamicImage::ImageLuma8(image::GrayImage::from_fn(28, 28, |x, y| {
        image::Luma([(x * y % 256) as u8])
    }));
    let whole = encoded(&good, ImageFormat::Png);
    // 81 MB of black in a few kilobytes.
    let bomb = encoded(&DynamicImage::new_luma8(9_000, 9_000), ImageFormat::Png);
    let animated = png(2, 2, &[(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]), (b"IDAT", &[])]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("bomb.png", bomb, "9000×9000 pixels, more than the 67108864"),
        ("zero.png", png(0, 0, &[(b"IDAT", &[])]), "zero.png"),
        ("wide.png", png(65_535, 65_535, &[(b"IDAT", &[])]), "65535×65535 pixels"),
        ("widest.png", png(0x7fff_ffff, 0x7fff_ffff, &[(b"IDAT", &[])]), "GANOMALY_MAX_PIXELS"),
        ("zero.jpg", jpeg(0, 0, &[0x11]), "zero.jpg"),
        ("wide.jpg", jpeg(65_535, 65_535, &[0x11]), "65535×65535 pixels"),
        ("cmyk.jpg", jpeg(8, 8, &[0x11; 4]), "CMYK; convert it to RGB"),
        ("sampling.jpg", jpeg(24, 520, &[0x11, 0x24, 0x14]), "sampled 2×4"),
        ("animated.png", animated, "it is animated"),
        ("a.gif", b"GIF89a\x01\0\x01\0\0\0\0;".to_vec(), "not a PNG, JPEG, BMP, TIFF or WebP"),
        ("a.webp", b"RIFF\x1a\0\0\0WEBPVP8L".to_vec(), "cannot read the image"),
        ("text.png", b"not an image".to_vec(), "whatever its name says"),
        ("empty.png", vec![], "not a PNG, JPEG, BMP, TIFF or WebP"),
        ("cut.png", whole[..whole.len() / 2].to_vec(), "cut.png: cannot read the image"),
        ("cut.jpg", jpeg(8, 8, &[0x11])[..80].to_vec(), "before its first scan"),
    ];
    let mut names: Vec<OsString> = Vec::new();
    for (name, bytes, _) in &cases {
        fs::write(dir.path().join(name), bytes).unwrap();
        names.push(name.into());
    }
    fs::create_dir(dir.path().join("folder.png")).unwrap();
    assert!(Command::new("mkfifo").arg(dir.path().join("pipe.png")).status().unwrap().success());
    symlink("nowhere", dir.path().join("link.png")).unwrap();
    names.extend(["folder.png", "pipe.png", "link.png", "/dev/zero"].map(OsString::from));
    // A name that moves the cursor, in an error; names that are hard to print, in the table.
    let moving = OsString::from("\x1b[2Jgone\nerror: all.png");
    let lines = OsString::from("two\nlines, \"quoted\".png");
    let bytes = OsStr::from_bytes(b"\xff.jpeg").to_os_string();
    for good in [&lines, &bytes] {
        fs::write(dir.path().join(good), &whole).unwrap();
    }
    symlink(&lines, dir.path().join("good-link.bmp")).unwrap();
    names.extend([moving, lines, bytes, "good-link.bmp".into()]);

    let output = score(dir.path(), &names);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    for (name, _, words) in &cases {
        let line = errors.lines().find(|l| l.starts_with(&format!("error: {name}: ")));
        let line = line.unwrap_or_else(|| panic!("no error for {name} in {errors}"));
        assert!(line.contains(words), "{line:?} should contain {words:?}");
    }
    for words in [
        "pipe.png: a pipe or a device",
        "link.png: a symbolic link to something that is not there",
        "/dev/zero: a pipe or a device",
        "error: \\u{1b}[2Jgone\\nerror: all.png: No such file",
    ] {
        assert!(errors.contains(words), "{errors} should contain {words}");
    }
    assert!(!errors.contains('\x1b') && !errors.contains("panicked"), "{errors}");
    assert_eq!(errors.lines().count(), cases.len() + 4, "{errors}");
    let mut table = csv::Reader::from_reader(output.stdout.as_slice());
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let named: Vec<&str> = rows.iter().map(|r| &r[0]).collect();
    assert_eq!(named, ["two\nlines, \"quoted\".png", "\\xff.jpeg", "good-link.bmp"]);
    assert!(rows.iter().all(|r| r.iter().skip(1).eq(rows[0].iter().skip(1))));
}

#[test]
fn images_of_other_depths_become_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("picture");
    let limits = Limits::default();
    let deep = image::ImageBuffer::from_pixel(2, 3, image::Luma([0x7fff_u16]));
    fs::write(&path, encoded(&DynamicImage::ImageLuma16(deep), ImageFormat::Png)).unwrap();
    assert_eq!(read_image(&path, 1, &limits).unwrap(), (vec![127; 6], [1, 3, 2]));
    let clear = image::ImageBuffer::from_pixel(2, 1, image::Rgba([1u8, 2, 3, 0]));
    fs::write(&path, encoded(&DynamicImage::ImageRgba8(clear), ImageFormat::Png)).unwrap();
    assert_eq!(read_image(&path, 3, &limits).unwrap(), (vec![1, 1, 2, 2, 3, 3], [3, 1, 2]));
    for format in [ImageFormat::Jpeg, ImageFormat::Bmp] {
        fs::write(&path, encoded(&DynamicImage::new_rgb8(20, 10), format)).unwrap();
        assert_eq!(read_image(&path, 3, &limits).unwrap().1, [3, 10, 20]);
        let few = Limits { pixels: 199, ..limits };
        let error = format!("{:#}", read_image(&path, 3, &few).unwrap_err());
        assert!(error.contains("20×10 pixels, more than the 199"), "{error}");
    }
    let short = Limits { file_bytes: 10, ..limits };
    let error = format!("{:#}", read_image(&path, 3, &short).unwrap_err());
    assert!(error.contains("GANOMALY_MAX_FILE_BYTES"), "{error}");
}

#[test]
fn weights_with_another_networks_config_cost_no_more_than_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    for (from, to, words) in [
        ("ngf = 2", "ngf = 2000", "more than 256576000 weights, and it holds"),
        ("ngf = 2", "ngf = 4096\nextralayers = 64", "weights; 1073741824 at most"),
        ("nz = 4", "nz = 5", "nz"),
        ("seed = 0", "seed = 0\nlr = nan", "lr = NaN"),
        ("seed = 0", "\x1b[2J", "its config"),
    ] {
        write_model(&path, &CONFIG.replace(from, to));
        let error = format!("{:#}", Scorer::load(&path, &Registry::builtin()).err().unwrap());
        assert!(error.contains("model.safetensors"), "{error}");
        assert!(error.contains(words) || words == "nz", "{error} should contain {words}");
    }
    fs::write(&path, to_safetensors(&Vec::new(), None).unwrap()).unwrap();
    let error = format!("{:#}", Scorer::load(&path, &Registry::builtin()).err().unwrap());
    assert!(error.contains("carry no config"), "{error}");
}

#[test]
fn experiments_beyond_reason_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("e\nx.toml");
    fs::write(&bad, CONFIG).unwrap();
    let error =
        format!("{:#}", Experiment::read(&bad, &[], None, &Registry::builtin()).unwrap_err());
    assert!(error.contains("e\\nx.toml") && error.contains("a name cannot have"), "{error}");
    let path = dir.path().join("e.toml");
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error =
            format!("{:#}", Experiment::read(&path, &[], None, &Registry::builtin()).unwrap_err());
        assert!(error.contains("e.toml"), "{error}");
        error
    };
    let list = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    let sweep = format!(
        "dataset = \"synthetic\"\nabnormal_class = 1\n[sweep]\nseed = [{}]\nw_con = [{}]\nw_enc = [{}]\n",
        list(300),
        list(300),
        list(300)
    );
    assert!(read(sweep.as_bytes()).contains("27000000 runs; 10000 at most"));
    assert!(read(&vec![b'#'; 2 << 20]).contains("2097152 bytes, more than the 1048576"));
    assert!(read(b"dataset = \"\xff\"").contains("not a text in UTF-8"));
    let deep = format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(read(deep.as_bytes()).contains("recursion"));
    for (key, value) in [
        ("bootstrap", "9223372036854775807"),
        ("batch_size", "10000001"),
        ("epochs", "99999999999"),
        ("ngf", "4096\nisize = 1024"),
        ("isize", "1099511627776"),
    ] {
        let config = format!("{}{key} = {value}\n", CONFIG.replace("isize = 16\n", ""));
        let config = if key == "ngf" { config.replacen("ngf = 2\n", "", 1) } else { config };
        assert!(read(config.as_bytes()).contains(key), "{key}");
    }
    let error = Experiment::read(dir.path(), &[], None, &Registry::builtin()).unwrap_err();
    assert!(format!("{error:#}").contains("a folder"), "{error:#}");
}
