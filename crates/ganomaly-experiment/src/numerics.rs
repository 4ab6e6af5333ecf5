//! The generation of the numerics: which programs compute the same bytes.

use std::fmt;

/// Raised whenever a change alters any bit of any result: kernels, the step, random numbers,
/// splits, resizing, scoring. It is part of every run's name, so that a result of another
/// generation is never taken for one of this. `tests/numerics.rs` fails when results change and
/// this was not raised.
///
/// | generation | what it began with |
/// |---:|---|
/// | 1 | everything before generations were counted; its runs' names end in eight digits |
/// | 2 | a separate random number generator for each purpose |
pub const NUMERICS: u32 = 2;

/// The generation of a record that names none.
pub const BEFORE_GENERATIONS: u32 = 1;

/// Results of another generation were found where this program's are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherGeneration(pub u32);

impl fmt::Display for OtherGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = if self.0 < NUMERICS { "older" } else { "newer" };
        write!(
            f,
            "{age} results, of generation {} of the numerics; this program computes generation \
             {NUMERICS}, whose numbers differ, and never mixes the two. Keep them as they are, and use \
             another folder (--results, or --name for a sweep)",
            self.0
        )
    }
}

impl std::error::Error for OtherGeneration {}
