//! The plan of an experiment: its runs by name, in order, stored as TOML beside its results.

use crate::config::{Experiment, RunConfig, from_table};
use crate::files::{names_in, write_whole};
use crate::numerics::{BEFORE_GENERATIONS, NUMERICS, OtherGeneration};
use crate::record::provenance::Provenance;
use crate::record::{CONFIG, is_run};
use crate::registry::{Registry, Source};
use crate::selection::Selection;
use anyhow::{Context, Result, anyhow, ensure};
use ganomaly_data::{read_text, shown};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The plan's file in an experiment's results.
const FILE: &str = "plan.toml";
/// Maximum size of a plan, or of a run's config, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// One run of a plan.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its folder: class, seed, and a hash of the config.
    pub name: String,
    /// Its resolved config.
    pub config: RunConfig,
}

/// The runs of an experiment.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The experiment's name, which is also its folder's.
    pub name: String,
    /// The swept settings.
    pub swept: Vec<String>,
    /// Every run once, in the order of the tables.
    pub runs: Vec<Run>,
}

impl Plan {
    /// The plan of an experiment.
    pub fn new(experiment: &Experiment) -> Result<Self> {
        let mut runs: Vec<Run> = Vec::new();
        for config in &experiment.runs {
            let name = config.run_name()?;
            if runs.iter().all(|run| run.name != name) {
                runs.push(Run { name, config: config.clone() });
            }
        }
        Ok(Self { name: experiment.name.clone(), swept: experiment.swept.clone(), runs })
    }

    /// The plan of the last sweep into the folder; none if there is none. If the folder's results
    /// are of another generation of the numerics, the error is an [`OtherGeneration`].
    pub fn read(folder: &Path, registry: &Registry) -> Result<Option<Self>> {
        // An absent folder has no plan; anything else in its place is refused.
        if folder.exists() {
            check_folder(folder)?;
        }
        let path = folder.join(FILE);
        if path.symlink_metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            return Ok(None);
        }
        let text = read_text(&path, MAX_BYTES).context("cannot read the plan")?;
        match Self::from_toml(&text, registry) {
            Err(e) if e.is::<OtherGeneration>() => Err(e.context(shown(folder))),
            plan => plan.map(Some).with_context(|| format!("{}: not a plan", shown(&path))),
        }
    }

    /// The folder's plan, or otherwise one of every run in it.
    pub fn of_folder(folder: &Path, registry: &Registry) -> Result<Self> {
        Self::read(folder, registry)?.map_or_else(|| Self::of_runs(folder, registry), Ok)
    }

    /// A plan of every run in a folder, for results without a plan. What differs between runs
    /// counts as swept. Runs of another generation, or with the wrong name, are left out.
    pub fn of_runs(folder: &Path, registry: &Registry) -> Result<Self> {
        check_folder(folder)?;
        let (mut runs, mut strange) = (Vec::new(), None);
        for name in finished_in(folder)? {
            let path = folder.join(&name).join(CONFIG);
            let text = read_text(&path, MAX_BYTES).context("cannot read a run's config")?;
            let config = RunConfig::from_toml(&text, registry)
                .with_context(|| format!("{}: not a run's config", shown(&path)))?;
            let run = Run { name: config.run_name()?, config };
            match run.is_done(folder) {
                Ok(true) if run.name == name => runs.push(run),
                Ok(_) => strange = Some(stranger(folder, &name, &run.name)),
                Err(e) => strange = Some(e),
            }
        }
        if let (true, Some(strange)) = (runs.is_empty(), strange) {
            return Err(strange);
        }
        ensure!(!runs.is_empty(), "{}: no plan.toml and no finished run in it", folder.display());
        let folder = folder.canonicalize()?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut plan = Self { name, swept: Vec::new(), runs };
        plan.swept = plan.differing()?;
        plan.swept.sort();
        Ok(plan)
    }

    /// Stores the plan beside the results, for status and tables.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = self.to_toml()?;
        let path = folder.join(FILE);
        if read_text(&path, MAX_BYTES).is_ok_and(|there| there == text) {
            return Ok(());
        }
        write_whole(&path, text)
    }

    /// The settings in which runs differ.
    fn differing(&self) -> Result<Vec<String>> {
        let tables = self.runs.iter().map(|run| run.config.table()).collect::<Result<Vec<_>>>()?;
        let keys = tables.iter().flat_map(Table::keys);
        let mut differing: Vec<String> = Vec::new();
        for key in keys {
            let same = tables.iter().all(|t| t.get(key) == tables[0].get(key));
            if !same && !differing.contains(key) {
                differing.push(key.clone());
            }
        }
        Ok(differing)
    }

    fn to_toml(&self) -> Result<String> {
        let differing = self.differing()?;
        let mut common = match self.runs.first() {
            Some(run) => run.config.table()?,
            None => Table::new(),
        };
        common.retain(|key, _| !differing.iter().any(|d| d == key));
        let mut text = String::from(
            "# What the last sweep set out to do: written by `ganomaly sweep`, read by `ganomaly status` and `ganomaly collect`.\n",
        );
        let swept = self.swept.iter().cloned().map(Value::String).collect();
        let name = Value::String(self.name.clone());
        let _ = writeln!(text, "numerics = {NUMERICS}\nname = {name}");
        let _ = writeln!(text, "swept = {}\n", Value::Array(swept));
        let common = toml::to_string(&common).context("a plan cannot be written as TOML")?;
        let _ = writeln!(text, "[common]\n{common}\n[runs]");
        for run in &self.runs {
            let mut own = run.config.table()?;
            own.retain(|key, _| differing.iter().any(|d| d == key));
            let name = Value::String(run.name.clone());
            let _ = writeln!(text, "{name} = {}", Value::Table(own));
        }
        Ok(text)
    }

    fn from_toml(text: &str, registry: &Registry) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Generation {
            numerics: Option<u32>,
            name: Option<String>,
        }
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(rename = "numerics")]
            _numerics: u32,
            name: String,
            swept: Vec<String>,
            common: Table,
            runs: Table,
        }
        // Checked first: another generation may have another plan format.
        let Generation { numerics, name } = toml::from_str(text).map_err(|e| anyhow!("{e}"))?;
        let theirs = numerics.or(name.map(|_| BEFORE_GENERATIONS));
        if let Some(theirs) = theirs.filter(|&theirs| theirs != NUMERICS) {
            return Err(OtherGeneration(theirs).into());
        }
        let file: File = toml::from_str(text).map_err(|e| anyhow!("{e}"))?;
        let run = |(name, own): (String, Value)| {
            let mut all = file.common.clone();
            all.extend(own.try_into::<Table>().with_context(|| format!("run {name}"))?);
            let config = from_table(all, registry).with_context(|| format!("run {name}"))?;
            let config = config.resolved(registry).with_context(|| format!("run {name}"))?;
            anyhow::Ok(Run { name, config })
        };
        let runs = file.runs.into_iter().map(run).collect::<Result<_>>()?;
        Ok(Self { name: file.name, swept: file.swept, runs })
    }

    /// The finished runs of the plan, in its order. Fails if something else has the name of one, or
    /// if they used different images: no table mixes these.
    pub fn finished(&self, folder: &Path) -> Result<Vec<&Run>> {
        let mut done = Vec::new();
        for run in &self.runs {
            if run.is_done(folder)? {
                done.push(run);
            }
        }
        same_images(done.iter().map(|run| folder.join(&run.name)))?;
        Ok(done)
    }

    /// The finished runs of the folder that are not in this plan.
    pub fn others(&self, folder: &Path) -> Result<Vec<String>> {
        let mut names = finished_in(folder)?;
        names.retain(|name| self.runs.iter().all(|run| run.name != *name));
        Ok(names)
    }

    /// The runs that `only` chooses, or all by default. Fails if it chooses none.
    pub fn choose(&self, only: Option<&Selection>, registry: &Registry) -> Result<Vec<&Run>> {
        let Some(only) = only else { return Ok(self.runs.iter().collect()) };
        let configs: Vec<RunConfig> = self.runs.iter().map(|run| run.config.clone()).collect();
        let chosen = only.choose(&configs, registry).context("--only")?;
        let runs = self.runs.iter().zip(chosen).filter(|(_, chosen)| *chosen);
        let runs: Vec<&Run> = runs.map(|(run, _)| run).collect();
        ensure!(!runs.is_empty(), "--only: no run has all of these settings");
        Ok(runs)
    }
}

