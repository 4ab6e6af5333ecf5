//! How well maps of anomaly scores find the defective pixels.

use crate::{Error, Result, precision_recall, roc};
use serde::{Deserialize, Serialize};

/// The false-positive rate up to which MVTec AD's authors measure the per-region overlap.
pub const PRO_LIMIT: f64 = 0.3;

/// The scores and the defects of one image, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a> {
    /// The score of each pixel: higher is more anomalous, any finite number.
    pub scores: &'a [f32],
    /// True for each defective pixel. An image without any is normal.
    pub mask: &'a [bool],
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

/// How well maps find the defective pixels of all images together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Localisation {
    /// Area under the ROC curve of all pixels, in [0, 1]; 0.5 for chance.
    pub auroc: f64,
    /// Average precision of all pixels, in (0, 1].
    pub auprc: f64,
    /// Area under the curve of the per-region overlap (PRO) against the false-positive rate, up to
    /// a limit and divided by it. In [0, 1].
    pub aupro: f64,
}

/// Measures how well maps find defects. The images may differ in size.
///
/// The AUROC and the average precision are those of [`auroc`](crate::auroc) and
/// [`average_precision`](crate::average_precision), with pixels for images.
///
/// The AUPRO is that of Bergmann et al. (The MVTec Anomaly Detection Dataset, IJCV 2021) and of
/// their `mvtec_ad_evaluation`. A region is a set of defective pixels that touch, also at corners.
/// The overlap at a threshold is the mean, over the regions of all images, of the share of a
/// region's pixels at or above it. The false-positive rate is the share of all defect-free pixels
/// there. Equal scores cross the threshold together; between thresholds the curve is linear.
/// `pro_limit` is the rate, in (0, 1], at which the area ends: [`PRO_LIMIT`] unless there is a
/// reason.
///
/// Errors: a map whose sizes disagree or that has a score that is not finite, no pixels at all, no
/// defective pixel, or no defect-free one. Memory: 4 bytes for each defect-free pixel, and about
/// 100 for each defective one.
pub fn localisation(maps: &[Map<'_>], pro_limit: f64) -> Result<Localisation> {
    if !(pro_limit > 0.0 && pro_limit <= 1.0) {
        let given = format!("a limit of {pro_limit} was given: use a number in (0, 1]");
        return Err(Error::Parameter(given));
    }
    let groups = groups(maps)?;
    let counts = || groups.iter().map(|g| (g.normal, g.defective));
    Ok(Localisation {
        auroc: roc::area(counts()),
        auprc: precision_recall::average(counts()),
        aupro: aupro(&groups, pro_limit),
    })
}

/// Pixels of one score, or defect-free ones of several that no defective pixel lies between: they
/// add nothing to any of the areas but their number.
struct Group {
    normal: usize,
    defective: usize,
    /// The shares of regions that the defective pixels are, summed.
    regions: f64,
}

/// Groups of pixels, highest scores first.
fn groups(maps: &[Map<'_>]) -> Result<Vec<Group>> {
    for (image, map) in maps.iter().enumerate() {
        map.check().map_err(|problem| Error::Map { image, problem })?;
    }
    let pixels: usize = maps.iter().map(|m| m.mask.len()).sum();
    let defective = maps.iter().flat_map(|m| m.mask).filter(|&&d| d).count();
    if pixels == 0 {
        return Err(Error::Empty);
    }
    if defective == 0 || defective == pixels {
        return Err(Error::SingleClass { count: pixels, anomalous: defective > 0 });
    }
    let mut normal = Vec::with_capacity(pixels - defective);
    // With the size of the pixel's region.
    let mut defects = Vec::with_capacity(defective);
    for map in maps {
        let free = map.scores.iter().zip(map.mask).filter(|(_, defect)| !**defect);
        normal.extend(free.map(|(&score, _)| key(score)));
        map.for_each_region(|region| {
            defects.extend(region.iter().map(|&pixel| (key(map.scores[pixel]), region.len())));
        });
    }
    normal.sort_unstable();
    // With the sizes in order too, sums do not depend on the order of the images.
    defects.sort_unstable();
    let mut groups = Vec::new();
    let mut rest = normal.as_slice();
    let mut take = |upto: u32| {
        let count = rest.iter().take_while(|&&key| key <= upto).count();
        rest = &rest[count..];
        count
    };
    for tied in defects.chunk_by(|a, b| a.0 == b.0) {
        let key = tied[0].0;
        // No finite score has the key 0.
        let higher = take(key - 1);
        if higher > 0 {
            groups.push(Group { normal: higher, defective: 0, regions: 0.0 });
        }
        let regions = tied.iter().map(|&(_, size)| 1.0 / size as f64).sum();
        groups.push(Group { normal: take(key), defective: tied.len(), regions });
    }
    groups.push(Group { normal: take(u32::MAX), defective: 0, regions: 0.0 });
    Ok(groups)
}

fn aupro(groups: &[Group], limit: f64) -> f64 {
    let normal: usize = groups.iter().map(|g| g.normal).sum();
    // The number of regions, but with the rounding of the sums that are divided by it.
    let regions = groups.iter().fold(0.0, |sum, g| sum + g.regions);
    let end = limit * normal as f64;
    let (mut x, mut y, mut area) = (0.0, 0.0, 0.0);
    for group in groups {
        let (dx, dy) = (group.normal as f64, group.regions);
        let width = (end - x).min(dx);
        if width > 0.0 {
            area += width * (y + dy * (width / dx) / 2.0);
        }
        (x, y) = (x + dx, y + dy);
    }
    area / (end * regions)
}

impl Map<'_> {
    fn check(&self) -> Result<(), String> {
        let Self { scores, mask, height, width } = *self;
        if height.checked_mul(width) != Some(scores.len()) || mask.len() != scores.len() {
            return Err(format!(
                "{} scores and a mask of {} pixels for an image of {height} × {width}",
                scores.len(),
                mask.len()
            ));
        }
        match scores.iter().position(|s| !s.is_finite()) {
            None => Ok(()),
            Some(index) => Err(format!(
                "the score in row {}, column {} is {}: scores must be finite",
                index / width,
                index % width,
                scores[index]
            )),
        }
    }

    /// Calls `found` with the pixels of each region.
    fn for_each_region(&self, mut found: impl FnMut(&[usize])) {
        let mut open = self.mask.to_vec();
        let mut region = Vec::new();
        for start in 0..open.len() {
            if !std::mem::take(&mut open[start]) {
                continue;
            }
            region.clear();
            region.push(start);
            let mut next = 0;
            while let Some(&pixel) = region.get(next) {
                next += 1;
                let (row, column) = (pixel / self.width, pixel % self.width);
                for row in row.saturating_sub(1)..(row + 2).min(self.height) {
                    for column in column.saturating_sub(1)..(column + 2).min(self.width) {
                        let near = row * self.width + column;
                        if std::mem::take(&mut open[near]) {
                            region.push(near);
                        }
                    }
                }
            }
            found(&region);
        }
    }
}

/// An integer that is smaller the higher the score is, and the same for 0 and −0.
fn key(score: f32) -> u32 {
    // The bits rise with the distance from 0.
    let bits = (score + 0.0).to_bits();
    if score < 0.0 { bits } else { (u32::MAX >> 1) - bits }
}
