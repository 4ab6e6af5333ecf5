//! Batches of the synthetic set, and a mosaic of its classes as `glyphs.png` in the given folder.
//!
//!     cargo run -p ganomaly-data --example batches -- /tmp

use candle_core::Device;
use ganomaly_data::{
    BatchOptions, Batches, Dataset, Resize, Split, SplitKind, Transform, datasets::Synthetic,
};
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dataset = Synthetic::colour();
    let images = Arc::new(dataset.load("data".as_ref())?);
    let split =
        Split::new(SplitKind::LeaveOneClassOut, images.labels(), images.official_train(), 0, 0)?;
    let transform = Transform {
        image_size: 32,
        resize: Resize::Crop,
        normalization: dataset.reference_normalization(1),
    };
    let options = BatchOptions {
        batch_size: 64,
        drop_last: true,
        transform,
        augment: None,
        device: Device::Cpu,
        prefetch: 2,
    };
    let batches = Batches::new(images.clone(), split.train, options)?;
    println!("{} batches of shape {:?}", batches.len(), [64, 3, 32, 32]);

    if let Some(folder) = std::env::args().nth(1) {
        let (columns, side) = (20u32, 32u32);
        let mut mosaic = image::RgbImage::new(columns * side, columns * side / 2);
        for tile in 0..columns * columns / 2 {
            let image = images.image(tile as usize).unwrap_or_default();
            for i in 0..side * side {
                let pixel = [0, 1, 2].map(|c| image[(c * side * side + i) as usize]);
                let (x, y) = (tile % columns * side + i % side, tile / columns * side + i / side);
                mosaic.put_pixel(x, y, image::Rgb(pixel));
            }
        }
        mosaic.save(std::path::Path::new(&folder).join("glyphs.png"))?;
    }
    Ok(())
}
