//! `cargo xtask gpu`: builds for GPUs, and packs an archive for machines with a GPU but without
//! Rust or a network.

use crate::ganomaly::{executables, root};
use crate::print;
use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The script that checks and measures on such a machine.
const RUN: &str = include_str!("run.sh");
/// NVIDIA's run-time compiler as a wheel: the driver must support CUDA 13.0 or later.
const WHEEL: &str = "cuda-toolkit[nvrtc]==13.0.2";
/// Larger traces of the published code for the parity check, if there are any.
const TRACES: [&str; 3] = ["mnist32", "mnist32_warm", "rgb64_extra1"];

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Job,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Build ganomaly for GPUs; if the run-time compiler is missing, fetch it as a wheel and try it
    /// on the kernels.
    Build,
    /// Make one archive of programs, experiments, data and run.sh for a machine with a GPU.
    Pack(Pack),
}

#[derive(Debug, clap::Args)]
struct Pack {
    /// Where the folder and the archive go.
    #[arg(long, default_value = "target/gpu")]
    out: PathBuf,
    /// The data folder; its MNIST and CIFAR-10 files are packed.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Data sets to pack.
    #[arg(long, value_delimiter = ',', default_value = "mnist")]
    data: Vec<String>,
    /// A folder of traces of the published code, for parity; default: golden/ in GANOMALY_SHARED,
    /// if set.
    #[arg(long)]
    golden: Option<PathBuf>,
    /// Split the archive into parts of this many MiB.
    #[arg(long)]
    part_mib: Option<usize>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Job::Build => build(),
        Job::Pack(args) => pack(args),
    }
}

fn build() -> Result<ExitCode> {
    let binary = crate::ganomaly::built()?;
    print::out(format!("built {}", binary.display()));
    let look = |library: Option<&Path>| {
        let mut command = Command::new(&binary);
        command.arg("gpus");
        if let Some(library) = library {
            command.env("LD_LIBRARY_PATH", library);
        }
        let output = command.output().context("ganomaly cannot be run")?;
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let mut seen = look(None)?;
    if seen.contains("libnvrtc.so is not found") {
        let library = nvrtc()?;
        seen = look(Some(&library))?;
        print::out(format!("{seen}run it with\n    export LD_LIBRARY_PATH={}", library.display()));
    } else {
        print::out(seen.trim_end());
    }
    // The build machine may lack a GPU; a compiler that rejects the kernels is always an error.
    let refused = seen.lines().any(|line| line.starts_with("MISSING compiler"));
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The folder of the run-time compiler's library, from a wheel in a virtual environment below
/// target/.
fn nvrtc() -> Result<PathBuf> {
    let venv = root()?.join("target/nvrtc");
    if library_below(&venv).is_none() {
        print::out(format!("fetching {WHEEL} into {}", venv.display()));
        let python = |args: &mut Command| -> Result<()> {
            let status = args.status().with_context(|| format!("{args:?}: cannot be run"))?;
            ensure!(
                status.success(),
                "{args:?}: failed; it needs python3 with venv, and a network"
            );
            Ok(())
        };
        python(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        python(Command::new(venv.join("bin/pip")).args(["install", "--quiet", WHEEL]))?;
    }
    library_below(&venv).with_context(|| format!("{}: no libnvrtc.so in it", venv.display()))
}

/// The folder below `folder` that holds the run-time compiler's library.
fn library_below(folder: &Path) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with("libnvrtc.so") {
            return Some(folder.to_path_buf());
        }
        // Links lead out of it (lib64), and in circles.
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Some(found) = library_below(&path)
        {
            return Some(found);
        }
    }
    None
}

fn pack(args: &Pack) -> Result<ExitCode> {
    let root = root()?;
    let out = if args.out.is_absolute() { args.out.clone() } else { root.join(&args.out) };
    let folder = out.join("ganomaly-gpu");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("{}: cannot be emptied", folder.display()))?;
    }
    fs::create_dir_all(folder.join("tests"))
        .with_context(|| format!("{}: cannot be made", folder.display()))?;
    program(&crate::ganomaly::built()?, &folder.join("ganomaly"))?;
    for built in executables(&["build", "--release", "--package", "xtask"])? {
        program(&built, &folder.join("xtask"))?;
    }
    let tests = ["test", "--release", "--no-run", "--package", "ganomaly-gpu"];
    let which = ["--test", "layers", "--test", "program", "--test", "group"];
    for built in executables(&[&tests[..], &which].concat())? {
        let name = built.file_name().context("a test without a name")?.to_string_lossy();
        // Cargo appends a hash to the name.
        let name = name.split('-').next().unwrap_or_default();
        program(&built, &folder.join("tests").join(name))?;
    }
    let script = folder.join("run.sh");
    write(&script, RUN)?;
    executable(&script)?;
    copy(&root.join("xtask/src/bench/torch_step.py"), &folder.join("torch_step.py"))?;
    copy_all(&root.join("experiments"), &folder.join("experiments"))?;
    let golden = args.golden.clone().or_else(|| {
        let shared = std::env::var_os("GANOMALY_SHARED")?;
        Some(PathBuf::from(shared).join("golden"))
    });
    let to = folder.join("golden");
    traces(&root.join("crates/ganomaly/tests/golden"), &to, &["tiny"])?;
    match golden {
        Some(golden) => traces(&golden, &to, &TRACES)?,
        None => print::out("with the small trace alone: --golden names the folder of the others"),
    }
    let data =
        args.data_dir.clone().or_else(|| std::env::var_os("GANOMALY_DATA_DIR").map(PathBuf::from));
    let data = data.unwrap_or_else(|| root.join("data"));
    for name in args.data.iter().filter(|name| !name.is_empty()) {
        copy_all(&data.join(name), &folder.join("data").join(name))
            .with_context(|| format!("--data {name}: not in {}; --data-dir names the folder, and `cargo xtask data fetch {name}` fills it", data.display()))?;
    }
    archive(&out, args.part_mib)
}

