//! `cargo xtask bench`: the time of a training step and of scoring, alone or beside PyTorch's.

use crate::ganomaly;
use crate::print::{out, say};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Python that can import torch, to time the same work in turns with ours
    /// (torch_step.py).
    #[arg(long, value_name = "PYTHON")]
    against_torch: Option<PathBuf>,
    /// Measure the detectors beside GANomaly instead (torch_detectors.py).
    #[arg(long)]
    detectors: bool,
    /// Number of turns of each; their medians count.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Number of threads for both; default: all cores.
    #[arg(long)]
    threads: Option<usize>,
    /// Measure only these: CHANNELSxSIZE for a batch of 64, or latency for scoring one image.
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<String>,
    /// Device for both: cpu, or cuda:0 for a GPU, where PyTorch's whole step is also captured in a
    /// CUDA graph.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Rounding of matrix products on a GPU, for both: f32, tf32 or bf16.
    #[arg(long, default_value = "f32")]
    precision: String,
    /// Numbers of our runs side by side on a GPU, one row each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 30])]
    runs: Vec<usize>,
    /// The program to time; default: build it.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// PyTorch's part; default: the one beside this source.
    #[arg(long, value_name = "SCRIPT")]
    torch_step: Option<PathBuf>,
    /// File for the raw numbers as JSON; default: print them after the table.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// One thing to measure.
struct Shape {
    name: &'static str,
    nc: usize,
    size: usize,
    batch: usize,
    /// Steps per turn, after five to warm up.
    steps: usize,
}

const SHAPES: &[Shape] = &[
    Shape { name: "1x32", nc: 1, size: 32, batch: 64, steps: 20 },
    Shape { name: "3x32", nc: 3, size: 32, batch: 64, steps: 20 },
    Shape { name: "3x64", nc: 3, size: 64, batch: 64, steps: 8 },
    Shape { name: "3x128", nc: 3, size: 128, batch: 64, steps: 4 },
    Shape { name: "latency", nc: 1, size: 32, batch: 1, steps: 100 },
];

/// The detectors beside GANomaly, which [`Args::detectors`] measures instead.
const DETECTORS: &[Shape] = &[
    Shape { name: "skip-ganomaly", nc: 3, size: 32, batch: 64, steps: 20 },
    Shape { name: "vae", nc: 1, size: 32, batch: 64, steps: 20 },
    Shape { name: "egbad", nc: 1, size: 28, batch: 64, steps: 20 },
    Shape { name: "anogan", nc: 1, size: 28, batch: 64, steps: 20 },
];

/// Steps per turn on a GPU, whose steps are a hundred times shorter.
const CARD_STEPS: usize = 200;

impl Args {
    fn on_gpu(&self) -> bool {
        self.device != "cpu"
    }

    /// Numbers of runs side by side, one row each; the CPU has one.
    fn side_by_side(&self) -> &[usize] {
        if self.on_gpu() { &self.runs } else { &[1] }
    }
}

impl Shape {
    /// Of a detector beside GANomaly: its name.
    fn detector(&self) -> Option<&str> {
        DETECTORS.iter().any(|other| other.name == self.name).then_some(self.name)
    }

    fn arguments(&self, args: &Args, threads: usize) -> Vec<String> {
        let mut settings = vec![("isize", self.size), ("nc", self.nc), ("batch", self.batch)];
        if args.on_gpu() {
            settings.push(("steps", CARD_STEPS));
        } else {
            settings.extend([("threads", threads), ("steps", self.steps)]);
        }
        let settings = settings.into_iter().map(|(key, value)| (key, value.to_string()));
        let detector = self.detector().map(|name| ("detector", name.to_string()));
        settings.chain(detector).flat_map(|(key, value)| [format!("--{key}"), value]).collect()
    }

    /// Whether only scoring counts.
    fn scores_only(&self) -> bool {
        self.batch == 1
    }
}

