//! Which layout a folder of images has, and which files it holds.

use crate::{Error, IMAGE_ENDINGS, Result, is_image_name, shown};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Names of the folder of normal images, in lower case.
const NORMAL: [&str; 5] = ["good", "normal", "ok", "0.normal", "0_normal"];
/// Folders in folders are followed this far.
const DEEPEST: usize = 16;

/// What is in a folder of images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The layout in a few words.
    pub kind: String,
    /// The classes; the first one is normal.
    pub classes: Vec<String>,
    /// The images: training part first if there is one, by class and path.
    pub files: Vec<Found>,
    /// Whether the folder says which images are for training and which for testing.
    pub has_parts: bool,
    /// Files and folders that are not read, and why.
    pub passed_over: Vec<(PathBuf, String)>,
}

/// An image file, not yet read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// An index into the classes.
    pub class: u8,
    /// Whether it is in the training part.
    pub train: bool,
    /// The image of its defects, white on black; none if there is none.
    pub mask: Option<PathBuf>,
}

impl Layout {
    /// Looks at a folder. It is one of
    ///
    /// * `train/CLASS`, `test/CLASS...`: MVTec AD and its relatives, with masks in `ground_truth` if
    ///   there are any, and the published code's `train/0.normal`, `test/0.normal`,
    ///   `test/1.abnormal`;
    /// * a folder of normal images (`good`, `normal`, `ok` or `0.normal`) beside one or more others;
    /// * images, all of them normal.
    pub fn of(root: &Path) -> Result<Self> {
        let metadata = fs::metadata(root).map_err(|e| Error::io(root, e))?;
        if !metadata.is_dir() {
            return Err(Error::malformed(root, "a file; name a folder of images"));
        }
        let real = root.canonicalize().map_err(|e| Error::io(root, e))?;
        let mut walk = Walk { real, passed_over: Vec::new() };
        let top = walk.entries(root)?;
        let parts = ["train", "test"].map(|name| root.join(name));
        let mut found = if top.folders.iter().any(|f| *f == parts[0]) {
            walk.parts(root, &parts)?
        } else if top.folders.iter().any(|folder| is_normal(folder)) {
            walk.classes(&top.folders)?
        } else if !top.images.is_empty() {
            let whole = walk.images(root, 0)?;
            let files =
                whole.into_iter().map(|path| Found { path, class: 0, train: true, mask: None });
            Self {
                kind: "images, all taken as normal".into(),
                classes: vec!["normal".into()],
                files: files.collect(),
                ..Self::default()
            }
        } else {
            return Err(Error::malformed(
                root,
                format!(
                    "no images here that can be told apart. Expected train/good and test/..., or a folder called {} beside others, or images themselves",
                    NORMAL.join(", ")
                ),
            ));
        };
        found.passed_over = walk.passed_over;
        if found.files.is_empty() {
            return Err(Error::malformed(
                root,
                format!("no image files ({})", IMAGE_ENDINGS.join(", ")),
            ));
        }
        Ok(found)
    }
}

fn is_normal(folder: &Path) -> bool {
    NORMAL.contains(&name(folder).to_lowercase().as_str())
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| shown(Path::new(name)))
}

struct Walk {
    /// The folder without symbolic links in its path: nothing outside of it is read.
    real: PathBuf,
    passed_over: Vec<(PathBuf, String)>,
}

#[derive(Default)]
struct Entries {
    folders: Vec<PathBuf>,
    images: Vec<PathBuf>,
}

impl Walk {
    /// What is in a folder, in the order of names. Hidden files are left out.
    fn entries(&mut self, folder: &Path) -> Result<Entries> {
        let mut all = Entries::default();
        let listed = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        for entry in listed.map_err(|e| Error::io(folder, e))? {
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let kind = entry.file_type().map_err(|e| Error::io(&path, e))?;
            if kind.is_dir() {
                all.folders.push(path);
            } else if !is_image_name(&path) {
                continue;
            } else if kind.is_symlink() {
                let inside =
                    path.canonicalize().is_ok_and(|to| to.starts_with(&self.real) && to.is_file());
                match inside {
                    true => all.images.push(path),
                    false => {
                        self.pass(path, "a symbolic link that leads out of the folder, or nowhere")
                    }
                }
            } else if kind.is_file() {
                all.images.push(path);
            } else {
                self.pass(path, "a pipe or a device");
            }
        }
        all.folders.sort();
        all.images.sort();
        Ok(all)
    }

