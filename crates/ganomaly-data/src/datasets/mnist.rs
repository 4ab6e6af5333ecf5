//! MNIST and Fashion-MNIST as IDX files, plain or gz.

use crate::dataset::{find, folders, missing};
use crate::read::{Source, append, expect_end, open, sha256};
use crate::{
    About, Checksum, Dataset, Description, Error, LabeledImages, Limits, Normalization, RemoteFile,
    Result, Verification, shown,
};
use std::path::{Path, PathBuf};

const SIDE: usize = 28;

/// The files of either set, with the number of their entries.
const PARTS: [(&str, usize); 4] = [
    ("train-images-idx3-ubyte", 60_000),
    ("train-labels-idx1-ubyte", 60_000),
    ("t10k-images-idx3-ubyte", 10_000),
    ("t10k-labels-idx1-ubyte", 10_000),
];

/// What the two sets do not share.
#[derive(Debug)]
struct Set {
    name: &'static str,
    classes: [&'static str; 10],
    about: About,
    mirrors: [&'static str; 2],
    /// At most this many bytes of a gz file are downloaded.
    max_bytes: u64,
    /// Of the unpacked official files, in the order of [`PARTS`]: it does not depend on the
    /// compression.
    sha256: [&'static str; 4],
    /// Mean and standard deviation.
    reference: (f32, f32),
    /// Whether the files may lie in the data folder itself. Only one set's can, as both sets' files
    /// have the same names.
    loose: bool,
}

static DIGITS: Set = Set {
    name: "mnist",
    classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    about: About {
        description: "70,000 handwritten digits, 28×28 grey",
        homepage: "http://yann.lecun.com/exdb/mnist/",
        licence: "none stated by its authors; widely distributed as CC BY-SA 3.0",
        citation: "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, 1998",
    },
    mirrors: [
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ],
    max_bytes: 16 << 20,
    sha256: [
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ],
    reference: (0.1307, 0.3081),
    loose: true,
};

static FASHION: Set = Set {
    name: "fashion-mnist",
    // Folders of runs are named after these.
    classes: [
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle-boot",
    ],
    about: About {
        description: "70,000 images of ten kinds of clothing, 28×28 grey",
        homepage: "https://github.com/zalandoresearch/fashion-mnist",
        licence: "MIT",
        citation: "Xiao, Rasul, Vollgraf: Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms, 2017",
    },
    mirrors: [
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ],
    max_bytes: 32 << 20,
    sha256: [
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ],
    reference: (0.2860, 0.3530),
    loose: false,
};

/// MNIST or Fashion-MNIST: 60,000 + 10,000 grey images of 28×28 of ten classes.
#[derive(Clone, Copy, Debug)]
pub struct Mnist(&'static Set);

impl Mnist {
    /// `mnist`: handwritten digits.
    pub fn digits() -> Self {
        Self(&DIGITS)
    }

    /// `fashion-mnist`: images of clothing. Its files have the same names as those of MNIST, so
    /// they are read from `data_dir/fashion-mnist/` only, never from `data_dir` itself.
    pub fn fashion() -> Self {
        Self(&FASHION)
    }

    /// As [`Dataset::load`], with the given limits.
    pub fn load_within(&self, data_dir: &Path, limits: &Limits) -> Result<LabeledImages> {
        let paths = self.paths(data_dir)?;
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        let train = read_idx(&paths[0], &[SIDE, SIDE], 70_000, limits, &mut pixels)?;
        read_labels(&paths[1], train, &paths[0], limits, &mut labels)?;
        let test = read_idx(&paths[2], &[SIDE, SIDE], 0, limits, &mut pixels)?;
        read_labels(&paths[3], test, &paths[2], limits, &mut labels)?;
        LabeledImages::new(pixels, labels, self.describe(data_dir)?, train)
    }

    /// The four files, in the order of [`PARTS`].
    fn paths(self, data_dir: &Path) -> Result<Vec<PathBuf>> {
        let mut folders = folders(data_dir, self.name());
        folders.truncate(if self.0.loose { 2 } else { 1 });
        let found: Vec<Option<PathBuf>> = PARTS
            .iter()
            .map(|(name, _)| {
                let dotted = name.replace("-idx", ".idx");
                let names = [*name, &dotted].map(|n| [n.to_string(), format!("{n}.gz")]);
                find(&folders, &names.concat())
            })
            .collect();
        let lacking: Vec<String> = PARTS
            .iter()
            .zip(&found)
            .filter(|(_, path)| path.is_none())
            .map(|((name, _), _)| format!("{name}[.gz]"))
            .collect();
        if lacking.is_empty() {
            Ok(found.into_iter().flatten().collect())
        } else {
            Err(missing(self.name(), lacking, folders))
        }
    }
}

impl Dataset for Mnist {
    fn name(&self) -> &str {
        self.0.name
    }

    fn describe(&self, _data_dir: &Path) -> Result<Description> {
        Ok(Description::new(self.0.classes, [1, SIDE, SIDE]))
    }

    fn about(&self) -> About {
        self.0.about.clone()
    }

    fn files(&self) -> Vec<RemoteFile> {
        PARTS
            .iter()
            .zip(self.0.sha256)
            .map(|((name, _), sha256)| RemoteFile {
                name: format!("{name}.gz"),
                mirrors: self.0.mirrors.map(String::from).to_vec(),
                max_bytes: self.0.max_bytes,
                checksum: Checksum::UnpackedSha256(sha256),
            })
            .collect()
    }

    /// The usual values, which are those of the training images. They map MNIST's 0 to −0.42 and
    /// 255 to 2.82, and Fashion-MNIST's to −0.81 and 2.02; a generator that ends in tanh cannot
    /// reach values above 1.
    fn reference_normalization(&self, channels: usize) -> Normalization {
        let (mean, std) = self.0.reference;
        Normalization::uniform(channels, mean, std)
    }

    fn load(&self, data_dir: &Path) -> Result<LabeledImages> {
        self.load_within(data_dir, &Limits::from_env()?)
    }

    fn local_files(&self, data_dir: &Path) -> Result<Vec<PathBuf>> {
        self.paths(data_dir)
    }

    fn verify(&self, data_dir: &Path) -> Result<Verification> {
        let limits = Limits::from_env()?;
        let images = self.load_within(data_dir, &limits)?;
        let mut differing = Vec::new();
        for (((_, count), path), official) in
            PARTS.iter().zip(self.paths(data_dir)?).zip(self.0.sha256)
        {
            let there = sha256(open(&path, &limits)?.reader, &path)?;
            if there != official {
                let of = [&DIGITS, &FASHION].into_iter().find(|s| s.sha256.contains(&&*there));
                let of = of.map_or(String::new(), |set| format!("it is of {}; ", set.name));
                let path = shown(&path);
                differing.push(format!("{path} ({of}the official one has {count} entries)"));
            }
        }
        Ok(if differing.is_empty() {
            Verification::Official
        } else {
            let list = differing.join(", ");
            Verification::Partial(format!(
                "{} images; other than the official files: {list}",
                images.len()
            ))
        })
    }
}

/// Appends the items of an IDX file of bytes (magic 0, 0, 8, rank; then each dimension as
/// big-endian u32) and returns their number. `dims` are all dimensions but the first. Memory is
/// reserved for `expected` items, which is a constant of the data set, never a number from the
/// file.
fn read_idx(
    path: &Path,
    dims: &[usize],
    expected: usize,
    limits: &Limits,
    buffer: &mut Vec<u8>,
) -> Result<usize> {
    let Source { mut reader, most, exact } = open(path, limits)?;
    let mut header = Vec::new();
    append(&mut *reader, 4 * (dims.len() + 2), &mut header, path)?;
    let words: Vec<u32> =
        header.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]])).collect();
    let magic = 0x0800 + dims.len() as u32 + 1;
    if words[0] != magic {
        return Err(Error::malformed(
            path,
            format!(
                "not an IDX file of the kind wanted: its magic number is {:#010x}, expected {magic:#010x}",
                words[0]
            ),
        ));
    }
    if words[2..].iter().zip(dims).any(|(&got, &wanted)| got as usize != wanted) {
        return Err(Error::malformed(
            path,
            format!("its images are {:?}, expected {dims:?}", &words[2..]),
        ));
    }
    let count = words[1] as usize;
    if count == 0 || count > limits.images {
        return Err(Error::malformed(
            path,
            format!(
                "its header promises {count} entries; 1 to {} are taken, more with GANOMALY_MAX_PICTURES",
                limits.images
            ),
        ));
    }
    let each: usize = dims.iter().product();
    let wanted = count.saturating_mul(each) as u64;
    let most = most.saturating_sub(header.len() as u64);
    if most < wanted {
        return Err(Error::malformed(
            path,
            if exact {
                format!("the file ends after {most} of {wanted} bytes")
            } else {
                format!(
                    "its header promises {wanted} bytes, and no more than {most} can be packed into it"
                )
            },
        ));
    }
    // Reserves memory for the whole official set at once, so that the buffer is neither copied nor
    // left half empty.
    buffer.reserve_exact(expected * each);
    append(&mut *reader, count * each, buffer, path)?;
    expect_end(&mut *reader, path)?;
    Ok(count)
}

fn read_labels(
    path: &Path,
    count: usize,
    images: &Path,
    limits: &Limits,
    labels: &mut Vec<u8>,
) -> Result<()> {
    let before = labels.len();
    let got = read_idx(path, &[], 0, limits, labels)?;
    if got != count {
        return Err(Error::malformed(
            path,
            format!("{got} labels, but {} holds {count} images", shown(images)),
        ));
    }
    match labels[before..].iter().position(|&l| l > 9) {
        None => Ok(()),
        Some(at) => Err(Error::malformed(
            path,
            format!("entry {at} has label {}, expected 0 to 9", labels[before + at]),
        )),
    }
}
