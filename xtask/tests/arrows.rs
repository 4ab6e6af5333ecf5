//! The arrows of docs/architecture.md: between crates, and between the files of each.

use regex_lite::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each crate of the workspace with those that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "ganomaly",
        &[
            "data",
            "data-hub",
            "data-mvtec",
            "experiment",
            "gpu",
            "inference",
            "metrics",
            "model",
            "report",
            "runner",
            "serve",
        ],
    ),
    ("ganomaly-data", &[]),
    ("ganomaly-experiment", &["data", "metrics", "model"]),
    ("ganomaly-gpu", &["kernels", "model"]),
    ("ganomaly-inference", &["data", "experiment", "metrics", "model"]),
    ("ganomaly-kernels", &[]),
    ("ganomaly-metrics", &[]),
    ("ganomaly-model", &["kernels"]),
    ("ganomaly-report", &["data", "experiment", "metrics", "model"]),
    ("ganomaly-runner", &["data", "experiment", "gpu", "inference", "metrics", "model"]),
    ("ganomaly-serve", &["data", "experiment", "inference"]),
    ("xtask", &[]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

#[test]
fn crates_depend_only_downwards() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args = ["metadata", "--no-deps", "--format-version", "1"];
    let output = Command::new(cargo).args(args).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut found = BTreeMap::new();
    for package in all["packages"].as_array().unwrap() {
        let mut needs = BTreeSet::new();
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = dependency["name"].as_str().unwrap();
            if let (Some(short), true) =
                (name.strip_prefix("ganomaly-"), dependency["kind"].is_null())
            {
                needs.insert(short.to_string());
            }
        }
        let name = package["name"].as_str().unwrap();
        // A data set with a program of its own.
        if name.starts_with("ganomaly-data-") {
            assert!(needs.iter().all(|need| need == "data"), "{name}: {needs:?}");
            continue;
        }
        found.insert(name.to_string(), needs);
    }
    let allowed = ARROWS.iter().map(|(name, needs)| {
        (name.to_string(), needs.iter().map(ToString::to_string).collect::<BTreeSet<_>>())
    });
    assert_eq!(found, allowed.collect(), "docs/architecture.md has the picture");
}

/// A module by its path inside its crate; the crate's root is empty.
type Module = Vec<String>;

/// The files of a crate, each with the modules that it needs.
struct Files(BTreeMap<Module, String>);

impl Files {
    fn read(src: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut left = vec![src.to_path_buf()];
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            if path.extension().is_none_or(|ending| ending != "rs") || path.ends_with("src/main.rs")
            {
                continue;
            }
            let inside = path.strip_prefix(src).unwrap().with_extension("");
            let mut module: Module =
                inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if ["lib", "mod"].contains(&module.last().unwrap().as_str()) {
                module.pop();
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            files.insert(module, Regex::new("//.*").unwrap().replace_all(code, "").into_owned());
        }
        Self(files)
    }

    /// Every path that a file names, from the crate's root; with `public`, only what it passes on.
    fn named(&self, module: &Module, public: bool) -> BTreeSet<Module> {
        let code = &self.0[module];
        // What a module only passes on it does not need.
        let uses =
            if public { r"pub(?:\([a-z]+\))? use ([^;]+);" } else { r"(?m)^\s*use ([^;]+);" };
        let mut all = Vec::new();
        for found in Regex::new(uses).unwrap().captures_iter(code) {
            all.extend(branches(&found[1]));
        }
        if !public {
            let inline = Regex::new(r"\b(?:crate|super)(?:::\w+)+").unwrap();
            all.extend(inline.find_iter(code).map(|path| path.as_str().to_string()));
        }
        all.iter().filter_map(|path| self.rooted(module, path)).collect()
    }

    /// A path from the crate's root; none if it leads out of the crate.
    fn rooted(&self, module: &Module, path: &str) -> Option<Module> {
        let mut parts = path.split("::").map(|part| part.trim().to_string()).peekable();
        let first = parts.peek()?.clone();
        let mut at = module.clone();
        let child = [&module[..], std::slice::from_ref(&first)].concat();
        match first.as_str() {
            "crate" => at.clear(),
            "self" | "super" => {}
            _ if self.0.contains_key(&child) => {}
            _ => return None,
        }
        for part in parts {
            match part.as_str() {
                "crate" | "self" => {}
                "super" => drop(at.pop()),
                _ => at.push(part),
            }
        }
        Some(at)
    }

    /// The file that has what a path names, through what modules pass on.
    fn file(&self, path: &Module) -> Module {
        let depth = (0..=path.len()).rev().find(|&n| self.0.contains_key(&path[..n])).unwrap();
        let (file, rest) = (path[..depth].to_vec(), &path[depth..]);
        let Some(item) = rest.first() else { return file };
        let passed_on = self.named(&file, true);
        let from = passed_on.iter().find(|from| from.last() == Some(item) && *from != path);
        from.map_or(file, |from| self.file(from))
    }

    /// Files that need each other.
    fn circles(&self) -> Vec<String> {
        let needs: BTreeMap<&Module, BTreeSet<Module>> = self
            .0
            .keys()
            .map(|module| {
                let named = self.named(module, false);
                let files = named.iter().map(|path| self.file(path)).filter(|file| file != module);
                (module, files.collect())
            })
            .collect();
        let mut circles = Vec::new();
        for from in needs.keys() {
            // A shortest way back, if there is one.
            let mut ways = std::collections::VecDeque::from([vec![(*from).clone()]]);
            let mut seen = BTreeSet::new();
            while let Some(way) = ways.pop_front() {
                for next in needs.get(way.last().unwrap()).into_iter().flatten() {
                    if next == *from {
                        let names: Vec<String> = way.iter().map(|m| m.join("::")).collect();
                        circles.push(names.join(" -> "));
                        ways.clear();
                        break;
                    }
                    if seen.insert(next.clone()) {
                        ways.push_back([&way[..], std::slice::from_ref(next)].concat());
                    }
                }
            }
        }
        circles
    }
}

/// The paths of a `use`, whose braces may be nested.
fn branches(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, inside)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_string()];
    };
    let inside = inside.rsplit_once('}').map_or(inside, |(inside, _)| inside);
    let (mut all, mut depth, mut part) = (Vec::new(), 0, String::new());
    for letter in inside.chars().chain([',']) {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        if letter == ',' && depth == 0 {
            let path = part.trim();
            if !path.is_empty() {
                all.extend(branches(path).into_iter().map(|rest| format!("{before}{rest}")));
            }
            part.clear();
        } else {
            part.push(letter);
        }
    }
    all
}

#[test]
fn no_two_files_need_each_other() {
    let mut circles = Vec::new();
    for (name, _) in ARROWS {
        // A kernel's fast path and its slow one call each other.
        if *name == "ganomaly-kernels" {
            continue;
        }
        let folder =
            if *name == "xtask" { root().join(name) } else { root().join("crates").join(name) };
        let of = Files::read(&folder.join("src")).circles();
        circles.extend(of.into_iter().map(|circle| format!("{name}: {circle}")));
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}
