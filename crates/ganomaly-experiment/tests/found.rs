//! A data set that has to look into the data folder for its classes.

use ganomaly_data::{About, Dataset, Description, Error, LabeledImages, Result};
use ganomaly_experiment::config::{Experiment, RunConfig};
use ganomaly_experiment::plan::Plan;
use ganomaly_experiment::registry::Registry;
use ganomaly_experiment::run_data::DataStore;
use std::fs;
use std::path::Path;

/// A class for each folder, with two grey images of 16×16 to train on and one to test.
struct Folders;

impl Dataset for Folders {
    fn name(&self) -> &str {
        "folders"
    }
    fn describe(&self, data_dir: &Path) -> Result<Description> {
        let path = data_dir.join("folders");
        let entries = fs::read_dir(&path).map_err(|cause| Error::Io { path, cause })?;
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        Ok(Description { found: true, ..Description::new(names, [1, 16, 16]) })
    }
    fn about(&self) -> About {
        About { description: "", homepage: "", licence: "", citation: "" }
    }
    fn load(&self, data_dir: &Path) -> Result<LabeledImages> {
        let images = self.describe(data_dir)?;
        let classes = images.class_names.len() as u8;
        let labels: Vec<u8> = (0..3).flat_map(|_| 0..classes).collect();
        let train = 2 * usize::from(classes);
        LabeledImages::new(vec![0; labels.len() * 256], labels, images, train)
    }
}

const TEXT: &str =
    "dataset = \"folders\"\nisize = 16\n[sweep]\nabnormal_class = [\"cracked\", 1]\nseed = [0]\n";

fn registry(data: &Path) -> Registry {
    Registry::builtin().dataset(Folders).in_data_dir(Some(data))
}

#[test]
fn classes_are_found_once_and_recorded() {
    let data = tempfile::tempdir().unwrap();
    let results = tempfile::tempdir().unwrap();
    let read = |registry: &Registry| Experiment::parse("own", TEXT, &[], registry);
    let missing = format!("{:#}", read(&registry(data.path())).unwrap_err());
    assert!(missing.contains(&data.path().join("folders").display().to_string()), "{missing}");

    for class in ["good", "cracked"] {
        fs::create_dir_all(data.path().join("folders").join(class)).unwrap();
    }
    let here = registry(data.path());
    let plan = Plan::new(&read(&here).unwrap()).unwrap();
    let classes: Vec<&str> = plan.runs.iter().map(|run| run.config.class()).collect();
    assert_eq!(classes, ["cracked", "good"]);
    let config = &plan.runs[0].config;
    let data_of = DataStore::new(here, Some(data.path())).prepare(config).unwrap();
    assert_eq!((data_of.split.train.len(), data_of.images.len()), (2, 6));

    // Results can be read where there are no data.
    let elsewhere = registry(&results.path().join("none"));
    plan.write(results.path()).unwrap();
    let again = Plan::read(results.path(), &elsewhere).unwrap().unwrap();
    for (again, run) in again.runs.iter().zip(&plan.runs) {
        assert_eq!((&again.name, &again.config), (&run.name, &run.config));
    }
    let text = config.to_toml().unwrap();
    assert!(text.contains("found_classes = [\"cracked\", \"good\"]"), "{text}");
    assert_eq!(&RunConfig::from_toml(&text, &elsewhere).unwrap(), config);
    let half = text.replace("found_shape", "# ");
    let error = format!("{:#}", RunConfig::from_toml(&half, &elsewhere).unwrap_err());
    assert!(error.contains("found_classes and found_shape"), "{error}");

    // Another folder gives other runs; those planned before are refused.
    fs::create_dir(data.path().join("folders/dented")).unwrap();
    let changed = registry(data.path());
    let other = Plan::new(&read(&changed).unwrap()).unwrap();
    assert_ne!(other.runs[0].name, plan.runs[0].name);
    let error = DataStore::new(changed, Some(data.path())).prepare(config).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("classes cracked, good") && error.contains("dented"), "{error}");
}
