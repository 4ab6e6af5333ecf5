//! Folders of image files: every layout, every kind of file, and what is wrong with some.

use ganomaly_data::datasets::Folder;
use ganomaly_data::datasets::folder::Layout;
use ganomaly_data::{Dataset, LabeledImages, Limits, Resize, Result, Split, SplitKind, read_image};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageEncoder, ImageFormat, Rgb, RgbImage};
use std::fs;
use std::path::Path;

/// Writes an image that no other call with another `id` writes, in the format of the name.
fn write(path: &Path, id: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // An image and its mask have the same number, and so the same width.
    let name = path.file_stem().unwrap().to_string_lossy();
    let number: u32 = name.trim_end_matches("_mask").parse().unwrap_or(0);
    let pixel = |x: u32, y: u32| Rgb([(x * u32::from(id)) as u8, id, (y * u32::from(id)) as u8]);
    let image = RgbImage::from_fn(20 + number, 16, pixel);
    DynamicImage::ImageRgb8(image).save(path).unwrap();
}

fn folder(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (id, file) in files.iter().enumerate() {
        write(&dir.path().join(file), id as u8 + 1);
    }
    dir
}

fn load(root: &Path) -> Result<LabeledImages> {
    Folder::new(root, None).load(root)
}

fn fails(root: &Path, words: &str) {
    let error = load(root).unwrap_err().to_string();
    assert!(error.contains(words), "{error} should contain {words}");
}

#[test]
fn every_layout_is_found_by_looking() {
    // The classes, how many images of each are for training, and how many for testing.
    type Expected<'a> = (&'a [&'a str], &'a [usize], &'a [usize], &'a str);
    let cases: [(&[&str], Expected<'_>); 6] = [
        (
            &[
                "train/good/0.png",
                "train/good/1.png",
                "test/good/2.png",
                "test/scratch/3.png",
                "test/hole/4.png",
                "ground_truth/scratch/3_mask.png",
                "ground_truth/hole/4_mask.png",
            ],
            (
                &["good", "hole", "scratch"],
                &[2, 0, 0],
                &[1, 1, 1],
                "train/good and test/{good, hole, scratch}, with masks in ground_truth",
            ),
        ),
        // BTAD: other names, masks named as the images.
        (
            &["train/ok/0.bmp", "test/ok/1.bmp", "test/ko/2.bmp", "ground_truth/ko/2.png"],
            (&["ok", "ko"], &[1, 0], &[1, 1], "train/ok and test/{ko, ok}, with masks"),
        ),
        (
            &["train/0.normal/0.jpg", "test/0.normal/1.jpg", "test/1.abnormal/2.jpg"],
            (
                &["0.normal", "1.abnormal"],
                &[1, 0],
                &[1, 1],
                "train/0.normal and test/{0.normal, 1.abnormal}",
            ),
        ),
        (
            &["abnormal/0.tiff", "normal/1.webp", "normal/deeper/2.png"],
            (&["normal", "abnormal"], &[2, 1], &[0, 0], "normal beside abnormal"),
        ),
        (
            &["dent/0.png", "good/1.png", "good/2.png", "tear/3.png", "notes/../good/4.png"],
            (&["good", "dent", "tear"], &[3, 1, 1], &[0; 3], "good beside dent, tear"),
        ),
        (
            &["0.png", "b/1.JPG", "b/2.jpeg", "3.bmp"],
            (&["normal"], &[4], &[0], "images, all taken as normal"),
        ),
    ];
    for (files, (classes, train, test, kind)) in cases {
        let dir = folder(files);
        let images = load(dir.path()).unwrap();
        assert_eq!(images.class_names(), classes, "{files:?}");
        let (in_train, in_test) = images.labels().split_at(images.official_train());
        for (labels, expected) in [(in_train, train), (in_test, test)] {
            let count = |class| labels.iter().filter(|&&label| usize::from(label) == class).count();
            let counts: Vec<usize> = (0..classes.len()).map(count).collect();
            assert_eq!(counts, expected, "{files:?}");
        }
        let notes = Folder::new(dir.path(), None).notes(Path::new("")).unwrap();
        assert!(notes.len() == 1 && notes[0].starts_with(kind), "{notes:?}");
        let masks = files.iter().filter(|file| file.starts_with("ground_truth")).count();
        let found = Layout::of(dir.path()).unwrap();
        let named = found.files.iter().filter(|f| f.mask.is_some()).count();
        assert_eq!(named, masks, "{files:?}");
    }
}

#[test]
fn images_are_read_when_needed_and_kept_within_bounds() {
    let dir = folder(&["good/0.png", "good/1.bmp", "bad/2.webp"]);
    let images = load(dir.path()).unwrap();
    assert_eq!(images.shape(), [3, 16, 22]);
    for mode in [Resize::Crop, Resize::Stretch, Resize::Pad] {
        for index in 0..3 {
            let path = images.path(index).unwrap();
            let (pixels, shape) = read_image(path, 3, &Limits::default()).unwrap();
            let expected = ganomaly_data::resize(&pixels, shape, 16, mode).unwrap().into_owned();
            // Read, then kept.
            for _ in 0..2 {
                assert_eq!(*images.resized(index, 16, mode).unwrap(), expected, "{mode} {index}");
            }
        }
    }
    assert!(images.resized(3, 16, Resize::Crop).is_err() && images.image(0).is_none());
    let grey = Folder::new(dir.path(), Some(1)).load(dir.path()).unwrap();
    assert_eq!(grey.resized(0, 16, Resize::Crop).unwrap().len(), 256);

    // A file that changes is an error, never another image.
    write(images.path(1).unwrap(), 77);
    assert!(images.resized(1, 16, Resize::Pad).is_ok(), "it is still kept");
    let error = images.resized(1, 8, Resize::Pad).unwrap_err().to_string();
    assert!(error.contains("1.bmp: cannot read the image: it has changed"), "{error}");
}

#[test]
fn images_that_are_not_square_are_cropped_stretched_or_padded() {
    // One row; to half its width, a triangle over three pixels: 200 · 0.25 / 1.75.
    let image = [0, 0, 200, 200];
    let to = |mode| ganomaly_data::resize(&image, [1, 1, 4], 2, mode).unwrap().into_owned();
    assert_eq!(to(Resize::Pad), [29, 171, 0, 0]);
    assert_eq!(to(Resize::Stretch), [29, 171, 29, 171]);
    let crop = to(Resize::Crop);
    assert_eq!(crop.len(), 4);
    assert!("stretched".parse::<Resize>().unwrap_err().contains("\"stretch\""));
}

#[test]
fn exif_turns_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("turned.jpg");
    // Left black, right white; orientation 6: turn clockwise by a quarter.
    let image = RgbImage::from_fn(32, 16, |x, _| Rgb([if x < 16 { 0 } else { 255 }; 3]));
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new(&mut bytes);
    let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    encoder.set_exif_metadata(tiff.to_vec()).unwrap();
    encoder.write_image(&image, 32, 16, image::ExtendedColorType::Rgb8).unwrap();
    fs::write(&path, bytes).unwrap();
    let (pixels, shape) = read_image(&path, 1, &Limits::default()).unwrap();
    assert_eq!(shape, [1, 32, 16]);
    assert!(pixels[0] < 20 && pixels[31 * 16] > 235, "black is above white");
}