impl Run {
    /// The settings of `keys` that the run has, as written in TOML.
    pub fn settings(&self, keys: &[String]) -> Result<Vec<(String, String)>> {
        let table = self.config.table()?;
        let value = |key: &String| table.get(key).map(ToString::to_string).unwrap_or_default();
        Ok(keys.iter().map(|key| (key.clone(), value(key))).collect())
    }

    /// Whether the run's results are in the experiment's folder. Fails if its name is taken by
    /// something else: another run, a run of another generation, or something that is not a run.
    pub fn is_done(&self, folder: &Path) -> Result<bool> {
        let folder = folder.join(&self.name);
        let absent = [ErrorKind::NotFound, ErrorKind::NotADirectory];
        if folder.symlink_metadata().is_err_and(|e| absent.contains(&e.kind())) {
            return Ok(false);
        }
        ensure!(
            is_run(&folder),
            "{}: in the place of a run, and not one: config.toml, metrics.json and run.json are \
             not all in it. Move it away",
            shown(&folder)
        );
        let there = read_text(&folder.join(CONFIG), MAX_BYTES)?;
        ensure!(
            there == self.config.to_toml()?,
            "{}: another run under this name: its config.toml is not that of {}. Move it away",
            shown(&folder),
            self.name
        );
        let theirs = Provenance::read(&folder)?.numerics();
        if theirs != NUMERICS {
            return Err(anyhow::Error::from(OtherGeneration(theirs)).context(shown(&folder)));
        }
        Ok(true)
    }
}

