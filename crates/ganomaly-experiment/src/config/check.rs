//! What a run's config must satisfy before it can run.

use super::values::Name;
use super::{
    DeviceName, Further, FurtherScore, OnNan, Precision, RunConfig, ScoringMode, Validation,
};
use super::{class_index, in_words};
use crate::registry::{Registry, Source};
use anyhow::{Context, Result, anyhow, bail, ensure};
use ganomaly_data::{Augment, Description, SplitKind};
use ganomaly_model::tiles::Tiles;

/// Maximum of a count setting, so that a typing error does not request terabytes or centuries.
const MAX_COUNT: usize = 10_000_000;
/// Maximum side of an image that is cut into tiles.
const MAX_SIDE: usize = 1 << 14;

impl RunConfig {
    /// Rejects settings that cannot run, and fills in what was left open: class numbers become
    /// names.
    pub(super) fn check(mut self, registry: &Registry) -> Result<Self> {
        ensure!(!self.dataset.is_empty(), "dataset: not given, and there is no default");
        self.describe(registry)?;
        let seed = self.seed.context("seed: not given, and there is no default")?;
        ensure!(u32::try_from(seed).is_ok(), "seed = {seed}: use a number below 2^32");
        self.complete_split();
        let classes = &self.images.class_names;
        let (given, other, key, other_key) = match self.split.0 {
            SplitKind::OneClass | SplitKind::NormalOnly => {
                (&mut self.normal_class, &self.abnormal_class, "normal_class", "abnormal_class")
            }
            _ => (&mut self.abnormal_class, &self.normal_class, "abnormal_class", "normal_class"),
        };
        ensure!(
            other.is_none(),
            "{other_key}: the split {:?} takes {key}",
            self.split.0.to_string()
        );
        let class =
            given.as_mut().with_context(|| format!("{key}: not given, and there is no default"))?;
        *class = classes
            [class_index(classes, class).with_context(|| format!("{key} = {class:?}"))?]
        .clone();
        let kind = registry.find_detector(&self.detector)?;
        let given = std::mem::take(&mut self.settings);
        self.settings = (kind.complete)(given).map_err(|e| anyhow!("{}", in_words(e.message())))?;
        self.check_tiles()?;
        self.names = kind.names(self.tiles());
        (kind.check)(&self.settings, self.network_input())?;
        self.augment().check()?;
        for (key, value) in [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("score_batch_size", self.score_batch_size),
            ("bootstrap", self.bootstrap),
            ("train_limit", self.train_limit.unwrap_or(1)),
            ("test_limit", self.test_limit.unwrap_or(1)),
        ] {
            ensure!(value > 0, "{key} = 0: use 1 or more");
            ensure!(value <= MAX_COUNT, "{key} = {value}: use {MAX_COUNT} at most");
        }
        if let Validation::Fraction(part) = self.validation {
            ensure!(
                part > 0.0 && part < 1.0,
                "validation = {part}: use a whole number of images, or a fraction above 0 and below 1"
            );
        }
        let mut seen = vec![self.scoring.0];
        for mode in &self.also_score {
            ensure!(!seen.contains(&mode.0), "also_score: {:?} is named twice", mode.0.to_string());
            seen.push(mode.0);
        }
        self.check_scores()?;
        self.device = Name(registry.device(self.device.0));
        ensure!(
            self.precision.0 == Precision::F32 || self.device.0 != DeviceName::Cpu,
            "precision = \"{}\": the processor computes in f32; use a GPU, or leave it out",
            self.precision.0
        );
        ensure!(
            self.on_nan.0 == OnNan::Stop || self.settings.contains_key("lr"),
            "on_nan = \"{}\": the detector {:?} has no lr; leave it out",
            self.on_nan.0,
            self.detector
        );
        ensure!(
            self.on_nan.0 == OnNan::Stop || self.device.0 == DeviceName::Cpu,
            "on_nan = \"{}\": a GPU's learning rate cannot change; use device = \"cpu\", or leave it out",
            self.on_nan.0
        );
        ensure!(
            self.device.0 == DeviceName::Cpu
                || self.tile.is_none() && self.augment() == Augment::default(),
            "tile, flip, shift, rotate: they train on device = \"cpu\" alone"
        );
        Ok(self)
    }

