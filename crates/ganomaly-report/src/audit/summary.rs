//! The audit in short: for each class the published number, and the results of the same weights
//! under the honest and the published protocol. A table of `audit.md`, and `plots/summary.svg`.

use super::{Audit, AuditRow, EpochRule};
use crate::plot::by_class::{Series, by_class};
use crate::published::{PublishedColumn, published};
use crate::text::{distinct, shown, shown_difference, table, trainings};
use anyhow::Result;
use ganomaly_experiment::config::ScoringMode;

/// The values that are compared.
pub(super) struct Summary<'a> {
    audit: &'a Audit,
    classes: Vec<String>,
    published: Option<PublishedColumn>,
    /// How the published code scores this data set.
    scoring: ScoringMode,
    /// The recorded further scores, by falling average AUROC.
    further: Vec<String>,
}

impl<'a> Summary<'a> {
    pub fn new(audit: &'a Audit) -> Result<Self> {
        // The name may be followed by a note that the set is partial.
        let dataset = audit.dataset.split(' ').next().unwrap_or_default();
        let scoring = match dataset {
            // Its test loader does not shuffle (lib/data.py of the published code).
            "cifar10" => ScoringMode::BatchSequential,
            _ => ScoringMode::BatchShuffled,
        };
        let published = published(dataset)?.into_iter().next();
        // Further scores are of running statistics alone.
        let own = |score: &str| {
            let running = ScoringMode::Running.to_string();
            audit.rows.iter().any(|row| row.score == score && row.scoring != running)
        };
        let honest = |row: &&AuditRow| {
            row.scoring == ScoringMode::Running.to_string() && row.epoch == EpochRule::Last
        };
        let average = audit.rows.iter().filter(|row| row.class.is_none()).filter(honest);
        let mut further: Vec<&AuditRow> = average.filter(|row| !own(&row.score)).collect();
        further.sort_by(|a, b| b.auroc.value.total_cmp(&a.auroc.value));
        let further = further.into_iter().map(|row| row.score.clone()).collect();
        Ok(Self { audit, classes: classes(audit), published, scoring, further })
    }

    /// The score that counts.
    fn main(&self) -> &'a str {
        main(self.audit).map_or("", String::as_str)
    }

    /// The classes, then `None` for the average.
    fn all(&self) -> impl Iterator<Item = Option<&String>> {
        self.classes.iter().map(Some).chain([None])
    }

    fn published(&self, class: Option<&String>) -> Option<f64> {
        let column = self.published.as_ref()?;
        class.map_or_else(|| column.average(&self.classes), |class| column.of(class))
    }

    fn honest(&self, class: Option<&String>, score: &str) -> Option<&'a AuditRow> {
        find(self.audit, class, ScoringMode::Running, EpochRule::Last, score)
    }

    fn as_published(&self, class: Option<&String>) -> Option<&'a AuditRow> {
        find(self.audit, class, self.scoring, EpochRule::BestOnTest, self.main())
    }

    pub fn table(&self) -> String {
        let heading = match &self.published {
            Some(column) => format!("published, {}", column.heading()),
            None => "published".into(),
        };
        let mut names: Vec<&str> = vec![&self.audit.class_heading, &heading];
        names.extend(["honest", "by the published protocol", "difference"]);
        names.extend(self.further.iter().map(String::as_str));
        let row = |class: Option<&String>| {
            let auroc = |row: Option<&AuditRow>| row.map_or("–".into(), |row| shown(&row.auroc));
            let by = self.as_published(class);
            let mut cells = vec![
                class.map_or("average", String::as_str).to_string(),
                self.published(class).map_or("–".into(), |v| format!("{v:.3}")),
                auroc(self.honest(class, self.main())),
                auroc(by),
                by.map_or("–".into(), |row| shown_difference(&row.gap)),
            ];
            cells.extend(self.further.iter().map(|score| auroc(self.honest(class, score))));
            cells
        };
        format!(
            "\n## In short\n\nHonest: running statistics, last epoch, score {}. By the published \
             protocol: the same weights and score, {}, the best epoch on the test set; the \
             difference is to the honest AUROC. Further scores: honest, of the same weights.\n\n{}",
            self.main(),
            self.scoring,
            table(1, &names, &self.all().map(row).collect::<Vec<_>>())
        )
    }

    pub fn plot(&self) -> Result<String> {
        let mut series = Vec::new();
        if let Some(column) = &self.published {
            let values = self.all().map(|class| Some((self.published(class)?, None)));
            series.push(Series {
                name: format!("published for {} ({})", column.method, column.caution()),
                elsewhere: true,
                values: values.collect(),
            });
        }
        let mut push = |name: String, row: &dyn Fn(Option<&String>) -> Option<&'a AuditRow>| {
            let value = |class| {
                let auroc = &row(class)?.auroc;
                Some((auroc.value, auroc.over_images.map(|i| [i.low, i.high])))
            };
            let values: Vec<_> = self.all().map(value).collect();
            if values.iter().any(Option::is_some) {
                series.push(Series { name, elsewhere: false, values });
            }
        };
        let l2 = self.main().to_string();
        push("honest: running statistics, last epoch, published score".into(), &|class| {
            self.honest(class, &l2)
        });
        push(
            format!(
                "same weights, published protocol: {}, best epoch on the test set",
                self.scoring
            ),
            &|class| self.as_published(class),
        );
        if let Some(best) = self.further.first() {
            let of = self.further.len();
            push(
                format!("same weights, honest, score {best} (the best of {of} on average)"),
                &|class| self.honest(class, best),
            );
        }
        let average = self.honest(None, &l2);
        let note = format!(
            "by {}; {}; bars: 95 % over test images",
            self.audit.class_heading,
            average.map(|row| trainings(&row.auroc)).unwrap_or_default()
        );
        let classes: Vec<String> =
            self.all().map(|class| class.cloned().unwrap_or_else(|| "average".into())).collect();
        let title = format!("{}: one network, several AUROCs", self.audit.experiment);
        // Even with few classes there is room for the legend.
        let width = 90.0 + (84.0 * classes.len() as f64).max(560.0);
        by_class((width, 380.0), &classes, &series, false).to_file(&title, &note)
    }
}

/// The classes, in the order of the rows.
pub(super) fn classes(audit: &Audit) -> Vec<String> {
    distinct(audit.rows.iter().filter_map(|row| row.class.clone()))
}

/// The score that counts: that of the honest default, which comes first.
pub(super) fn main(audit: &Audit) -> Option<&String> {
    audit.rows.first().map(|row| &row.score)
}

/// The row of a protocol.
pub(super) fn find<'a>(
    audit: &'a Audit,
    class: Option<&String>,
    mode: ScoringMode,
    rule: EpochRule,
    score: &str,
) -> Option<&'a AuditRow> {
    let mode = mode.to_string();
    audit.rows.iter().find(|r| {
        r.class.as_ref() == class && r.scoring == mode && r.epoch == rule && r.score == score
    })
}