pub fn run(args: &Args) -> Result<ExitCode> {
    ensure!(args.rounds > 0, "--rounds: use 1 or more");
    ensure!(!args.detectors || !args.on_gpu(), "--detectors: GANomaly alone trains on a GPU");
    let (shapes, script) = match args.detectors {
        true => (DETECTORS, "torch_detectors.py"),
        false => (SHAPES, "torch_step.py"),
    };
    for name in &args.shapes {
        let known: Vec<&str> = shapes.iter().map(|s| s.name).collect();
        ensure!(known.contains(&name.as_str()), "--shapes {name}: there are {}", known.join(", "));
    }
    let threads = match args.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism().context("the cores cannot be counted")?.get(),
    };
    ensure!(threads > 0, "--threads: use 1 or more");
    if let Some(python) = &args.against_torch {
        needs_torch(python)?;
    }
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => ganomaly::built()?,
    };
    let torch_step = match &args.torch_step {
        Some(script) => script.clone(),
        None => ganomaly::root()?.join("xtask/src/bench").join(script),
    };
    let chosen = |s: &&Shape| args.shapes.is_empty() || args.shapes.iter().any(|n| n == s.name);
    let mut rows = Vec::new();
    for shape in shapes.iter().filter(chosen) {
        let mut turns = Vec::new();
        for round in 1..=args.rounds {
            say(format!("{}, turn {round} of {}", shape.name, args.rounds));
            for &runs in args.side_by_side() {
                turns.extend(ours(&binary, shape, args, threads, runs)?);
            }
            if let Some(python) = &args.against_torch {
                turns.extend(torchs(python, &torch_step, shape, args, threads)?);
            }
        }
        for &runs in args.side_by_side() {
            rows.push(summary(shape, runs, &turns));
        }
    }
    print_table(&rows, args);
    let all = json!({
        "threads": threads, "rounds": args.rounds,
        "cpu": first(&rows, "cpu"), "device": first(&rows, "device"), "precision": args.precision,
        "torch": first(&rows, "torch"), "shapes": rows,
    });
    match &args.out {
        Some(path) => std::fs::write(path, serde_json::to_string_pretty(&all)? + "\n")
            .with_context(|| format!("{}: cannot write", path.display()))?,
        None => out(format!("\n{all}")),
    }
    Ok(ExitCode::SUCCESS)
}

/// Checked before anything is built or measured, so that a wrong PYTHON costs only seconds.
fn needs_torch(python: &Path) -> Result<()> {
    let name = python.display();
    let output = Command::new(python).args(["-c", "import torch"]).output();
    let output = output.with_context(|| format!("--against-torch {name}: cannot be run"))?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{name} cannot import torch: pip install torch in a virtual environment and give its python ({})",
        why.trim().lines().last().unwrap_or("it gave no reason")
    );
    Ok(())
}

/// The value from the first turn that has it; every turn of one run has the same.
fn first(rows: &[Value], key: &str) -> Value {
    let turns = rows.iter().filter_map(|row| row["turns"].as_array()).flatten();
    turns.map(|turn| &turn[key]).find(|v| !v.is_null()).cloned().unwrap_or(Value::Null)
}

fn ours(
    binary: &Path,
    shape: &Shape,
    args: &Args,
    threads: usize,
    runs: usize,
) -> Result<Vec<Value>> {
    let mut command = Command::new(binary);
    command.arg("bench").args(shape.arguments(args, threads));
    if args.on_gpu() {
        command.args(["--device", &args.device, "--precision", &args.precision]);
        command.args(["--runs", &runs.to_string()]);
    }
    if shape.scores_only() {
        command.arg("--score-only");
    }
    lines(&mut command, "ours")
        .with_context(|| format!("ganomaly bench failed at shape {}", shape.name))
}

fn torchs(
    python: &Path,
    script: &Path,
    shape: &Shape,
    args: &Args,
    threads: usize,
) -> Result<Vec<Value>> {
    let mut command = Command::new(python);
    command.arg(script).args(shape.arguments(args, threads));
    let variants = match (shape.scores_only(), args.on_gpu()) {
        (true, _) => "shared",
        (false, false) => "reference,shared",
        (false, true) => "reference,shared,graph",
    };
    command.args(["--variants", variants]);
    if args.on_gpu() {
        command.args(["--device", &args.device]);
    }
    match args.precision.as_str() {
        "tf32" => command.arg("--tf32"),
        "bf16" => command.arg("--bf16"),
        _ => &mut command,
    };
    lines(&mut command, "torch")
        .with_context(|| format!("{} failed at shape {}", script.display(), shape.name))
}

