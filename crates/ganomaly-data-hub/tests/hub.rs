//! What comes from the Hugging Face hub: small data sets that lie in the hub's cache.

use ganomaly_data::datasets::{Cifar10, Mnist};
use ganomaly_data::{Dataset, FetchOptions, Progress, fetch};
use image::{GrayImage, ImageFormat, RgbImage};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const SCHEMA: &str = "message schema {
    optional group image { optional binary bytes; optional binary path (UTF8); }
    optional int64 label;
}";

/// The data sets, with their repositories and configurations on the hub.
const SETS: [(&str, &str, &str); 3] = [
    ("hub-mnist", "ylecun--mnist", "mnist"),
    ("hub-fashion-mnist", "zalando-datasets--fashion_mnist", "fashion_mnist"),
    ("hub-cifar10", "cifar10", "plain_text"),
];

/// Byte `i` of image `n`: no two rows or columns are alike.
fn byte(n: usize, i: usize) -> u8 {
    (n * 31 + i * 7 + i / 13) as u8
}

/// Image `n` as PNG. `byte` counts through the channels, then the rows, then the columns.
fn png(n: usize, [channels, side, _]: [usize; 3]) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    let at = |c: usize, x: u32, y: u32| byte(n, (c * side + y as usize) * side + x as usize);
    let side = side as u32;
    if channels == 1 {
        let image = GrayImage::from_fn(side, side, |x, y| [at(0, x, y)].into());
        image.write_to(&mut out, ImageFormat::Png).unwrap();
    } else {
        let image = RgbImage::from_fn(side, side, |x, y| [0, 1, 2].map(|c| at(c, x, y)).into());
        image.write_to(&mut out, ImageFormat::Png).unwrap();
    }
    out.into_inner()
}

fn write_parquet(path: &Path, images: Vec<Vec<u8>>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let labels: Vec<i64> = (0..images.len() as i64).map(|i| i % 10).collect();
    let images: Vec<ByteArray> = images.into_iter().map(ByteArray::from).collect();
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let file = fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let levels = |level| vec![level; labels.len()];
    for (values, level) in [(&images[..], 2), (&[], 1)] {
        let mut column = group.next_column().unwrap().unwrap();
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(values, Some(&levels(level)), None).unwrap();
        column.close().unwrap();
    }
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&labels, Some(&levels(1)), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

/// Writes what the hub's client would have downloaded: 10 + 4 images, or damaged ones.
fn write_cache(cache: &Path, damaged: bool) {
    let commit = "0123456789".repeat(4);
    for (dataset, (_, repository, config)) in ganomaly_data_hub::datasets().iter().zip(SETS) {
        let shape = dataset.describe(cache).unwrap().image_shape;
        let folder = cache.join(format!("datasets--{repository}"));
        fs::create_dir_all(folder.join("refs/refs/convert")).unwrap();
        fs::write(folder.join("refs/refs/convert/parquet"), &commit).unwrap();
        for (part, images) in [("train", 0..10), ("test", 10..14)] {
            let path = folder.join(format!("snapshots/{commit}/{config}/{part}/0000.parquet"));
            let image = |n| {
                if damaged { b"no image".to_vec() } else { png(n, shape) }
            };
            write_parquet(&path, images.map(image).collect());
        }
    }
}

/// Runs the test again, in a process whose hub client sees this cache and no network. Returns
/// whether this is that process.
fn is_inner(test: &str, cache: impl FnOnce(&Path)) -> bool {
    if std::env::var_os("HF_HUB_CACHE").is_some_and(|c| Path::new(&c).join("of a test").exists()) {
        return true;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("of a test"), "").unwrap();
    cache(dir.path());
    let mut inner = Command::new(std::env::current_exe().unwrap());
    inner.args(["--exact", test]).env("HF_HUB_CACHE", dir.path());
    inner.env("HF_ENDPOINT", "http://127.0.0.1:9").env("NO_PROXY", "127.0.0.1");
    let output = inner.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    false
}

#[test]
fn images_of_the_hub_are_written_to_files_and_upright() {
    let test = "images_of_the_hub_are_written_to_files_and_upright";
    if !is_inner(test, |cache| write_cache(cache, false)) {
        return;
    }
    let stricts: [&dyn Dataset; 3] = [&Mnist::digits(), &Mnist::fashion(), &Cifar10];
    for (dataset, strict) in ganomaly_data_hub::datasets().iter().zip(stricts) {
        let dir = tempfile::tempdir().unwrap();
        let options = FetchOptions::default();
        let (mut done, mut present) = (0, 0);
        let folder = fetch(dataset, dir.path(), &options, &mut |event| {
            done += usize::from(matches!(event, Progress::Done(_)));
        });
        let images = strict.load(&folder.unwrap()).unwrap();
        assert_eq!((images.len(), images.official_train()), (14, 10));
        assert_eq!(images.labels(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3]);
        for n in 0..14 {
            let image = images.image(n).unwrap();
            let expected: Vec<u8> = (0..image.len()).map(|i| byte(n, i)).collect();
            assert_eq!(image, expected, "{}: image {n}", dataset.name());
        }
        assert_eq!(done, dataset.local_files(dir.path()).unwrap().len());
        fetch(dataset, dir.path(), &options, &mut |event| {
            present += usize::from(matches!(event, Progress::Present(_)));
        })
        .unwrap();
        assert_eq!(present, done, "good files are not fetched again");
        if dataset.name() != "hub-cifar10" {
            assert_eq!(dataset.load(dir.path()).unwrap(), images);
        }
    }
}

#[test]
fn damaged_downloads_and_a_dead_hub_are_errors() {
    let test = "damaged_downloads_and_a_dead_hub_are_errors";
    if !is_inner(test, |cache| {
        write_cache(cache, true);
        // Nothing of this one is in the cache.
        fs::remove_dir_all(cache.join("datasets--cifar10")).unwrap();
    }) {
        return;
    }
    for dataset in ganomaly_data_hub::datasets() {
        let dir = tempfile::tempdir().unwrap();
        let error = fetch(&dataset, dir.path(), &FetchOptions::default(), &mut |_| {});
        let message = error.unwrap_err().to_string();
        let name = dataset.name();
        let folder = dir.path().join(name).join(name.trim_start_matches("hub-"));
        let cause = if name == "hub-cifar10" { "Api error" } else { "candle-datasets panicked" };
        for words in [name, cause, "HF_ENDPOINT", "HF_HUB_CACHE", &folder.display().to_string()] {
            assert!(message.contains(words), "{message:?} should contain {words:?}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "something was left behind");
    }
}