/// Packs the folder, whole or in parts.
fn archive(out: &Path, part_mib: Option<usize>) -> Result<ExitCode> {
    let archive = out.join("ganomaly-gpu.tar.gz");
    tool(Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(out).arg("ganomaly-gpu"))?;
    let bytes = fs::metadata(&archive)?.len();
    print::out(format!("{}: {:.1} MiB", archive.display(), bytes as f64 / f64::from(1 << 20)));
    if let Some(mib) = part_mib {
        ensure!(mib > 0, "--part-mib 0: use 1 or more");
        let size = format!("{mib}M");
        let prefix = format!("{}.", archive.display());
        tool(Command::new("split").args(["-b", &size, "-d"]).arg(&archive).arg(&prefix))?;
        print::out(format!("in parts {prefix}00, ...; put them together with cat"));
    }
    print::out("there: tar -xzf ganomaly-gpu.tar.gz && ganomaly-gpu/run.sh check");
    Ok(ExitCode::SUCCESS)
}

/// Copies a program without its debug information.
fn program(from: &Path, to: &Path) -> Result<()> {
    copy(from, to)?;
    // Without `strip`, the archive is larger.
    let _ = Command::new("strip").arg(to).status();
    executable(to)
}

fn executable(path: &Path) -> Result<()> {
    tool(Command::new("chmod").arg("755").arg(path))
}

fn traces(from: &Path, to: &Path, names: &[&str]) -> Result<()> {
    fs::create_dir_all(to)?;
    for trace in names {
        for suffix in [".json", ".safetensors"] {
            let name = format!("{trace}{suffix}");
            copy(&from.join(&name), &to.join(&name))?;
        }
    }
    Ok(())
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("{}: cannot be made", to.display()))?;
    let entries =
        fs::read_dir(from).with_context(|| format!("{}: cannot be read", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &to)?;
        } else {
            copy(&entry.path(), &to)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("{} to {}: cannot be copied", from.display(), to.display()))?;
    Ok(())
}

fn write(to: &Path, text: &str) -> Result<()> {
    fs::write(to, text).with_context(|| format!("{}: cannot be written", to.display()))
}

fn tool(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}: cannot be run"))?;
    ensure!(status.success(), "{command:?}: failed");
    Ok(())
}
