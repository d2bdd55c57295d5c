//! The rights of each user, computed once until users or roles change.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::permissions::{Access, Granted};
use super::state::State;
use crate::key::KeyRange;

/// The rights of a user to keys.
#[derive(Debug)]
pub(super) enum Rights {
    /// Everything: the user has the role `root`.
    All,
    /// The permissions of the user's roles together.
    Keys {
        /// The keys that the user may read.
        reads: Granted,
        /// The keys that the user may write and delete.
        writes: Granted,
    },
}

impl Rights {
    /// Whether the user may access all keys in `range`.
    pub(super) fn permit(&self, access: Access, range: &KeyRange) -> bool {
        match self {
            Self::All => true,
            Self::Keys { reads, writes } => match access {
                Access::Read => reads.cover(range),
                Access::Write => writes.cover(range),
            },
        }
    }
}

impl State {
    /// The rights of a user; `None` if the user does not exist.
    pub(super) fn rights_of(&self, user: &str) -> Option<Rights> {
        self.users.get(user)?;
        if self.is_root(user) {
            return Some(Rights::All);
        }
        let [reads, writes] =
            [Access::Read, Access::Write].map(|access| self.granted(user, access));
        Some(Rights::Keys { reads, writes })
    }
}

/// The rights of the users that made requests, by name. A copy is empty.
#[derive(Debug, Default)]
pub(super) struct RightsCache(RwLock<BTreeMap<String, Arc<Rights>>>);

impl Clone for RightsCache {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl RightsCache {
    /// The rights of a user, which `compute` finds at the first request. `None` if the user does
    /// not exist: such names are not kept, because clients could send any number of them.
    pub(super) fn find(
        &self,
        user: &str,
        compute: impl FnOnce() -> Option<Rights>,
    ) -> Option<Arc<Rights>> {
        if let Some(rights) = self.0.read().get(user) {
            return Some(rights.clone());
        }
        let rights = Arc::new(compute()?);
        self.0.write().insert(user.to_owned(), rights.clone());
        Some(rights)
    }
}
