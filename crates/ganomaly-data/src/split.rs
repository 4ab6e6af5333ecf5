//! Splits of images into training and test sets.

use crate::{Error, Purpose, Result, numpy};
use std::fmt;
use std::str::FromStr;

/// How normal and anomalous images are divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SplitKind {
    /// One class is anomalous. Normal images of both official parts are pooled and shuffled: 80 %
    /// for training, 20 % for testing. All anomalies are test images.
    #[default]
    LeaveOneClassOut,
    /// One class is anomalous. Normal images of the official training part are for training, those
    /// of the test part for testing. All anomalies are test images.
    Official,
    /// One class is normal. Its images in the official training part are for training, the whole
    /// official test part for testing.
    OneClass,
    /// As [`Self::LeaveOneClassOut`], but the training set and the normal test images come from two
    /// shuffles, so that four fifths of the latter are training images: the published code of EGBAD
    /// and AnoGAN. No result for a claim; for comparison with theirs.
    Overlapping,
    /// As [`Self::OneClass`], and nothing is tested: for a detector that is used rather than judged.
    /// Where there are no anomalies, all normal images are for training.
    NormalOnly,
}

const NAMES: [(SplitKind, &str); 5] = [
    (SplitKind::NormalOnly, "normal-only"),
    (SplitKind::LeaveOneClassOut, "leave-one-class-out"),
    (SplitKind::Official, "official"),
    (SplitKind::OneClass, "one-class"),
    (SplitKind::Overlapping, "overlapping"),
];

impl fmt::Display for SplitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for SplitKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = NAMES.map(|(_, name)| name);
        NAMES
            .iter()
            .find(|(_, n)| *n == name)
            .map(|(kind, _)| *kind)
            .ok_or_else(|| format!("unknown split {name:?}: use one of {names:?}"))
    }
}

/// Images by their position in the data set, official training part first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Normal images to train on.
    pub train: Vec<u32>,
    /// Images to test on, normal ones first.
    pub test: Vec<u32>,
    /// For each test image, whether it is anomalous.
    pub test_is_anomaly: Vec<bool>,
}

impl Split {
    /// The split of the given kind with `class` as the anomalous (for `one-class`: normal) class.
    /// Only `leave-one-class-out` and `overlapping` depend on `seed`, and `one-class` where there is
    /// no official test part.
    pub fn new(
        kind: SplitKind,
        labels: &[u8],
        official_train: usize,
        class: u8,
        seed: u64,
    ) -> Result<Self> {
        match kind {
            SplitKind::LeaveOneClassOut => {
                Self::leave_one_class_out(labels, official_train, class, seed)
            }
            SplitKind::Official => Self::official(labels, official_train, class),
            SplitKind::OneClass => Self::one_class(labels, official_train, class, seed),
            SplitKind::Overlapping => Self::overlapping(labels, official_train, class, seed),
            SplitKind::NormalOnly => {
                let (train, _, _) = Self::one_class_parts(labels, official_train, class, seed)?;
                Ok(Self { train, test: Vec::new(), test_is_anomaly: Vec::new() })
            }
        }
    }

    /// As in the published code with a seed (lib/data.py, `get_*_anomaly_dataset` with
    /// `manualseed`): normal images of both parts are pooled in file order and shuffled by NumPy's
    /// legacy generator; the first int(0.8·n) are the training set. The test set is the rest, then
    /// the anomalies of the training part, then those of the test part.
    pub fn leave_one_class_out(
        labels: &[u8],
        official_train: usize,
        abnormal: u8,
        seed: u64,
    ) -> Result<Self> {
        let (mut normal, anomalous) = divide(labels, official_train, |l| l != abnormal)?;
        numpy::shuffle(&mut normal, &mut numpy::generator(numpy_seed(seed)?));
        let rest = normal.split_off(normal.len() * 4 / 5);
        Self::build(normal, rest, anomalous)
    }

    /// As in EGBAD's published code (data/mnist.py, whose seed is 42): the function that draws both
    /// parts is called once for each, on one generator.
    pub fn overlapping(
        labels: &[u8],
        official_train: usize,
        abnormal: u8,
        seed: u64,
    ) -> Result<Self> {
        let mut rng = numpy::generator(numpy_seed(seed)?);
        let (normal, anomalous) = divide(labels, official_train, |l| l != abnormal)?;
        let train = normal.len() * 4 / 5;
        let mut draw = || {
            let mut normal = normal.clone();
            numpy::shuffle(&mut normal, &mut rng);
            let rest = normal.split_off(train);
            // It then shuffles the test set, whose order means nothing here.
            numpy::shuffle(&mut [rest.clone(), anomalous.clone()].concat(), &mut rng);
            (normal, rest)
        };
        let ((train, _), (_, rest)) = (draw(), draw());
        Self::build(train, rest, anomalous)
    }

