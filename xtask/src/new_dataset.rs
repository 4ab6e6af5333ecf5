//! `cargo xtask new-dataset NAME`: a crate with a data set of its own, which is a whole program.

use crate::ganomaly;
use crate::print::out;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data set's name, as configs write it: lower-case letters, digits and hyphens.
    name: String,
    /// Write the crate into this folder, outside of the workspace; default:
    /// crates/ganomaly-data-NAME.
    #[arg(long)]
    outside: Option<PathBuf>,
}

/// The crate's files.
const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("new_dataset/Cargo.toml.template")),
    ("README.md", include_str!("new_dataset/README.md.template")),
    ("experiment.toml", include_str!("new_dataset/experiment.toml.template")),
    ("src/lib.rs", include_str!("new_dataset/lib.rs.template")),
    ("src/main.rs", include_str!("new_dataset/main.rs.template")),
];

pub fn run(args: &Args) -> Result<ExitCode> {
    let name = args.name.as_str();
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(legal),
        "{name:?}: use lower-case letters, digits and hyphens, and begin with a letter"
    );
    let root = ganomaly::root()?;
    let (folder, manifest) = match &args.outside {
        None => (root.join("crates").join(format!("ganomaly-data-{name}")), Manifest::member()),
        Some(folder) => (folder.clone(), Manifest::outside(&root)?),
    };
    if folder.exists() {
        bail!("{}: there already; remove it, or choose another name", folder.display());
    }
    // `half-tones` has the type `HalfTones`.
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    let (kind, library) =
        (words.collect::<String>(), format!("ganomaly-data-{name}").replace('-', "_"));
    for (file, template) in FILES {
        let text = template
            .replace("{package}", &manifest.package)
            .replace("{ganomaly}", &manifest.dependency("ganomaly"))
            .replace("{data}", &manifest.dependency("ganomaly-data"))
            .replace("{end}", &manifest.end)
            .replace("{name}", name)
            .replace("{Type}", &kind)
            .replace("{library}", &library);
        write(&folder.join(file), &text)?;
    }
    let run = match args.outside {
        None => format!("cargo run --release -p ganomaly-data-{name} --"),
        Some(_) => "cargo run --release --".to_string(),
    };
    out(format!(
        "{} is there, with drawn images. To begin with:\n  cargo test{}\n  {run} sweep {}",
        folder.display(),
        if args.outside.is_none() { format!(" -p ganomaly-data-{name}") } else { String::new() },
        folder.join("experiment.toml").display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot create", folder.display()))?;
    fs::write(path, text).with_context(|| format!("{}: cannot write", path.display()))
}

/// The parts of Cargo.toml that depend on where the crate is.
struct Manifest {
    package: String,
    /// The workspace's root, for a crate outside of it.
    root: Option<PathBuf>,
    end: String,
}

impl Manifest {
    fn member() -> Self {
        let keys = ["version", "edition", "rust-version", "license", "authors"];
        let package = keys.map(|key| format!("{key}.workspace = true")).join("\n");
        Self { package, root: None, end: "\n[lints]\nworkspace = true\n".into() }
    }

    fn outside(root: &Path) -> Result<Self> {
        let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
        // The same profiles, as what multiplies matrices is useless unoptimised.
        let profiles = manifest.find("[profile.dev]").context("no profiles in Cargo.toml")?;
        let end = format!("\n[workspace]\n\n{}", &manifest[profiles..]);
        let package = "version = \"0.1.0\"\nedition = \"2024\"".to_string();
        Ok(Self { package, root: Some(root.to_path_buf()), end })
    }

    fn dependency(&self, name: &str) -> String {
        match &self.root {
            None => format!("{name}.workspace = true"),
            Some(root) => {
                format!(
                    "{name} = {{ path = {:?} }}",
                    root.join("crates").join(name).display().to_string()
                )
            }
        }
    }
}