    fn pass(&mut self, path: PathBuf, why: &str) {
        self.passed_over.push((path, why.into()));
    }

    /// The images in a folder and those below it.
    fn images(&mut self, folder: &Path, depth: usize) -> Result<Vec<PathBuf>> {
        let Entries { folders, mut images } = self.entries(folder)?;
        for below in folders {
            match depth < DEEPEST {
                true => images.extend(self.images(&below, depth + 1)?),
                false => self.pass(below, "folders in folders beyond this are not followed"),
            }
        }
        Ok(images)
    }

    /// `train` and `test`, each with a folder for each class.
    fn parts(&mut self, root: &Path, parts: &[PathBuf; 2]) -> Result<Layout> {
        let train = self.entries(&parts[0])?.folders;
        let test = if parts[1].is_dir() { self.entries(&parts[1])?.folders } else { Vec::new() };
        let [normal] = train.as_slice() else {
            return Err(Error::malformed(
                &parts[0],
                format!("{} folders; expected one, of normal images", train.len()),
            ));
        };
        let normal = name(normal);
        let others: BTreeSet<String> =
            test.iter().map(|f| name(f)).filter(|n| *n != normal).collect();
        let classes: Vec<String> = std::iter::once(normal).chain(others).collect();
        let truth = root.join("ground_truth");
        let masked = truth.is_dir();
        let mut files = Vec::new();
        for (folder, in_train) in
            train.iter().map(|f| (f, true)).chain(test.iter().map(|f| (f, false)))
        {
            let class = classes.iter().position(|class| *class == name(folder)).unwrap_or_default();
            for path in self.images(folder, 0)? {
                let below = path.strip_prefix(&parts[1]).ok().filter(|_| masked && class > 0);
                let mask = below.and_then(|below| mask_of(&truth.join(below)));
                files.push(Found { path, class: number(class, root)?, train: in_train, mask });
            }
        }
        let kind = format!(
            "train/{} and test/{{{}}}{}",
            classes[0],
            test.iter().map(|f| name(f)).collect::<Vec<_>>().join(", "),
            if masked { ", with masks in ground_truth" } else { "" }
        );
        Ok(Layout { kind, classes, files, has_parts: true, ..Layout::default() })
    }

    /// A folder of normal images beside others.
    fn classes(&mut self, folders: &[PathBuf]) -> Result<Layout> {
        let (normal, others): (Vec<&PathBuf>, Vec<&PathBuf>) =
            folders.iter().partition(|f| is_normal(f));
        if let [a, b, ..] = normal.as_slice() {
            return Err(Error::malformed(
                b,
                format!(
                    "beside {}, which is as much a folder of normal images; rename one",
                    shown(a)
                ),
            ));
        }
        let mut layout = Layout::default();
        for folder in normal.into_iter().chain(others) {
            let images = self.images(folder, 0)?;
            if images.is_empty() {
                continue;
            }
            let class = number(layout.classes.len(), folder)?;
            layout.classes.push(name(folder));
            let found = |path| Found { path, class, train: true, mask: None };
            layout.files.extend(images.into_iter().map(found));
        }
        layout.kind = format!(
            "{} beside {}",
            layout.classes.first().map_or("", |c| c),
            layout.classes[1.min(layout.classes.len())..].join(", ")
        );
        Ok(layout)
    }
}

fn number(class: usize, at: &Path) -> Result<u8> {
    u8::try_from(class).map_err(|_| Error::malformed(at, "more than 256 classes"))
}

/// The mask of a test image, given where it would lie with the image's own name: MVTec AD appends
/// `_mask` to the name, others do not.
fn mask_of(like: &Path) -> Option<PathBuf> {
    let stem = like.file_stem()?.to_os_string();
    let mut masked = stem.clone();
    masked.push("_mask");
    let names = [masked, stem];
    let candidates = names.iter().flat_map(|stem| {
        IMAGE_ENDINGS.iter().map(|ending| {
            let mut name = stem.clone();
            name.push(".");
            name.push(ending);
            like.with_file_name(name)
        })
    });
    candidates.into_iter().find(|path| path.is_file())
}