    fn check_tiles(&mut self) -> Result<()> {
        let Some(tile) = self.tile else {
            ensure!(self.stride.is_none(), "stride: it is the distance of tiles; give tile, too");
            return Ok(());
        };
        let stride = *self.stride.get_or_insert(tile / 2);
        ensure!(
            Tiles { tile, stride }.fit(self.isize) && self.isize <= MAX_SIDE,
            "tile = {tile}, stride = {stride}, isize = {}: use a stride of 1 to {tile}, and an isize \
             of {tile} to {MAX_SIDE}",
            self.isize
        );
        ensure!(
            self.modes() == [ScoringMode::Running],
            "tile: tiles are scored by running statistics; use scoring = \"running\" and also_score = []"
        );
        Ok(())
    }

    /// Where the data set says which class is normal, the split need not be given.
    fn complete_split(&mut self) {
        let given = self.abnormal_class.is_some() || self.normal_class.is_some();
        let default = self.split.0 == SplitKind::default();
        if let (Some(normal), false, true) = (&self.images.normal_class, given, default) {
            self.normal_class = Some(normal.clone());
            let alone = self.images.class_names.len() == 1;
            self.split = Name(if alone { SplitKind::NormalOnly } else { SplitKind::OneClass });
        }
    }

    /// Fills in classes and shape: as recorded, else as the data set has them now.
    fn describe(&mut self, registry: &Registry) -> Result<()> {
        let source = self.source();
        self.images = match (self.found_classes.take(), self.found_shape.take()) {
            (Some(class_names), Some(image_shape)) => {
                registry.find_dataset(&Source::of(&source.dataset))?;
                Description { found: true, ..Description::new(class_names, image_shape) }
            }
            (None, None) => registry.describe(&source)?,
            _ => bail!("found_classes and found_shape are recorded together; leave both out"),
        };
        if self.images.found {
            self.found_classes = Some(self.images.class_names.clone());
            self.found_shape = Some(self.images.image_shape);
        }
        Ok(())
    }

    fn check_scores(&mut self) -> Result<()> {
        let mut seen = self.names.scores.to_vec();
        for &Name(further) in &self.further_scores {
            let kind = further.name();
            ensure!(
                !seen.contains(&kind),
                "further_scores: {kind} is recorded already; leave it out"
            );
            for score in further.parts().filter_map(Further::score) {
                ensure!(
                    self.names.scores.contains(&score),
                    "further_scores: {kind} is made of {score}, and the detector {:?} has {}; leave it out",
                    self.detector,
                    self.names.scores.join(", ")
                );
            }
            ensure!(
                !further.is_fitted() || self.validation != Validation::default(),
                "further_scores: {kind} is fitted on held-out normal images; hold some out, \
                 such as validation = 0.1"
            );
            seen.push(kind);
        }
        ensure!(
            self.further_scores.is_empty() || self.modes().contains(&ScoringMode::Running),
            "further_scores: they are of running statistics; add \"running\" to also_score"
        );
        if self.score.is_empty() {
            self.score = seen.first().context("a detector without scores")?.to_string();
        }
        let score = self.score.as_str();
        let further = score.parse::<FurtherScore>().is_ok();
        ensure!(
            seen.contains(&score) || further,
            "unknown score {score:?}: the detector {:?} has {}",
            self.detector,
            self.names.scores.join(", ")
        );
        ensure!(seen.contains(&score), "score = \"{score}\": name it in further_scores, too");
        ensure!(
            self.names.scores.contains(&score) || self.modes() == [ScoringMode::Running],
            "score = \"{score}\": it is of running statistics alone; use also_score = []"
        );
        Ok(())
    }
}