/// Fails if the path is not a folder.
pub fn check_folder(folder: &Path) -> Result<()> {
    ensure!(!folder.is_file(), "{}: a file; name a folder of results", shown(folder));
    ensure!(folder.is_dir(), "{}: no such folder", shown(folder));
    Ok(())
}

/// Fails if runs used different images of a data set, or of a part of it.
pub fn same_images(runs: impl Iterator<Item = PathBuf>) -> Result<()> {
    let mut first: BTreeMap<Source, (PathBuf, String)> = BTreeMap::new();
    for folder in runs {
        let images = Provenance::read(&folder)?.images_sha256.unwrap_or_default();
        let config = read_text(&folder.join(CONFIG), MAX_BYTES)?;
        let source = Source::of_config(&config.parse().with_context(|| shown(&folder))?);
        let (other, theirs) =
            first.entry(source.clone()).or_insert_with(|| (folder.clone(), images.clone()));
        ensure!(
            *theirs == images,
            "runs saw different images of {source}, and no table mixes them: SHA-256 {} in {}, {} \
             in {}. Keep those of one kind in this folder, and move the others to another",
            head(theirs),
            shown(other),
            head(&images),
            shown(&folder)
        );
    }
    Ok(())
}

/// The first digits of a checksum, for display.
pub fn head(sum: &str) -> &str {
    sum.get(..12).unwrap_or(sum)
}

/// Explains a run's folder whose name differs from the one this program gives it.
fn stranger(folder: &Path, name: &str, own: &str) -> anyhow::Error {
    let path = folder.join(name);
    match Provenance::read(&path).map(|record| record.numerics()) {
        Ok(NUMERICS) => {
            anyhow!("{}: by its config this is the run {own}; was it renamed?", shown(&path))
        }
        Ok(theirs) => anyhow::Error::from(OtherGeneration(theirs)).context(shown(&path)),
        Err(e) => e,
    }
}

/// The names of the run folders in an experiment's folder, of any generation.
pub fn finished_in(folder: &Path) -> Result<Vec<String>> {
    let is_run = |name: &String| is_run(&folder.join(name));
    Ok(names_in(folder)?.into_iter().filter(is_run).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let text = "dataset = \"synthetic\"\n[sweep]\nabnormal_class = [\"cross\", 1]\nseed = [0, 1]\nw_con = [10, 50]\n";
        let mut plan =
            Plan::new(&Experiment::parse("p", text, &[], &Registry::builtin()).unwrap()).unwrap();
        // A run that is named twice counts once.
        let twice =
            Experiment::parse("p", text, &["seed=[0,0,1]".into()], &Registry::builtin()).unwrap();
        assert_eq!(Plan::new(&twice).unwrap().runs.len(), plan.runs.len());
        plan.name = "it's \"p\"".into();
        plan
    }

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let plan = plan();
        let text = plan.to_toml().unwrap();
        let again = Plan::from_toml(&text, &Registry::builtin()).unwrap();
        assert_eq!((&again.name, &again.swept), (&plan.name, &plan.swept));
        let runs = |p: &Plan| p.runs.iter().map(|r| r.config.clone()).collect::<Vec<_>>();
        assert_eq!(runs(&again), runs(&plan));
        for run in &again.runs {
            assert_eq!(run.name, run.config.run_name().unwrap());
        }
        assert_eq!(again.to_toml().unwrap(), text);
        assert!(
            Plan::from_toml(
                &text.replace("[common]\n", "[common]\nw_cno = 1\n"),
                &Registry::builtin()
            )
            .is_err()
        );
    }

    #[test]
    fn only_chooses_by_swept_settings_and_refuses_what_is_not_there() {
        let plan = plan();
        let names = |only: &str| -> Result<Vec<String>> {
            let only = Selection::parse(only)?;
            let chosen = plan.choose(Some(&only), &Registry::builtin())?;
            let of = |run: &&Run| {
                let c = &run.config;
                format!("{} {} {}", c.class(), c.seed(), c.number("w_con").unwrap())
            };
            Ok(chosen.iter().map(of).collect())
        };
        assert_eq!(plan.choose(None, &Registry::builtin()).unwrap().len(), 8);
        assert_eq!(names("abnormal_class=cross,seed=0").unwrap(), ["cross 0 10", "cross 0 50"]);
        assert_eq!(names("abnormal_class = \"bar\" , w_con=50").unwrap(), ["bar 0 50", "bar 1 50"]);
        assert_eq!(names("abnormal_class=1,w_con=50.0,seed=1").unwrap(), ["bar 1 50"]);
        assert_eq!(names("seed=0,seed=1").unwrap().len(), 8);
        for (only, word) in [
            ("w_adv=2", "none of the 8 runs has w_adv = 2; the runs have 1.0"),
            ("seed=7", "none of the 8 runs has seed = 7; the runs have 0, 1"),
            ("abnormal_class=ring", "none of the 8 runs has"),
            ("abnormal_class=cat", "no such class"),
            ("seed", "write KEY=VALUE"),
        ] {
            let error = format!("{:#}", names(only).unwrap_err());
            assert!(error.contains(word), "{only}: {error}");
        }
    }
}
