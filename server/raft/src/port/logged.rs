//! Remembers what was logged.

use std::collections::BTreeSet;

use parking_lot::Mutex;

/// Maximum number of texts that are remembered.
const TEXTS_MAX: usize = 256;

/// The texts that were logged, so that each is logged once and not at every call.
#[derive(Default)]
pub(super) struct Logged(Mutex<BTreeSet<String>>);

impl Logged {
    /// Whether this text was not logged yet. The caller logs it.
    pub(super) fn is_new(&self, text: &str) -> bool {
        let mut texts = self.0.lock();
        if texts.len() >= TEXTS_MAX {
            texts.clear();
        }
        texts.insert(text.to_owned())
    }
}
