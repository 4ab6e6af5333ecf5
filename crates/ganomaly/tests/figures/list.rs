//! The sentences.

use super::Figure;

/// Documents that may contain no other numbers that look like an AUROC.
pub const SCANNED: &[&str] = &[
    "README.md",
    "docs/audit.md",
    "docs/protocol.md",
    "docs/weightings.md",
    "experiments/audit.toml",
    "experiments/cifar10.toml",
    "experiments/mnist.toml",
    "experiments/quick.toml",
    "experiments/weights.toml",
];

/// Lines of documents whose numbers come from elsewhere, by some of their words.
pub const NOT_FROM_RESULTS: &[(&str, &str)] = &[
    ("docs/audit.md", "The published code's own weights gain"),
    ("docs/protocol.md", "| Normalisation |"),
    ("docs/weightings.md", "cannot bring p below"),
    ("docs/protocol.md", "the published code's own weights gain"),
    ("experiments/cifar10.toml", "published averages are near"),
    ("experiments/mnist.toml", "published averages are near"),
];

/// Every sentence.
pub const FIGURES: &[Figure] = &[
    Figure {
        document: "README.md",
        text: "| AUROC | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        places: &[
            "quick/table.csv | abnormal class=ring | mean | .3",
            "quick/table.csv | abnormal class=bar | mean | .3",
            "quick/table.csv | abnormal class=cross | mean | .3",
            "quick/table.csv | abnormal class=plus | mean | .3",
            "quick/table.csv | abnormal class=triangle | mean | .3",
            "quick/table.csv | abnormal class=square | mean | .3",
            "quick/table.csv | abnormal class=zigzag | mean | .3",
            "quick/table.csv | abnormal class=rails | mean | .3",
            "quick/table.csv | abnormal class=eight | mean | .3",
            "quick/table.csv | abnormal class=arrow | mean | .3",
            "quick/table.csv | abnormal class=average | mean | .3",
        ],
    },
    Figure {
        document: "experiments/quick.toml",
        text: "AUROC {} on average; \"ring\" ({}) and \"square\" ({}) are the hard ones",
        places: &[
            "quick/table.csv | abnormal class=average | mean | .2",
            "quick/table.csv | abnormal class=ring | mean | .2",
            "quick/table.csv | abnormal class=square | mean | .2",
        ],
    },
    Figure {
        document: "docs/protocol.md",
        text: "the glyph \"bar\" has AUROC {} with running statistics and {} with shuffled batch statistics",
        places: &[
            "quick/runs.csv | abnormal_class=bar | auroc_running_last | .3",
            "quick/runs.csv | abnormal_class=bar | auroc_batch-shuffled_last | .3",
        ],
    },
    Figure {
        document: "docs/audit.md",
        text: "| 2 | {} | {} | {} [{}, {}] | {} | {} [{}, {}] |",
        places: &[
            "audit/audit.csv | class=2, scoring=running, epoch=last, score=l2 | auroc | .3",
            "audit/audit.csv | class=2, scoring=batch-sequential, epoch=last, score=l2 | auroc | .3",
            "audit/audit.csv | class=2, scoring=batch-sequential, epoch=last, score=l2 | gap | +.3",
            "audit/audit.csv | class=2, scoring=batch-sequential, epoch=last, score=l2 | gap_images_low | +.3",
            "audit/audit.csv | class=2, scoring=batch-sequential, epoch=last, score=l2 | gap_images_high | +.3",
            "audit/audit.csv | class=2, scoring=batch-sequential, epoch=best-on-test, score=l2 | auroc | .3",
            "audit/audit.csv | class=2, scoring=batch-sequential, epoch=best-on-test, score=l2 | gap | +.3",
            "audit/audit.csv | class=2, scoring=batch-sequential, epoch=best-on-test, score=l2 | gap_images_low | +.3",
            "audit/audit.csv | class=2, scoring=batch-sequential, epoch=best-on-test, score=l2 | gap_images_high | +.3",
        ],
    },
    Figure {
        document: "docs/audit.md",
        text: "| 5 | {} | {} | {} [{}, {}] | {} | {} [{}, {}] |",
        places: &[
            "audit/audit.csv | class=5, scoring=running, epoch=last, score=l2 | auroc | .3",
            "audit/audit.csv | class=5, scoring=batch-sequential, epoch=last, score=l2 | auroc | .3",
            "audit/audit.csv | class=5, scoring=batch-sequential, epoch=last, score=l2 | gap | +.3",
            "audit/audit.csv | class=5, scoring=batch-sequential, epoch=last, score=l2 | gap_images_low | +.3",
            "audit/audit.csv | class=5, scoring=batch-sequential, epoch=last, score=l2 | gap_images_high | +.3",
            "audit/audit.csv | class=5, scoring=batch-sequential, epoch=best-on-test, score=l2 | auroc | .3",
            "audit/audit.csv | class=5, scoring=batch-sequential, epoch=best-on-test, score=l2 | gap | +.3",
            "audit/audit.csv | class=5, scoring=batch-sequential, epoch=best-on-test, score=l2 | gap_images_low | +.3",
            "audit/audit.csv | class=5, scoring=batch-sequential, epoch=best-on-test, score=l2 | gap_images_high | +.3",
        ],
    },
    Figure {
        document: "docs/audit.md",
        text: "| 8 | {} | {} | {} [{}, {}] | {} | {} [{}, {}] |",
        places: &[
            "audit/audit.csv | class=8, scoring=running, epoch=last, score=l2 | auroc | .3",
            "audit/audit.csv | class=8, scoring=batch-sequential, epoch=last, score=l2 | auroc | .3",
            "audit/audit.csv | class=8, scoring=batch-sequential, epoch=last, score=l2 | gap | +.3",
            "audit/audit.csv | class=8, scoring=batch-sequential, epoch=last, score=l2 | gap_images_low | +.3",
            "audit/audit.csv | class=8, scoring=batch-sequential, epoch=last, score=l2 | gap_images_high | +.3",
            "audit/audit.csv | class=8, scoring=batch-sequential, epoch=best-on-test, score=l2 | auroc | .3",
            "audit/audit.csv | class=8, scoring=batch-sequential, epoch=best-on-test, score=l2 | gap | +.3",
            "audit/audit.csv | class=8, scoring=batch-sequential, epoch=best-on-test, score=l2 | gap_images_low | +.3",
            "audit/audit.csv | class=8, scoring=batch-sequential, epoch=best-on-test, score=l2 | gap_images_high | +.3",
        ],
    },
    Figure {
        document: "docs/audit.md",
        text: "| average | {} | {} | {} [{}, {}] | {} | {} [{}, {}] |",
        places: &[
            "audit/audit.csv | class=average, scoring=running, epoch=last, score=l2 | auroc | .3",
            "audit/audit.csv | class=average, scoring=batch-sequential, epoch=last, score=l2 | auroc | .3",
            "audit/audit.csv | class=average, scoring=batch-sequential, epoch=last, score=l2 | gap | +.3",
            "audit/audit.csv | class=average, scoring=batch-sequential, epoch=last, score=l2 | gap_images_low | +.3",
            "audit/audit.csv | class=average, scoring=batch-sequential, epoch=last, score=l2 | gap_images_high | +.3",
            "audit/audit.csv | class=average, scoring=batch-sequential, epoch=best-on-test, score=l2 | auroc | .3",
            "audit/audit.csv | class=average, scoring=batch-sequential, epoch=best-on-test, score=l2 | gap | +.3",
            "audit/audit.csv | class=average, scoring=batch-sequential, epoch=best-on-test, score=l2 | gap_images_low | +.3",
            "audit/audit.csv | class=average, scoring=batch-sequential, epoch=best-on-test, score=l2 | gap_images_high | +.3",
        ],
    },
    Figure {
        document: "docs/audit.md",
        text: "batch-sequential scoring on digit 2 is {} [{}, {}]** on the last epoch, and {} [{}, {}] if the best epoch",
        places: &[
            "audit/audit.csv | class=2, scoring=batch-sequential, epoch=last, score=l2 | gap | +.3",
            "audit/audit.csv | class=2, scoring=batch-sequential, epoch=last, score=l2 | gap_images_low | +.3",
            "audit/audit.csv | class=2, scoring=batch-sequential, epoch=last, score=l2 | gap_images_high | +.3",
            "audit/audit.csv | class=2, scoring=batch-sequential, epoch=best-on-test, score=l2 | gap | +.3",
            "audit/audit.csv | class=2, scoring=batch-sequential, epoch=best-on-test, score=l2 | gap_images_low | +.3",
            "audit/audit.csv | class=2, scoring=batch-sequential, epoch=best-on-test, score=l2 | gap_images_high | +.3",
        ],
    },
    Figure {
        document: "docs/audit.md",
        text: "is worth {} [{}, {}] on digit 2, {} [{}, {}] on digit 5, {} [{}, {}] on digit 8, {} [{}, {}] on average",
        places: &[
            "audit/audit.json | order: class=2, epoch=last, score=l2 | /gap/value | +.3",
            "audit/audit.json | order: class=2, epoch=last, score=l2 | /gap/over_images/low | +.3",
            "audit/audit.json | order: class=2, epoch=last, score=l2 | /gap/over_images/high | +.3",
            "audit/audit.json | order: class=5, epoch=last, score=l2 | /gap/value | +.3",
            "audit/audit.json | order: class=5, epoch=last, score=l2 | /gap/over_images/low | +.3",
            "audit/audit.json | order: class=5, epoch=last, score=l2 | /gap/over_images/high | +.3",
            "audit/audit.json | order: class=8, epoch=last, score=l2 | /gap/value | +.3",
            "audit/audit.json | order: class=8, epoch=last, score=l2 | /gap/over_images/low | +.3",
            "audit/audit.json | order: class=8, epoch=last, score=l2 | /gap/over_images/high | +.3",
            "audit/audit.json | order: class=null, epoch=last, score=l2 | /gap/value | +.3",
            "audit/audit.json | order: class=null, epoch=last, score=l2 | /gap/over_images/low | +.3",
            "audit/audit.json | order: class=null, epoch=last, score=l2 | /gap/over_images/high | +.3",
        ],
    },
    Figure {
        document: "docs/audit.md",
        text: "**Batch statistics without the order**: {} [{}, {}] on average",
        places: &[
            "audit/audit.csv | class=average, scoring=batch-shuffled, epoch=last, score=l2 | gap | +.3",
            "audit/audit.csv | class=average, scoring=batch-shuffled, epoch=last, score=l2 | gap_images_low | +.3",
            "audit/audit.csv | class=average, scoring=batch-shuffled, epoch=last, score=l2 | gap_images_high | +.3",
        ],
    },
    Figure {
        document: "docs/audit.md",
        text: "**The best epoch on the test set** adds {} [{}, {}] to the honest statistics",
        places: &[
            "audit/audit.csv | class=average, scoring=running, epoch=best-on-test, score=l2 | gap | +.3",
            "audit/audit.csv | class=average, scoring=running, epoch=best-on-test, score=l2 | gap_images_low | +.3",
            "audit/audit.csv | class=average, scoring=running, epoch=best-on-test, score=l2 | gap_images_high | +.3",
        ],
    },
    Figure {
        document: "docs/audit.md",
        text: "by its own statistics costs {} [{}, {}]",
        places: &[
            "audit/audit.csv | class=average, scoring=single, epoch=last, score=l2 | gap | +.3",
            "audit/audit.csv | class=average, scoring=single, epoch=last, score=l2 | gap_images_low | +.3",
            "audit/audit.csv | class=average, scoring=single, epoch=last, score=l2 | gap_images_high | +.3",
        ],
    },
    Figure {
        document: "docs/audit.md",
        text: "digit 8 has {} with seed 0 and {} with seed 1",
        places: &[
            "audit/runs.csv | abnormal_class=8, seed=0 | auroc | .3",
            "audit/runs.csv | abnormal_class=8, seed=1 | auroc | .3",
        ],
    },
    Figure {
        document: "docs/audit.md",
        text: "The contextual error as a score (`con`): {} [{}, {}]",
        places: &[
            "audit/audit.csv | class=average, scoring=running, epoch=last, score=con | gap | +.3",
            "audit/audit.csv | class=average, scoring=running, epoch=last, score=con | gap_images_low | +.3",
            "audit/audit.csv | class=average, scoring=running, epoch=last, score=con | gap_images_high | +.3",
        ],
    },
    Figure {
        document: "experiments/audit.toml",
        text: "{} on average under the honest protocol, {} batch-sequential with the best epoch on test",
        places: &[
            "audit/audit.csv | class=average, scoring=running, epoch=last, score=l2 | auroc | .3",
            "audit/audit.csv | class=average, scoring=batch-sequential, epoch=best-on-test, score=l2 | auroc | .3",
        ],
    },
    Figure {
        document: "docs/weightings.md",
        text: "| paper, 1 / 50 / 1 | {} ± {} | – |",
        places: &[
            "weights/weightings.csv | w_adv=1, w_con=50, w_enc=1 | auroc | .3",
            "weights/weightings.csv | w_adv=1, w_con=50, w_enc=1 | auroc_std | .3",
        ],
    },
    Figure {
        document: "docs/weightings.md",
        text: "| without the adversarial term, 0 / 50 / 1 | {} ± {} | {} [{}, {}] |",
        places: &[
            "weights/weightings.csv | w_adv=0, w_con=50, w_enc=1 | auroc | .3",
            "weights/weightings.csv | w_adv=0, w_con=50, w_enc=1 | auroc_std | .3",
            "weights/weightings.csv | w_adv=0, w_con=50, w_enc=1 | difference | +.3",
            "weights/weightings.csv | w_adv=0, w_con=50, w_enc=1 | difference_images_low | +.3",
            "weights/weightings.csv | w_adv=0, w_con=50, w_enc=1 | difference_images_high | +.3",
        ],
    },
    Figure {
        document: "docs/weightings.md",
        text: "| without the encoder term, 1 / 50 / 0 | {} ± {} | {} [{}, {}] |",
        places: &[
            "weights/weightings.csv | w_adv=1, w_con=50, w_enc=0 | auroc | .3",
            "weights/weightings.csv | w_adv=1, w_con=50, w_enc=0 | auroc_std | .3",
            "weights/weightings.csv | w_adv=1, w_con=50, w_enc=0 | difference | +.3",
            "weights/weightings.csv | w_adv=1, w_con=50, w_enc=0 | difference_images_low | +.3",
            "weights/weightings.csv | w_adv=1, w_con=50, w_enc=0 | difference_images_high | +.3",
        ],
    },
    Figure {
        document: "docs/weightings.md",
        text: "| contextual alone, 0 / 50 / 0 | {} ± {} | {} [{}, {}] |",
        places: &[
            "weights/weightings.csv | w_adv=0, w_con=50, w_enc=0 | auroc | .3",
            "weights/weightings.csv | w_adv=0, w_con=50, w_enc=0 | auroc_std | .3",
            "weights/weightings.csv | w_adv=0, w_con=50, w_enc=0 | difference | +.3",
            "weights/weightings.csv | w_adv=0, w_con=50, w_enc=0 | difference_images_low | +.3",
            "weights/weightings.csv | w_adv=0, w_con=50, w_enc=0 | difference_images_high | +.3",
        ],
    },
    Figure {
        document: "docs/weightings.md",
        text: "| w_adv | {} [{}, {}] |",
        places: &[
            "weights/weightings.json | | /trend/slopes/0/value | +.3",
            "weights/weightings.json | | /trend/slopes/0/interval/low | +.3",
            "weights/weightings.json | | /trend/slopes/0/interval/high | +.3",
        ],
    },
    Figure {
        document: "docs/weightings.md",
        text: "| w_con | {} [{}, {}] |",
        places: &[
            "weights/weightings.json | | /trend/slopes/1/value | +.3",
            "weights/weightings.json | | /trend/slopes/1/interval/low | +.3",
            "weights/weightings.json | | /trend/slopes/1/interval/high | +.3",
        ],
    },
    Figure {
        document: "docs/weightings.md",
        text: "| w_enc | {} [{}, {}] |",
        places: &[
            "weights/weightings.json | | /trend/slopes/2/value | +.3",
            "weights/weightings.json | | /trend/slopes/2/interval/low | +.3",
            "weights/weightings.json | | /trend/slopes/2/interval/high | +.3",
        ],
    },
    Figure {
        document: "experiments/weights.toml",
        text: "{} for the paper's weighting, {} without the encoder term",
        places: &[
            "weights/weightings.csv | w_adv=1, w_con=50, w_enc=1 | auroc | .2",
            "weights/weightings.csv | w_adv=1, w_con=50, w_enc=0 | auroc | .2",
        ],
    },
    Figure {
        document: "docs/weightings.md",
        text: "anomalous no better than chance ({}), with or without",
        places: &["weights/weightings.csv | preset=no-encoder | auroc | .3"],
    },
    Figure {
        document: "docs/weightings.md",
        text: "ten times w_enc costs {} [{}, {}]",
        places: &[
            "weights/weightings.json | | /trend/slopes/2/value | +.3",
            "weights/weightings.json | | /trend/slopes/2/interval/low | +.3",
            "weights/weightings.json | | /trend/slopes/2/interval/high | +.3",
        ],
    },
    Figure {
        document: "docs/weightings.md",
        text: "The highest mean, {} at 5.41 / 7.52 / {}, lies {} [{}, {}] above it over test images, but with ± {} over two trainings",
        places: &[
            "weights/weightings.json | | /settings/4/auroc/value | .3",
            "weights/weightings.json | | /settings/4/weights/2 | .3",
            "weights/weightings.json | | /settings/4/against_paper/difference/value | +.3",
            "weights/weightings.json | | /settings/4/against_paper/difference/over_images/low | +.3",
            "weights/weightings.json | | /settings/4/against_paper/difference/over_images/high | +.3",
            "weights/weightings.json | | /settings/4/against_paper/difference/over_trainings/std | .3",
        ],
    },
    Figure {
        document: "docs/verification.md",
        text: "| 1 | {} | {} | {} | 0.930 | 0.936 | 0.962",
        places: &[
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=1 | auroc_running | .3",
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=1 | auroc_batch-shuffled | .3",
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=1 | auroc_batch-sequential | .3",
        ],
    },
    Figure {
        document: "docs/verification.md",
        text: "| 2 | {} | {} | {} | |",
        places: &[
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=2 | auroc_running | .3",
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=2 | auroc_batch-shuffled | .3",
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=2 | auroc_batch-sequential | .3",
        ],
    },
    Figure {
        document: "docs/verification.md",
        text: "| 3 | {} | {} | {} | 0.898 | 0.890 | 0.949",
        places: &[
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=3 | auroc_running | .3",
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=3 | auroc_batch-shuffled | .3",
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=3 | auroc_batch-sequential | .3",
        ],
    },
    Figure {
        document: "docs/verification.md",
        text: "| 5 | {} | {} | {} | |",
        places: &[
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=5 | auroc_running | .3",
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=5 | auroc_batch-shuffled | .3",
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=5 | auroc_batch-sequential | .3",
        ],
    },
    Figure {
        document: "docs/verification.md",
        text: "| 10 | {} | {} | {} | |",
        places: &[
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=10 | auroc_running | .3",
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=10 | auroc_batch-shuffled | .3",
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=10 | auroc_batch-sequential | .3",
        ],
    },
    Figure {
        document: "docs/verification.md",
        text: "| 15 | {} | {} | {} | |",
        places: &[
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=15 | auroc_running | .3",
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=15 | auroc_batch-shuffled | .3",
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=15 | auroc_batch-sequential | .3",
        ],
    },
    Figure {
        document: "docs/verification.md",
        text: "the honest figure, is {} (bootstrap {} to {}); the best on the test set would have been the first epoch's {}.",
        places: &[
            "mnist/2-seed0-9111235c728323e7/metrics.json | | /auroc | .3",
            "mnist/2-seed0-9111235c728323e7/metrics.json | | /auroc_interval/0 | .3",
            "mnist/2-seed0-9111235c728323e7/metrics.json | | /auroc_interval/1 | .3",
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=1 | auroc_running | .3",
        ],
    },
    Figure {
        document: "docs/verification.md",
        text: "(`z_nn`), give {} in the last epoch.",
        places: &["mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=15 | auroc_z_nn | .3"],
    },
    Figure {
        document: "experiments/mnist.toml",
        text: "{} for digit 2 with seed 0 ({} after the first epoch)",
        places: &[
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=15 | auroc_running | .2",
            "mnist/2-seed0-9111235c728323e7/epochs.csv | epoch=1 | auroc_running | .2",
        ],
    },
];
