//! The generation of the numerics: which programs compute the same bytes.

use std::fmt;

/// Raised whenever a change moves a bit of any result: kernels, the step, random numbers, splits,
/// resizing, scoring. It is a part of every run's name, so that no result of another generation is
/// taken for one of this. `tests/numerics.rs` fails when results move and this was not raised.
///
/// | generation | what it began with |
/// |---:|---|
/// | 1 | everything before generations were counted; its runs' names end in eight digits |
/// | 2 | a generator of its own for each purpose of random numbers |
pub const NUMERICS: u32 = 2;

/// What a record without a generation was computed by.
pub const BEFORE_GENERATIONS: u32 = 1;

/// Results of another generation were found where this program's are asked for.
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
