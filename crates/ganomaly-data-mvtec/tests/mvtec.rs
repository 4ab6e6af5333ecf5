//! A small folder in MVTec AD's layout.

use ganomaly_data::{Dataset, Part, Verification};
use ganomaly_data_mvtec::{CATEGORIES, Mvtec};
use image::{GrayImage, Luma};
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn draw(path: &Path, value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    GrayImage::from_fn(8, 8, |x, y| Luma([value.wrapping_mul((x + 8 * y) as u8)]))
        .save(path)
        .unwrap();
}

fn part(root: Option<&Path>, category: Option<&str>) -> Arc<dyn Dataset> {
    let root = root.map(|root| root.to_str().unwrap().to_string());
    Mvtec::default()
        .part(&Part { root, channels: None, category: category.map(String::from) })
        .unwrap()
}

#[test]
fn a_category_has_its_images_and_masks() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join("mvtec/bottle").join(path);
    for (value, path) in [
        (1, "train/good/000.png"),
        (2, "train/good/001.png"),
        (3, "test/good/000.png"),
        (5, "test/broken_large/000.png"),
        (7, "ground_truth/broken_large/000_mask.png"),
    ] {
        draw(&at(path), value);
    }
    // In the data folder, or where root says.
    let mvtec = dir.path().join("mvtec");
    for (data_dir, root) in [(dir.path(), None), (Path::new("/nowhere"), Some(mvtec.as_path()))] {
        let bottle = part(root, Some("bottle"));
        let description = bottle.describe(data_dir).unwrap();
        assert_eq!(description.class_names, ["good", "broken_large"]);
        assert_eq!(description.normal_class.as_deref(), Some("good"));
        let images = bottle.load(data_dir).unwrap();
        assert_eq!((images.len(), images.official_train(), images.shape()), (4, 2, [1, 8, 8]));
        assert!(images.mask(2, true).unwrap().unwrap().defective.contains(&true));
        let notes = bottle.notes(data_dir).unwrap();
        assert!(
            notes[0].starts_with("bottle: train/good") && notes[0].contains("not for commercial")
        );
        let Verification::Partial(how) = bottle.verify(data_dir).unwrap() else {
            panic!("official?")
        };
        assert_eq!(how, "bottle has 2 training and 2 test images, and should have 209 and 83");
    }
    let all = part(Some(&mvtec), None).verify(Path::new("")).unwrap();
    assert!(matches!(all, Verification::Partial(how) if how.starts_with("bottle has 2")));
    assert_eq!(Mvtec::default().verify(Path::new("/nowhere")).unwrap(), Verification::Own);
}

#[test]
fn what_is_missing_is_said() {
    let fails = |category, words: &str| {
        let error = part(None, category).load(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.contains(words), "{error} should contain {words}");
    };
    fails(None, "dataset = \"mvtec\": give a category: bottle, cable");
    fails(Some("mug"), "category = \"mug\": use one of bottle");
    fails(
        Some("bottle"),
        "no folder bottle in /nowhere/mvtec or /nowhere. Nothing downloads MVTec AD",
    );
    let sum = |of: fn(&(&str, usize, usize)) -> usize| CATEGORIES.iter().map(of).sum::<usize>();
    assert_eq!((sum(|c| c.1), sum(|c| c.2)), (3629, 1725), "as the paper has them");
}