#[test]
fn normal_images_are_drawn_where_the_folder_has_no_parts() {
    let labels: Vec<u8> = (0..30).map(|i| u8::from(i >= 20)).collect();
    let draw = |seed| Split::new(SplitKind::OneClass, &labels, 30, 0, seed).unwrap();
    let split = draw(0);
    assert_eq!((split.train.len(), split.test.len()), (16, 4 + 10));
    assert!(split.train.iter().all(|&i| labels[i as usize] == 0));
    assert_ne!(split.train, draw(1).train);
    let alone = Split::new(SplitKind::NormalOnly, &labels, 30, 0, 0).unwrap();
    assert_eq!((&alone.train, alone.test.len()), (&split.train, 0));
    let alone = Split::new(SplitKind::NormalOnly, &[0; 9], 9, 0, 0).unwrap();
    assert_eq!((alone.train.len(), alone.test.len()), (9, 0));
}

#[test]
fn what_is_wrong_with_a_folder_is_said() {
    fails(Path::new("/nowhere"), "/nowhere: No such file");
    fails(folder(&["a/0.png", "b/1.png"]).path(), "no images here that can be told apart");
    fails(folder(&["train/a/0.png", "train/b/1.png"]).path(), "train: 2 folders; expected one");
    fails(folder(&["good/0.png", "ok/1.png"]).path(), "as much a folder of normal images");
    let dir = folder(&["0.png"]);
    fs::write(dir.path().join("0.png"), b"no image").unwrap();
    fails(dir.path(), "not one image in it can be read");

    // The same image twice.
    for (from, to, words) in [
        ("train/good/0.png", "test/good/9.png", "one trains while the other tests"),
        ("test/good/1.png", "test/hole/9.png", "but of another class"),
    ] {
        let dir = folder(&["train/good/0.png", "test/good/1.png", "test/hole/2.png"]);
        fs::copy(dir.path().join(from), dir.path().join(to)).unwrap();
        fails(dir.path(), words);
    }
    let dir = folder(&["good/0.png", "bad/1.png"]);
    fs::copy(dir.path().join("good/0.png"), dir.path().join("good/copy.png")).unwrap();
    let notes = Folder::new(dir.path(), None).notes(Path::new("")).unwrap();
    assert!(notes[1].contains("copy.png: the same image as"), "{notes:?}");
    assert_eq!(load(dir.path()).unwrap().len(), 2);
}

