//! Values that are made once per process and key, and then shared.

use crate::error::Result;
use std::sync::{Mutex, PoisonError};

/// Values by key, e.g. compiled kernels by precision.
pub(crate) struct Once<K, V>(Mutex<Vec<(K, V)>>);

impl<K: PartialEq, V: Clone> Once<K, V> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The value of `key`, made if it does not exist yet. Concurrent callers wait for it. An error
    /// is not kept: the next call tries again.
    pub(crate) fn get(&self, key: K, make: impl FnOnce() -> Result<V>) -> Result<V> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, there)) = all.iter().find(|(k, _)| *k == key) {
            return Ok(there.clone());
        }
        let made = make()?;
        all.push((key, made.clone()));
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use std::cell::Cell;

    #[test]
    fn each_key_is_made_once_and_an_error_is_tried_again() {
        let (once, made) = (Once::new(), Cell::new(0));
        let get = |key: (i32, &'static str)| {
            once.get(key, || {
                made.set(made.get() + 1);
                Ok(made.get())
            })
        };
        assert!(once.get((9, "f32"), || Err(Error::NoCompiler("cc"))).is_err());
        assert_eq!(get((9, "f32")).unwrap(), 1);
        assert_eq!(get((9, "f32")).unwrap(), 1);
        assert_eq!(get((9, "tf32")).unwrap(), 2);
        assert_eq!(get((8, "f32")).unwrap(), 3);
        assert_eq!(get((9, "tf32")).unwrap(), 2);
    }
}