/// The JSON objects that a command prints, one per line, marked with their source.
fn lines(command: &mut Command, by: &str) -> Result<Vec<Value>> {
    let name = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("{name} cannot be run"))?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let mut values = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut value: Value =
            serde_json::from_str(line).with_context(|| format!("{name} printed {line:?}"))?;
        value["by"] = by.into();
        values.push(value);
    }
    Ok(values)
}

/// The medians over all turns, and the ratio of PyTorch's times to ours.
fn summary(shape: &Shape, runs: usize, turns: &[Value]) -> Value {
    let median = |by: &str, variant: Option<&str>, key: &str| {
        // Turns on the CPU do not report a number of runs: it is one.
        let same = |t: &Value| by != "ours" || t["runs"].is_null() || t["runs"] == runs;
        let of = |t: &&Value| t["by"] == by && same(t) && variant.is_none_or(|v| t["variant"] == v);
        let mut times: Vec<f64> = turns.iter().filter(of).filter_map(|t| t[key].as_f64()).collect();
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        match times.len() {
            0 => None,
            n if n % 2 == 1 => Some(times[middle]),
            _ => Some((times[middle] + times[middle - 1]) / 2.0),
        }
    };
    let (train, score) = (median("ours", None, "train_ms"), median("ours", None, "score_ms"));
    let over = |theirs: Option<f64>, ours: Option<f64>| theirs.zip(ours).map(|(t, o)| t / o);
    let training = |variant| {
        let theirs = if shape.scores_only() { None } else { median("torch", variant, "train_ms") };
        (theirs, over(theirs, train))
    };
    let (reference, shared) = (training(Some("reference")), training(Some("shared")));
    let graph = training(Some("graph"));
    let torch_score = median("torch", None, "score_ms");
    // The rate of all our runs together, over that of one PyTorch run.
    let rate = median("ours", None, "train_images_per_s");
    let torch_rate = median("torch", Some("graph"), "train_images_per_s");
    json!({
        "shape": shape.name, "batch": shape.batch, "runs": runs,
        "train_ms": train, "train_images_per_s": rate,
        "score_ms": score,
        "train_at_peak": median("ours", None, "train_at_peak"),
        "score_at_peak": median("ours", None, "score_at_peak"),
        "torch_reference_ms": reference.0, "torch_shared_ms": shared.0, "torch_score_ms": torch_score,
        "times_reference": reference.1, "times_shared": shared.1,
        "times_score": over(torch_score, score),
        "torch_graph_ms": graph.0, "times_graph": graph.1,
        "times_graph_images_per_s": over(rate, torch_rate),
        "turns": turns,
    })
}

fn print_table(rows: &[Value], args: &Args) {
    let mut columns = vec![
        ("train ms", "train_ms", 1),
        ("train images/s", "train_images_per_s", 1),
        ("score ms", "score_ms", 2),
    ];
    if !args.on_gpu() {
        columns
            .extend([("train at peak", "train_at_peak", 2), ("score at peak", "score_at_peak", 2)]);
    }
    if args.against_torch.is_some() {
        columns.extend([
            ("PyTorch reference ms", "torch_reference_ms", 1),
            ("PyTorch shared ms", "torch_shared_ms", 1),
            ("PyTorch score ms", "torch_score_ms", 2),
            ("× reference", "times_reference", 2),
            ("× shared", "times_shared", 2),
            ("× score", "times_score", 2),
        ]);
        if args.on_gpu() {
            columns.extend([
                ("PyTorch graph ms", "torch_graph_ms", 2),
                ("× graph", "times_graph", 2),
                ("× graph's images/s", "times_graph_images_per_s", 2),
            ]);
        }
    }
    let headings: Vec<&str> = columns.iter().map(|c| c.0).collect();
    out(format!("| shape | batch | runs | {} |", headings.join(" | ")));
    out(format!("|---|---:|---:|{}", "---:|".repeat(columns.len())));
    for row in rows {
        let cell = |&(_, key, digits): &(&str, &str, usize)| match row[key].as_f64() {
            Some(value) => format!("{value:.digits$}"),
            None => String::new(),
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        let name = row["shape"].as_str().unwrap_or_default();
        out(format!("| {name} | {} | {} | {} |", row["batch"], row["runs"], cells.join(" | ")));
    }
}