#[cfg(unix)]
#[test]
fn hostile_files_are_passed_over_and_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    let outside = folder(&["secret.png"]);
    let dir = folder(&["good/0.png", "good/1.png", "bad/2.png"]);
    let at = |name: &str| dir.path().join(name);
    symlink(outside.path().join("secret.png"), at("good/out.png")).unwrap();
    symlink(outside.path(), at("good/all")).unwrap();
    symlink(at("good"), at("good/loop")).unwrap();
    symlink("nowhere", at("good/gone.png")).unwrap();
    symlink(at("good/0.png"), at("good/zlink.png")).unwrap();
    fs::write(at("good/empty.png"), b"").unwrap();
    fs::write(at("good/.hidden.png"), b"x").unwrap();
    fs::write(at("good/readme.txt"), b"x").unwrap();
    let bomb = DynamicImage::new_luma8(9_000, 9_000);
    bomb.save_with_format(at("good/bomb.png"), ImageFormat::Png).unwrap();
    let strange = at("good").join(OsStr::from_bytes(b"\xff\n\x1b[2J.png"));
    write(&at("good/tmp.png"), 99);
    fs::rename(at("good/tmp.png"), strange).unwrap();
    let notes = Folder::new(dir.path(), None).notes(Path::new("")).unwrap();
    assert!(notes[0].contains("4 images in colour (3 good, 1 bad)"), "{notes:?}");
    for words in [
        "5 files are passed over:",
        "out.png: a symbolic link that leads out of the folder, or nowhere",
        "gone.png: a symbolic link",
        "zlink.png: the same image as",
        "empty.png: not a PNG, JPEG, BMP, TIFF or WebP file",
        "bomb.png: it has 9000×9000 pixels",
    ] {
        assert!(notes[1].contains(words), "{} should contain {words}", notes[1]);
    }
    assert!(!notes[1].contains('\x1b'));
}

#[test]
fn images_that_look_the_same_are_noted() {
    let notes = |root: &Path| Folder::new(root, None).notes(Path::new("")).unwrap();
    let dir =
        folder(&["train/good/0.png", "train/good/1.png", "test/good/2.png", "test/bad/3.png"]);
    let at = |name: &str| dir.path().join(name);
    let draw = |id: u32| {
        RgbImage::from_fn(64, 48, |x, y| Rgb([(x * id) as u8, (y * (id + 3)) as u8, (x * y) as u8]))
    };
    for (id, name) in [(1, "train/good/0.png"), (2, "train/good/1.png"), (5, "test/good/2.png")] {
        draw(id).save(at(name)).unwrap();
    }
    assert_eq!(notes(dir.path()).len(), 1);
    // Saved again, as another kind of file.
    draw(5).save(at("train/good/1.bmp")).unwrap();
    let said = notes(dir.path());
    assert!(said[1].starts_with("1 images look the same as another, such as"), "{said:?}");
    assert!(said[1].contains("train/good/1.bmp and") && said[1].contains("test/good/2.png"));
    // In one part they do no harm.
    fs::rename(at("train/good/1.bmp"), at("test/good/4.bmp")).unwrap();
    assert_eq!(notes(dir.path()).len(), 1);
}

#[test]
fn masks_are_read_with_their_images() {
    let dir =
        folder(&["train/good/0.png", "test/good/1.png", "test/hole/2.png", "test/hole/5.png"]);
    let mask = dir.path().join("ground_truth/hole/2_mask.png");
    fs::create_dir_all(mask.parent().unwrap()).unwrap();
    let (w, h) = (22, 16);
    let drawn = image::GrayImage::from_fn(w, h, |x, _| image::Luma([if x == 3 { 255 } else { 0 }]));
    drawn.save(&mask).unwrap();
    let images = load(dir.path()).unwrap();
    assert!(images.have_masks());
    let defects = |index, anomalous| {
        let mask = images.mask(index, anomalous).unwrap()?;
        assert_eq!(mask.defective.len(), mask.height * mask.width);
        Some(mask.defective.iter().filter(|&&d| d).count())
    };
    // By path, and the training part first: 0, then 1, then the holes.
    assert_eq!(defects(1, false), Some(0));
    assert_eq!(defects(2, true), Some(h as usize));
    assert_eq!(defects(3, true), None, "nobody knows where its defect is");
    // With another mask it is another image.
    let before = images.identity(2).to_vec();
    image::GrayImage::new(w, h).save(&mask).unwrap();
    assert!(images.mask(2, true).unwrap_err().to_string().contains("it has changed"));
    assert_ne!(load(dir.path()).unwrap().identity(2), before);
    image::GrayImage::new(w, h + 1).save(&mask).unwrap();
    fails(dir.path(), "2_mask.png: the mask has");
}
