//! Scores in, numbers out: AUROC, average precision, EER, F1 and their curves and intervals.
