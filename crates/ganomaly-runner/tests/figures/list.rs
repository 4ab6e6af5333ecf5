//! The sentences.

use super::Figure;

/// Documents in which no other figures may stand that look like an AUROC.
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

/// Lines of documents whose figures come from elsewhere, by some of their words.
pub const NOT_FROM_RESULTS: &[(&str, &str)] = &[("README.md", "from-elsewhere")];

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
];