    /// As in the published code without a seed: nothing is pooled or shuffled.
    pub fn official(labels: &[u8], official_train: usize, abnormal: u8) -> Result<Self> {
        let (mut normal, anomalous) = divide(labels, official_train, |l| l != abnormal)?;
        let test_normal =
            normal.split_off(normal.partition_point(|&i| (i as usize) < official_train));
        Self::build(normal, test_normal, anomalous)
    }

    /// One class is normal, all others are anomalous; anomalies of the training part are not used.
    /// Without a test part, normal images are divided as in [`Self::leave_one_class_out`], and all
    /// anomalies are test images.
    pub fn one_class(
        labels: &[u8],
        official_train: usize,
        normal_class: u8,
        seed: u64,
    ) -> Result<Self> {
        let (train, normal, anomalous) =
            Self::one_class_parts(labels, official_train, normal_class, seed)?;
        Self::build(train, normal, anomalous)
    }

    /// Training images, normal test images, anomalies.
    fn one_class_parts(
        labels: &[u8],
        official_train: usize,
        normal_class: u8,
        seed: u64,
    ) -> Result<(Vec<u32>, Vec<u32>, Vec<u32>)> {
        let (mut normal, mut anomalous) = divide(labels, official_train, |l| l == normal_class)?;
        let test_normal = if official_train < labels.len() {
            anomalous.retain(|&i| i as usize >= official_train);
            normal.split_off(normal.partition_point(|&i| (i as usize) < official_train))
        } else if anomalous.is_empty() {
            Vec::new()
        } else {
            numpy::shuffle(&mut normal, &mut numpy::generator(numpy_seed(seed)?));
            normal.split_off(normal.len() * 4 / 5)
        };
        Ok((normal, test_normal, anomalous))
    }

    fn build(train: Vec<u32>, normal: Vec<u32>, anomalous: Vec<u32>) -> Result<Self> {
        for (what, list) in [
            ("no normal images are left to train on", &train),
            ("no normal images are left to test on", &normal),
            ("there are no anomalous images to test on", &anomalous),
        ] {
            if list.is_empty() {
                return Err(Error::Invalid(format!("the split cannot be made: {what}")));
            }
        }
        let test_is_anomaly = [vec![false; normal.len()], vec![true; anomalous.len()]].concat();
        Ok(Self { train, test: [normal, anomalous].concat(), test_is_anomaly })
    }

    /// Keeps the first `train` training images, and `test` randomly drawn test images in their
    /// original order. Normal images and anomalies keep their proportion, with at least one of
    /// each.
    pub fn limit(mut self, train: Option<usize>, test: Option<usize>, seed: u64) -> Self {
        self.train.truncate(train.unwrap_or(usize::MAX));
        let Some(test) = test.filter(|&t| t < self.test.len()) else { return self };
        let anomalies = self.test_is_anomaly.iter().filter(|&&a| a).count();
        let normals = self.test.len() - anomalies;
        let keep_anomalies = (test * anomalies / self.test.len()).clamp(1, anomalies);
        let keep_normals = test.saturating_sub(keep_anomalies).clamp(1, normals);
        let draw = |from: usize, count: usize, keep: usize| {
            let positions: Vec<u32> = (from as u32..(from + count) as u32).collect();
            let mut kept =
                crate::shuffled(&positions, seed, Purpose::TEST_LIMIT, u64::from(from > 0));
            kept.truncate(keep);
            kept.sort_unstable();
            kept
        };
        let kept =
            [draw(0, normals, keep_normals), draw(normals, anomalies, keep_anomalies)].concat();
        self.test_is_anomaly = kept.iter().map(|&p| self.test_is_anomaly[p as usize]).collect();
        self.test = kept.iter().map(|&p| self.test[p as usize]).collect();
        self
    }
}

fn numpy_seed(seed: u64) -> Result<u32> {
    u32::try_from(seed).map_err(|_| {
        Error::Invalid(format!("seed = {seed}: NumPy's generator takes seeds below 2^32"))
    })
}

/// Positions of normal and of other images, in file order.
fn divide(
    labels: &[u8],
    official_train: usize,
    is_normal: impl Fn(u8) -> bool,
) -> Result<(Vec<u32>, Vec<u32>)> {
    if official_train > labels.len() || u32::try_from(labels.len()).is_err() {
        return Err(Error::Invalid(format!(
            "{official_train} training images of {} in all",
            labels.len()
        )));
    }
    Ok((0..labels.len() as u32).partition(|&i| is_normal(labels[i as usize])))
}
