//! The steps of the detectors as launches, one file each, in the order of the model's own.

pub(crate) mod ganomaly;
